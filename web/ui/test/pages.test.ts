// Every page, as the people of the made-up company see it, compared with what SQL says.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import type { Page } from 'playwright-core'
import { rows, setUp, sideways, until, value, visit } from './harness.ts'

setUp()

const heading = (page: Page, name: string | RegExp) => page.getByRole('heading', { level: 1, name }).waitFor()
const names = (page: Page) => page.locator('[data-row] a').allTextContents()
const query = (page: Page) => page.evaluate(() => location.search)
const risk = `SELECT name FROM chs.at_risk_customers ORDER BY score, customer_id`

describe('logging in', () => {
  test('a wrong password is refused, the right one is not, and one can leave', () => visit(null, '/portfolio', async (page) => {
    await page.getByLabel('Name').fill('mia')
    await page.getByLabel('Password').fill('wrong')
    await page.getByRole('button', { name: 'Log in' }).click()
    await page.getByRole('alert').getByText('Name or password is wrong').waitFor()
    await page.getByLabel('Password').fill('demo')
    await page.keyboard.press('Enter')
    // The address that one came for.
    await heading(page, 'Portfolio')
    await page.getByRole('button', { name: 'mia: account' }).click()
    await page.getByText('may read, record').waitFor()
    await page.getByRole('button', { name: 'Log out' }).click()
    await page.getByLabel('Password').waitFor()
    await page.reload()
    await page.getByLabel('Password').waitFor()
  }, { expected: /401/ }))

  test('a session that has ended leads back to the login', () => visit('mia', '/', async (page, { context }) => {
    await heading(page, 'Who needs you today')
    await context.clearCookies()
    await page.getByRole('link', { name: 'Portfolio' }).click()
    await page.getByLabel('Password').waitFor()
  }, { expected: /401/ }))
})

describe('roles', () => {
  const may: Record<string, string[]> = { mia: ['Customers', 'Portfolio'], leo: ['Customers', 'Portfolio'], ada: ['Customers', 'Portfolio', 'Scorecard'], otto: ['Customers', 'Portfolio', 'Operations'] }
  for (const [person, pages] of Object.entries(may))
    test(`${person} is offered ${pages.join(', ')}`, () => visit(person, '/', async (page) => {
      await heading(page, 'Who needs you today')
      assert.deepEqual((await page.getByRole('navigation', { name: 'Pages' }).getByRole('link').allInnerTexts()).map((t) => t.trim()), pages)
    }))

  for (const [person, path, word] of [['mia', '/scorecard', 'administer'], ['otto', '/scorecard', 'administer'], ['ada', '/operations', 'operate'], ['leo', '/operations', 'operate']] as const)
    test(`${person} is told what ${path} takes`, () => visit(person, path, async (page) => {
      await page.getByText(`SELECT chs_grant('${person}', '${word}')`).waitFor()
    }))

  test('who may only look is not offered to record', () => visit('leo', '/customers/39', async (page) => {
    await page.getByRole('heading', { name: 'Why did it change?' }).waitFor()
    assert.equal(await page.getByRole('button', { name: 'Record an event' }).count(), 0)
  }))
})

