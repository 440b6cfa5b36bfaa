// Opens streams of the API, says "open" when all are, and when it is ended how many changes they brought.
const [url, cookie, count] = process.argv.slice(2)
let open = 0
let changes = 0
process.on('SIGTERM', () => {
  console.log(`${count} streams brought ${changes} changes of status.`)
  process.exit(0)
})
for (let i = 0; i < Number(count); i++) {
  const reply = await fetch(`${url}/stream`, { headers: { cookie, accept: 'text/event-stream' } })
  if (reply.status !== 200) throw new Error(`stream ${i}: ${reply.status} ${await reply.text()}`)
  open++
  void (async () => {
    for await (const part of reply.body) changes += (Buffer.from(part).toString().match(/"customer_id"/g) ?? []).length
  })()
}
console.log(`${open} open`)
