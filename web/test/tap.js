// A reporter for node --test that prints plain TAP: a line for each test, and what was wrong as comments.
import { basename } from 'node:path'
import { inspect } from 'node:util'

export default async function* tap(source) {
  let n = 0
  let total = 0
  const names = []
  const comment = text => String(text).trimEnd().split('\n').map(line => `# ${line}\n`).join('')
  yield 'TAP version 13\n'
  for await (const { type, data } of source) {
    if (type === 'test:start') {
      names.length = data.nesting
      names.push(data.name)
    } else if (type === 'test:pass' || type === 'test:fail') {
      // Of a suite, its tests have been told; but not if it could not even begin, or a file that ended too soon.
      const cause = data.details?.error?.cause ?? data.details?.error
      if (data.details?.type === 'suite' && (type === 'test:pass' || data.details.error?.failureType === 'subtestsFailed')) continue
      const name = [...names.slice(0, data.nesting), data.name].join(': ').replaceAll('#', '\\#').replaceAll('\n', ' ')
      yield `${type === 'test:pass' ? 'ok' : 'not ok'} ${++n} - ${basename(data.file ?? '')}: ${name}${data.skip === undefined ? '' : ' # SKIP'}\n`
      if (type === 'test:fail') yield comment(cause instanceof Error ? cause.stack ?? cause.message : inspect(cause))
      total = n
    } else if (type === 'test:stderr' || type === 'test:stdout') {
      yield comment(data.message)
    }
  }
  yield `1..${total}\n`
}