describe('the list', () => {
  test('shows who is at risk, worst first, each with its reason', () => visit('mia', '/', async (page) => {
    await page.locator('[data-row="0"]').waitFor()
    const expected = await rows(`SELECT name, round(score::numeric, 1)::text AS score, weakest_factor FROM chs.at_risk_customers ORDER BY score, customer_id LIMIT 8`)
    assert.deepEqual((await names(page)).slice(0, 8), expected.map((r) => r.name))
    for (const [i, r] of expected.entries()) {
      const row = page.locator(`[data-row="${i}"]`)
      assert.match(await row.innerText(), new RegExp(r.score.replace('.', '\\.')))
      assert.match((await row.innerText()).toLowerCase().replaceAll(' ', '_'), new RegExp(r.weakest_factor))
    }
    const total = await value<number>(`SELECT at_risk + critical FROM chs.dashboard_stats`)
    await page.getByText(`${total} of`).waitFor()
  }))

  test('every filter is in the address, and the address brings it back', async () => {
    await visit('mia', '/', async (page) => {
      await page.locator('[data-row="0"]').waitFor()
      await page.getByText('Healthy', { exact: false }).first().click()
      await page.getByLabel('Segment').selectOption('startup')
      await page.getByLabel('Trend').selectOption('declining')
      await page.getByLabel('Costs most').selectOption('api_usage')
      await page.getByLabel('Order').selectOption('name')
      await until(async () => (await query(page)).includes('sort=name'), 'the order stands in the address')
      assert.equal(await query(page), '?status=critical,at_risk,healthy&segment=startup&trend=declining&factor=api_usage&sort=name')
    })
    await visit('mia', '/?status=critical,at_risk,healthy&segment=startup&trend=declining&factor=api_usage&sort=name', async (page) => {
      await page.locator('[data-row="0"]').waitFor()
      const expected = await rows(`SELECT name FROM chs.scored_customers WHERE active AND status IN ('critical', 'at_risk', 'healthy') AND segment = 'startup'
                                   AND trend = 'declining' AND weakest_factor = 'api_usage' ORDER BY name, customer_id LIMIT 5`)
      assert.deepEqual((await names(page)).slice(0, expected.length), expected.map((r) => r.name))
      assert.equal(await page.getByLabel('Trend').inputValue(), 'declining')
    })
  })

  test('one owner, and a range of scores', () => visit('mia', '/?status=all&owner=me&score_from=80&score_below=90', async (page) => {
    await page.locator('[data-row="0"]').waitFor()
    const expected = await rows(`SELECT name FROM chs.scored_customers WHERE active AND owner = 'mia' AND score >= 80 AND score < 90 ORDER BY score, customer_id LIMIT 6`)
    assert.deepEqual((await names(page)).slice(0, expected.length), expected.map((r) => r.name))
    await page.getByRole('button', { name: 'Remove the range of scores' }).click()
    await until(async () => !(await query(page)).includes('score_'), 'the range is gone')
  }))

  test('unknown is a ring and a dash, never 0', () => visit('mia', '/?status=unknown', async (page) => {
    const row = page.locator('[data-row="0"]')
    await row.waitFor()
    const text = await row.innerText()
    assert.match(text, /–/)
    assert.match(text, /too little data/)
    assert.doesNotMatch(text.split('\n')[0]!, /\b0\b/)
    assert.equal(await row.locator('svg circle[stroke-dasharray]').count(), 1)
  }))

  test('says what to leave out when nobody matches', () => visit('mia', '/?q=nobody+is+called+that&segment=smb', async (page) => {
    await page.getByText('Nobody matches all of this').waitFor()
    await page.getByRole('button', { name: /^the search for/ }).click()
    await page.locator('[data-row="0"]').waitFor()
    assert.equal(await query(page), '?segment=smb')
  }))

  test('by keyboard alone', () => visit('mia', '/', async (page) => {
    await page.locator('[data-row="0"]').waitFor()
    const expected = (await rows(risk)).map((r) => r.name)
    const focused = () => page.evaluate(() => document.activeElement?.textContent)
    await page.keyboard.press('j')
    await until(async () => (await focused()) === expected[0], 'j goes to the first row')
    await page.keyboard.press('j')
    await page.keyboard.press('ArrowDown')
    await until(async () => (await focused()) === expected[2], 'down')
    await page.keyboard.press('k')
    await until(async () => (await focused()) === expected[1], 'up')
    await page.keyboard.press('x')
    await page.getByRole('link', { name: 'Export 1' }).waitFor()
    const download = page.waitForEvent('download')
    await page.keyboard.press('e')
    assert.match(readFileSync(await (await download).path(), 'utf8'), new RegExp(`^customer_id,.*\r\n.*"${expected[1]}"`))
    await page.keyboard.press('?')
    await page.getByRole('dialog', { name: 'Keyboard' }).waitFor()
    await page.keyboard.press('Escape')
    await until(async () => (await focused()) === expected[1], 'the focus returns')
    for (let i = 0; i < 40; i++) await page.keyboard.press('j')
    await until(async () => (await focused()) === expected[41], 'a row that was not there before')
    await page.keyboard.press('Enter')
    await heading(page, expected[41]!)
    await page.keyboard.press('b')
    await heading(page, 'Who needs you today')
    await page.keyboard.press('/')
    await page.keyboard.type(expected[0]!)
    await until(async () => (await names(page)).join() === expected[0], 'the search finds it')
    await page.keyboard.press('Escape')
    await page.keyboard.press('2')
    await heading(page, 'Portfolio')
  }))

  test('exports everything that matches', () => visit('mia', '/?segment=enterprise', async (page) => {
    await page.locator('[data-row="0"]').waitFor()
    const download = page.waitForEvent('download')
    await page.keyboard.press('e')
    const lines = readFileSync(await (await download).path(), 'utf8').trimEnd().split(/\r?\n/)
    assert.equal(lines.length - 1, await value(`SELECT count(*) FROM chs.at_risk_customers WHERE segment = 'enterprise'`))
  }))

  test('a view can be named, and found again', () => visit('mia', '/?segment=smb&trend=declining', async (page) => {
    await page.getByRole('button', { name: /^Views/ }).click()
    await page.getByLabel('Name of the view').fill('Falling small ones')
    await page.getByRole('button', { name: 'Save' }).click()
    await page.getByRole('link', { name: 'Falling small ones' }).waitFor()
    await page.goto(new URL('/', page.url()).href)
    await page.getByRole('button', { name: /^Views/ }).click()
    await page.getByRole('link', { name: 'Falling small ones' }).click()
    await until(async () => (await query(page)) === '?segment=smb&trend=declining', 'the filters are back')
    await page.getByRole('button', { name: /^Views/ }).click()
    await page.getByRole('button', { name: 'Forget the view Falling small ones' }).click()
    await page.getByText('Give these filters a name').waitFor()
  }))

  test('a million customers: rows are drawn as needed, 50 pages are kept, and dropped ones come back', () => {
    // Pages as the API gives them, of a million made-up customers.
    const made = (n: number) => ({
      customer_id: n, external_id: null, name: `Customer ${n}`, segment: 'smb', owner: null, value: null, score: n / 10000, status: 'critical', trend: 'stable', coverage: 1,
      weakest_factor: 'api_usage', change: 0, status_since: null, previous_status: null, as_of: '2026-01-01', calculated_at: null, churned_at: null, sparkline: [1, 2, 3],
    })
    let asked = 0
    return visit('mia', '/', async (page) => {
      await page.locator('[data-row="0"]').waitFor()
      const drawn = () => page.locator('[data-row]').count()
      const highest = () => page.evaluate(() => Math.max(...[...document.querySelectorAll('[data-row]')].map((r) => Number((r as HTMLElement).dataset['row']))))
      const began = Date.now()
      while ((await highest()) < 5500) {
        const before = await highest()
        await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight))
        await page.waitForFunction((before) => [...document.querySelectorAll('[data-row]')].some((r) => Number((r as HTMLElement).dataset['row']) > before), before)
        assert.ok((await drawn()) < 80, 'only what is seen is drawn')
      }
      const perPage = (Date.now() - began) / (asked || 1)
      assert.ok(asked >= 55, `${asked} pages were asked for`)
      const before = asked
      await page.evaluate(() => scrollTo(0, 0))
      await page.locator('[data-row="0"] a').getByText('Customer 1', { exact: true }).waitFor()
      assert.ok(asked > before, 'the first page had been dropped, and was asked for again')
      console.log(`# ${Math.round(perPage)} ms from page to page, ${await drawn()} rows drawn`)
    }, {
      prepare: (page) => page.route('**/api/v1/customers?*', (route) => {
        asked++
        const from = Number(new URL(route.request().url()).searchParams.get('after') ?? 0)
        return route.fulfill({ json: { customers: Array.from({ length: 100 }, (_, i) => made(from + i + 1)), next: from + 100 < 1e6 ? String(from + 100) : null, total: 1000000 } })
      }),
    })
  })
})

