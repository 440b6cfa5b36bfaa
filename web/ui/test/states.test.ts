// What a page does when things are not as they should be; two administrators at once; changes as they happen.
import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import type { Page, Route } from 'playwright-core'
import { open, rows, setUp, sql, startServer, stopServer, until, value, visit } from './harness.ts'

setUp()

const api = (path: string) => `**/api/v1${path}`

describe('states', () => {
  test('loading: the room is there before the rows', () => {
    let release = () => {}
    return visit('mia', '/', async (page) => {
      await page.getByText('Loading customers…').waitFor({ state: 'attached' })
      assert.ok((await page.locator('.skeleton').count()) > 10)
      release()
      await page.locator('[data-row="0"]').waitFor()
      assert.equal(await page.locator('.skeleton').count(), 0)
    }, { prepare: (page) => page.route(api('/customers?*'), async (route: Route) => { await new Promise<void>((resolve) => { release = resolve }); await route.continue() }) })
  })

  test('error: what, a hint, the request, and trying again; the rest of the page stays', () => {
    let broken = true
    return visit('leo', '/portfolio', async (page) => {
      const card = page.getByRole('region', { name: 'Who moved where' })
      await card.getByText('canceling statement due to statement timeout').waitFor({ timeout: 30_000 })
      await card.getByText('Ask for fewer days').waitFor()
      await card.getByText('7a1c9d2e').waitFor()
      await page.getByRole('region', { name: 'Segments' }).getByText('Enterprise').waitFor()
      broken = false
      await card.getByRole('button', { name: 'Try again' }).click()
      await card.getByRole('link', { name: /customers? from/ }).first().waitFor()
    }, {
      expected: /504/,
      prepare: (page) => page.route(api('/portfolio/movements?*'), (route) => broken
        ? route.fulfill({ status: 504, contentType: 'application/problem+json', body: JSON.stringify({ type: 'about:blank', title: 'Gateway Timeout', status: 504, detail: 'canceling statement due to statement timeout', hint: 'Ask for fewer days.', code: '57014', instance: '7a1c9d2e' }) })
        : route.continue()),
    })
  })

  test('no customers at all: how to load them', () => visit('mia', '/', (page) => page.getByText('chs_attach_customers').waitFor(), {
    prepare: async (page) => {
      await page.route(api('/customers?*'), (route) => route.fulfill({ json: { customers: [], total: 0, next: null } }))
      await page.route(api('/stats'), (route) => route.fulfill({ json: { total: 0, healthy: 0, at_risk: 0, critical: 0, unknown: 0, average_score: null, last_updated: null, lag_seconds: 0, version: 1, factors: [], owners: [] } }))
    },
  }))

  test('stale: scores that lag behind say of when they are', () => visit('mia', '/', (page) => page.getByText('scored Jan 2, 23:58').waitFor(), {
    prepare: (page) => page.route(api('/stats'), async (route) => {
      const answer = await route.fetch()
      await route.fulfill({ json: { ...(await answer.json()), lag_seconds: 600, last_updated: '2026-01-02T23:58:00Z' } })
    }),
  }))

  test('forbidden by the database: the page says which function of chs_grant it takes', () => visit('leo', '/customers/39', async (page) => {
    await page.getByText('permission denied for table customer_events').waitFor()
    await page.getByText('It takes the function record of chs_grant').waitFor()
  }, {
    expected: /403/,
    prepare: (page) => page.route(api('/customers/39?*'), (route) => route.fulfill({ status: 403, contentType: 'application/problem+json', body: JSON.stringify({ title: 'Forbidden', status: 403, detail: 'permission denied for table customer_events', code: '42501', may: 'record', instance: 'x' }) })),
  }))

  test('offline: what is there stays, and says that it is not fresh', () => visit('mia', '/customers/39', async (page, { context }) => {
    await page.getByRole('heading', { name: 'Why did it change?' }).waitFor()
    await context.setOffline(true)
    await page.getByLabel('90', { exact: true }).first().check({ force: true })
    await page.getByText('this is what was last known').waitFor({ timeout: 30_000 })
    await page.getByRole('heading', { name: 'Where the points are lost' }).waitFor()
    await context.setOffline(false)
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByText('this is what was last known').waitFor({ state: 'detached' })
  }, { expected: /ERR_INTERNET_DISCONNECTED|Failed to load/ }))

  test('an address that does not exist', () => visit('mia', '/nowhere', (page) => page.getByText('There is no such page').waitFor()))
  test('an address with nonsense in it shows what it can', () => visit('mia', '/?trend=sideways&score_from=x&sort=score', (page) => page.locator('[data-row="0"]').waitFor()))
})

interface Fragile { customer_id: number; name: string; score: string }
/** Somebody who would not have the status any more without the points for few support tickets. */
async function fragile(status: 'healthy' | 'at_risk'): Promise<Fragile> {
  const [c] = await rows(`SELECT l.customer_id, l.name, round(l.score::numeric, 1)::text AS score FROM chs.scored_customers l JOIN chs.factor_breakdown f USING (customer_id)
                          WHERE l.active AND l.status = $1 AND f.factor_name = 'support_tickets' AND l.score - f.contribution < $2 ORDER BY l.score LIMIT 1`, [status, status === 'healthy' ? 72 : 47])
  return c
}
/** Gives somebody so many urgent tickets that the status changes. */
async function worsen(status: 'healthy' | 'at_risk'): Promise<Fragile> {
  const c = await fragile(status)
  await sql.query(`INSERT INTO chs.customer_events (customer_id, event_type, event_data) SELECT $1, 'support_ticket', '{"priority": "urgent"}' FROM generate_series(1, 12)`, [c.customer_id])
  await until(async () => (await value(`SELECT status FROM chs.customer_health WHERE customer_id = $1`, [c.customer_id])) !== status, `the worker stores that ${c.name} is not ${status} any more`)
  return c
}

describe('as it happens', () => {
  test('a change of status is told, and the rows do not move before one asks', () => visit('leo', '/', async (page) => {
    await page.locator('[data-connection="live"]').waitFor({ state: 'attached' })
    await page.locator('[data-row="0"]').waitFor()
    const rows = async () => (await page.locator('[data-row] a').allTextContents()).slice(0, 8)
    const before = await rows()
    const c = await worsen('healthy')
    await page.getByText(`${c.name} is`).waitFor()
    assert.deepEqual(await rows(), before)
    await page.getByRole('button', { name: 'Show', exact: true }).click()
    await page.getByText(`${c.name} is`).waitFor({ state: 'detached' })
    await page.getByLabel('Search by name').fill(c.name)
    await page.locator('[data-row="0"] a').getByText(c.name).waitFor()
  }))

  test('the server goes and comes back: reconnecting is shown, and what happened meanwhile is not missed', () => visit('leo', '/', async (page) => {
    await page.locator('[data-connection="live"]').waitFor({ state: 'attached' })
    await page.locator('[data-row="0"]').waitFor()
    await stopServer()
    await page.getByText('Reconnecting').waitFor()
    const c = await worsen('healthy')
    await startServer()
    await page.locator('[data-connection="live"]').waitFor({ state: 'attached' })
    await page.getByText(`${c.name} is`).waitFor()
  }, { expected: /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|Failed to load/ }))

  test('an answer that makes a browser give up: the page goes on where it was', () => visit('leo', '/', async (page) => {
    await page.locator('[data-connection="live"]').waitFor({ state: 'attached' })
    await page.locator('[data-row="0"]').waitFor()
    await page.route(api('/stream*'), (route) => route.fulfill({ status: 503 }))
    await stopServer()
    await startServer()
    await page.getByText('Reconnecting').waitFor()
    const c = await worsen('healthy')
    await page.unroute(api('/stream*'))
    await page.locator('[data-connection="live"]').waitFor({ state: 'attached' })
    await page.getByText(`${c.name} is`).waitFor()
  }, { expected: /503|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|Failed to load/ }))

  test('the page of a customer follows it', async () => {
    const c = await fragile('at_risk')
    await visit('leo', `/customers/${c.customer_id}`, async (page) => {
      await page.locator(`[data-score="${c.score}"]`).first().waitFor()
      await page.locator('[data-connection="live"]').waitFor({ state: 'attached' })
      await worsen('at_risk')
      const now = (await value<number>('SELECT chs_score($1)', [c.customer_id])).toFixed(1)
      await page.locator(`[data-score="${now}"]`).first().waitFor()
    })
  })
})