describe('one customer', () => {
  const fading = () => value<number>(`SELECT customer_id FROM chs.customer_list WHERE status = 'at_risk' AND trend = 'declining' AND segment = 'enterprise' ORDER BY customer_id LIMIT 1`)

  test('the score, what costs it, and why it changed', async () => {
    const id = await fading()
    await visit('mia', `/customers/${id}`, async (page) => {
      const [c] = await rows(`SELECT c.name, round(chs_score(c.customer_id)::numeric, 1)::text AS score FROM chs.customers c WHERE customer_id = $1`, [id])
      await heading(page, c.name)
      await page.locator(`[data-score="${c.score}"]`).first().waitFor()
      const text = await page.getByRole('main').innerText()
      for (const f of await rows(`SELECT round(contribution::numeric, 1)::text AS points, round((100 * effective_weight)::numeric, 1)::double precision AS most FROM chs_explain($1) WHERE metric IS NULL`, [id]))
        assert.match(text, new RegExp(`${f.points.replace('.', '\\.')}\\s+of ${f.most}\\b`))
      const changes = await rows(`SELECT factor, change FROM chs_explain_change($1, now() - interval '30 days')`, [id])
      const table = page.getByRole('table', { name: 'Change by factor and cause' })
      for (const f of changes) {
        const shown = Number((await table.getByRole('row').filter({ hasText: new RegExp(f.factor.replaceAll('_', ' '), 'i') }).getByRole('cell').last().innerText()).replace('−', '-').replace('+', ''))
        assert.ok(Math.abs(shown - f.change) < 0.051, `${f.factor}: ${shown}, by SQL ${f.change}`)
      }
      for (const r of await rows(`SELECT action FROM chs_recommendations($1) ORDER BY rank LIMIT 3`, [id])) assert.ok(text.includes(r.action), r.action)
    })
  })

  test('a factor opens to its metrics, each with its curve and the dot on it', async () => {
    const id = await fading()
    await visit('mia', `/customers/${id}`, async (page) => {
      await page.locator('summary', { hasText: 'API usage' }).click()
      const [m] = await rows(`SELECT value, target FROM chs_explain($1) WHERE metric = 'api_calls'`, [id])
      await page.getByRole('img', { name: new RegExp(`Curve from .* gives`) }).first().waitFor()
      await page.getByText(`of ${new Intl.NumberFormat('en').format(m.target)} in 30 days`).waitFor()
      assert.equal(await query(page), '?metric=api_usage')
    })
  })

  test('the chart by keyboard: days are told, and Enter explains the change since one', async () => {
    const id = await fading()
    await visit('mia', `/customers/${id}`, async (page) => {
      const chart = page.getByRole('slider', { name: /^Score by day/ })
      await chart.focus()
      for (let i = 0; i < 10; i++) await page.keyboard.press('ArrowLeft')
      const told = await chart.getAttribute('aria-valuetext')
      const [day] = await rows(`SELECT to_char(day, 'YYYY-MM-DD') AS day, round(score::numeric, 1)::text AS score FROM chs_history($1) ORDER BY day DESC OFFSET 10 LIMIT 1`, [id])
      assert.ok(told!.includes(`: ${day.score},`), `${told} tells ${day.score}`)
      await page.keyboard.press('Enter')
      await until(async () => (await query(page)) === `?since=${day.day}`, 'the day stands in the address')
      await page.getByText('in 10 days').waitFor()
      await page.getByRole('button', { name: 'Show the customer as of that day' }).click()
      await page.getByText('As it was at the end of').waitFor()
      await page.locator(`[data-score="${day.score}"]`).first().waitFor()
    })
  })

  test('events by day, in a table too', async () => {
    const id = await fading()
    await visit('mia', `/customers/${id}`, async (page) => {
      await page.getByRole('slider', { name: 'Events by day' }).waitFor()
      const card = page.getByRole('region', { name: 'What they did' })
      await card.getByText('As a table').click()
      const [d] = await rows(`SELECT events FROM chs_daily_activity($1, 90) WHERE event_type = 'api_call' ORDER BY day DESC LIMIT 1`, [id])
      await card.getByRole('cell', { name: String(d.events), exact: true }).first().waitFor()
    })
  })

  test('an unknown score says which factors have no data', async () => {
    const id = await value<number>(`SELECT customer_id FROM chs.customer_list WHERE status = 'unknown' AND churned_at IS NULL LIMIT 1`)
    await visit('mia', `/customers/${id}`, async (page) => {
      await page.getByText(/\d of 5 factors have no data/).waitFor()
      assert.doesNotMatch(await page.getByRole('main').innerText(), /(^|\n)0\.0(\n|$)/)
    })
  })

  test('nobody by that number', () => visit('mia', '/customers/987654321', async (page) => {
    await page.getByText('customer 987654321 does not exist').waitFor()
    await page.getByText(/Request [0-9a-f-]{36}/).waitFor()
    await page.getByRole('link', { name: 'All customers' }).click()
    await heading(page, 'Who needs you today')
  }, { expected: /404/ }))

  test('an event that is recorded moves the score at once; a wrong one says why', async () => {
    const id = await fading()
    const before = await value<number>('SELECT chs_score($1)', [id])
    await visit('mia', `/customers/${id}`, async (page) => {
      await page.getByRole('button', { name: 'Record an event' }).click()
      const dialog = page.getByRole('dialog', { name: 'Record an event' })
      await dialog.getByLabel('What happened').selectOption('payment')
      await dialog.getByLabel('Amount').fill('0')
      await dialog.getByRole('button', { name: 'Record', exact: true }).click()
      await dialog.getByText(/amount.*must|must.*amount|above 0/i).first().waitFor()
      await dialog.getByLabel('What happened').selectOption('support_ticket')
      await dialog.getByRole('button', { name: 'Add a detail' }).click()
      await dialog.getByLabel('Name of detail 1').fill('priority')
      await dialog.getByLabel('Value of detail 1').fill('urgent')
      await dialog.getByRole('button', { name: 'Record', exact: true }).click()
      await dialog.getByText('Recorded. The score is').waitFor()
      const after = await value<number>('SELECT chs_score($1)', [id])
      assert.notEqual(after, before)
      await dialog.getByText(after.toFixed(2), { exact: true }).waitFor()
      const [event] = await rows(`SELECT event_type, event_data FROM chs.customer_events WHERE customer_id = $1 ORDER BY event_id DESC LIMIT 1`, [id])
      assert.deepEqual(event, { event_type: 'support_ticket', event_data: { priority: 'urgent' } })
      await dialog.getByRole('button', { name: 'Close' }).last().click()
      await page.locator(`[data-score="${after.toFixed(1)}"]`).first().waitFor()
    }, { expected: /422/ })
  })

  test('a note is written and taken back', async () => {
    const id = await fading()
    await visit('mia', `/customers/${id}`, async (page) => {
      await page.getByLabel('Note').fill('They move offices in May.')
      await page.keyboard.press('Enter')
      await page.getByText('They move offices in May.').waitFor()
      await page.getByRole('button', { name: 'delete the note' }).click()
      await page.getByText('They move offices in May.').waitFor({ state: 'detached' })
    })
  })
})

describe('the portfolio', () => {
  test('its figures are those of the views', () => visit('leo', '/portfolio', async (page) => {
    await heading(page, 'Portfolio')
    const [s] = await rows('SELECT * FROM chs.dashboard_stats')
    for (const [status, word] of [['critical', 'Critical'], ['at_risk', 'At risk'], ['healthy', 'Healthy'], ['unknown', 'Unknown']])
      await page.getByRole('listitem').filter({ hasText: new RegExp(`^${word}`) }).getByText(String(s[status!]), { exact: true }).first().waitFor()
    await page.getByRole('link', { name: /customers? from/ }).first().waitFor()
    for (const m of await rows(`SELECT * FROM chs_status_movements((now() AT TIME ZONE 'UTC')::date - 30, (now() AT TIME ZONE 'UTC')::date) WHERE from_status = 'healthy' AND to_status IN ('at_risk', 'critical')`))
      await page.getByRole('link', { name: new RegExp(`^${m.customers} customers? from healthy to ${m.to_status.replace('_', ' ')}`) }).waitFor()
  }))

  test('a cell of the matrix opens its customers', () => visit('leo', '/portfolio', async (page) => {
    const cell = page.getByRole('link', { name: /customers? from healthy to at risk/ })
    const expected = Number((await cell.getAttribute('aria-label'))!.split(' ')[0])
    await cell.click()
    const dialog = page.getByRole('dialog', { name: 'From healthy to at risk in 30 days' })
    await dialog.getByRole('listitem').first().waitFor()
    assert.equal(await dialog.getByRole('listitem').count(), expected)
    await dialog.getByRole('link').first().click()
    await page.getByRole('heading', { name: 'Why did it change?' }).waitFor()
  }))

  test('a bar of the histogram opens the list of its scores', () => visit('leo', '/portfolio', async (page) => {
    await page.getByRole('link', { name: /^score 90 to 95/ }).click()
    await page.locator('[data-row="0"]').waitFor()
    assert.equal(await query(page), '?status=all&score_from=90&score_below=95')
  }))

  test('prints on one page of A4', () => visit('leo', '/portfolio', async (page) => {
    await page.getByRole('slider', { name: 'Share of each status by day' }).waitFor()
    await page.getByRole('listitem').filter({ hasText: /^Critical/ }).waitFor()
    const pdf = (await page.pdf({ preferCSSPageSize: true, printBackground: true })).toString('latin1')
    assert.equal(pdf.match(/\/Type\s*\/Page\b/g)?.length, 1)
  }))
})

describe('operations', () => {
  test('the workers can be paused, with a reason, and go on', () => visit('otto', '/operations', async (page) => {
    await heading(page, 'Operations')
    await page.getByRole('button', { name: 'Pause the workers' }).click()
    await page.getByLabel(/^Why/).fill('the storage is moved')
    await page.getByRole('button', { name: 'Pause', exact: true }).click()
    await page.getByText('the storage is moved').waitFor()
    assert.equal(await value('SELECT paused FROM chs.queue_status'), true)
    await page.getByRole('button', { name: 'Let the workers go on' }).click()
    await page.getByRole('button', { name: 'Pause the workers' }).waitFor()
    assert.equal(await value('SELECT paused FROM chs.queue_status'), false)
  }))
})

describe('widths', () => {
  for (const path of ['/', '/customers/39', '/portfolio'])
    test(`nothing of ${path} has to be scrolled sideways at 320 pixels`, () => visit('mia', path, async (page) => {
      await page.getByRole('heading', { level: 1 }).waitFor()
      await page.getByRole(path === '/' ? 'row' : 'slider').first().waitFor()
      assert.equal(await sideways(page), 0)
    }, { look: { width: 320, height: 640 } }))
})