describe('the scorecard', () => {
  // Also after a run that broke off.
  before(() => sql.query(`SELECT chs_rollback(1, 'as shipped', true) WHERE chs_scorecard_export() <> chs_scorecard_export(1)`))

  const at = '/scorecard?factor=support_tickets&metric=ticket_volume'
  const text = (page: Page) => page.getByLabel('Points as text, value:score')

  test('a curve by keyboard and by mouse; what it would do shows, and nothing counts yet', () => visit('ada', at, async (page) => {
    const point = page.getByRole('slider', { name: 'Point 3 of 8' })
    await point.focus()
    await page.keyboard.press('Shift+ArrowDown')
    await page.keyboard.press('ArrowDown')
    await until(async () => (await text(page).inputValue()).includes('2:69'), 'the text follows the point')
    await page.getByText('would change status').waitFor()
    await page.getByRole('cell', { name: '0:100 1:80 2:69 3:60 4:60 5:40 6:40 12:10' }).waitFor()
    await page.keyboard.press('+')
    await page.getByRole('slider', { name: 'Point 4 of 9' }).waitFor()
    await page.keyboard.press('Delete')
    await page.getByRole('slider', { name: 'Point 4 of 8' }).waitFor()
    const box = (await page.getByRole('slider', { name: 'Point 1 of 8' }).boundingBox())!
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width / 2, box.y + 60, { steps: 3 })
    await page.mouse.up()
    await until(async () => /^0:[4-9]\d /.test(await text(page).inputValue()), 'the point was dragged down')
    await text(page).fill('0:100 1:120')
    await page.getByText('the score 120 is outside 0 to 100').waitFor()
    await page.getByRole('button', { name: 'Discard' }).click()
    assert.equal(await text(page).inputValue(), '0:100 1:80 2:80 3:60 4:60 5:40 6:40 12:10')
    assert.equal(await value('SELECT count(*)::int FROM chs.draft_changes'), 0)
  }))

  test('a doubt is told while one edits', () => visit('ada', '/scorecard?factor=api_usage', async (page) => {
    await page.getByLabel('Weight in the score').fill('0')
    await page.getByRole('tab', { name: /Doubts [1-9]/ }).click()
    await page.getByRole('tabpanel').getByText(/weight/).first().waitFor()
  }))

  test('what the database refuses is told with its hint', () => visit('ada', '/scorecard', async (page) => {
    await page.getByLabel('At risk from').fill('90')
    await page.getByText('The draft cannot be published like this').waitFor()
  }, { expected: /422/ }))

  test('two administrators at once: differences, mine, theirs', async () => {
    const one = await open('ada', at), two = await open('ada', '/scorecard?factor=api_usage')
    try {
      await text(one.page).waitFor()
      await two.page.getByLabel('Weight in the score').fill('0.35')
      await two.page.getByRole('button', { name: 'Save draft' }).click()
      await until(async () => (await value(`SELECT weight FROM chs.factors WHERE scorecard = 'default' AND factor = 'api_usage'`)) === 0.35, 'the second saved')
      await text(one.page).fill('0:90 12:10')
      await one.page.getByRole('button', { name: 'Save draft' }).click()
      const dialog = one.page.getByRole('dialog', { name: 'Somebody else has changed the draft' })
      await dialog.getByRole('button', { name: 'Show differences' }).click()
      const row = dialog.getByRole('row').filter({ hasText: 'api usage / weight' })
      assert.deepEqual(await row.getByRole('cell').allInnerTexts(), ['0.3', '0.3', '0.35'])
      await dialog.getByRole('button', { name: 'Take theirs' }).click()
      await one.page.getByText('The draft differs from the live rules in 1 place').waitFor()
      assert.equal(await text(one.page).inputValue(), '0:100 1:80 2:80 3:60 4:60 5:40 6:40 12:10')
      // And the other way round.
      await two.page.getByLabel('Weight in the score').fill('0.4')
      await two.page.getByRole('button', { name: 'Save draft' }).click()
      await until(async () => (await value(`SELECT weight FROM chs.factors WHERE scorecard = 'default' AND factor = 'api_usage'`)) === 0.4, 'the second saved again')
      await text(one.page).fill('0:95 12:10')
      await one.page.getByRole('button', { name: 'Save draft' }).click()
      await dialog.getByRole('button', { name: 'Take mine' }).click()
      await dialog.waitFor({ state: 'detached' })
      assert.deepEqual(await rows(`SELECT (SELECT weight FROM chs.factors WHERE scorecard = 'default' AND factor = 'api_usage') AS weight,
                                          (SELECT curve FROM chs.metrics WHERE scorecard = 'default' AND metric = 'ticket_volume') AS curve`), [{ weight: 0.35, curve: '0:95 12:10' }])
      const unexpected = [...one.messages, ...two.messages].filter((m) => !/412/.test(m))
      assert.deepEqual(unexpected, [])
    } finally {
      await one.close()
      await two.close()
    }
  })

  test('publishing says whom it concerns, wants a reason, and can be taken back', () => visit('ada', at, async (page) => {
    const before = await value<number>('SELECT max(version) FROM chs.scorecard_versions')
    await page.getByRole('button', { name: 'Publish…' }).click()
    const dialog = page.getByRole('dialog', { name: 'Publish the draft' })
    await dialog.getByText(/changes? status/).waitFor()
    assert.equal(await dialog.getByRole('button', { name: 'Publish', exact: true }).isDisabled(), true)
    await dialog.getByLabel(/^Why/).fill('Tickets are not all bad')
    await dialog.getByRole('button', { name: 'Publish', exact: true }).click()
    await dialog.waitFor({ state: 'detached' })
    await page.getByText('Tickets are not all bad').first().waitFor()
    const [v] = await rows('SELECT version, note, actor FROM chs.scorecard_versions ORDER BY version DESC LIMIT 1')
    assert.deepEqual(v, { version: before + 1, note: 'Tickets are not all bad', actor: 'ada' })
    await page.getByRole('listitem').filter({ hasText: new RegExp(`^${before}(?!\\d)`) }).getByRole('button', { name: 'Go back to it' }).click()
    const back = page.getByRole('dialog', { name: `Go back to version ${before}` })
    await back.getByLabel('Why').fill('As before')
    await back.getByRole('button', { name: 'Go back' }).click()
    await back.waitFor({ state: 'detached' })
    await until(async () => (await value('SELECT max(version) FROM chs.scorecard_versions')) === before + 2, 'the old rules are published again')
    await page.getByText('The draft is the same as the live rules.').first().waitFor()
  }))
})
