// How every page looks, to people and to axe-core: in both schemes, at three widths; pictures go to test/output/web.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Page } from 'playwright-core'
import { findings, setUp, shoot, sideways, value, visit } from './harness.ts'

setUp()

interface Scene { name: string; person: string | null; path: () => Promise<string> | string; ready: (page: Page) => Promise<unknown>; widths?: number[]; expected?: RegExp }
const row = (page: Page) => page.locator('[data-row="0"]').waitFor()
const fading = () => value<number>(`SELECT customer_id FROM chs.customer_list WHERE status = 'at_risk' AND trend = 'declining' AND segment = 'enterprise' ORDER BY customer_id LIMIT 1`)

const scenes: Scene[] = [
  { name: 'login', person: null, path: () => '/', ready: (page) => page.getByLabel('Password').waitFor(), expected: /401/ },
  { name: 'customers', person: 'mia', path: () => '/', ready: row },
  { name: 'nobody', person: 'mia', path: () => '/?q=nobody+at+all', ready: (page) => page.getByText('Leave out').waitFor(), widths: [390] },
  { name: 'customer', person: 'mia', path: async () => `/customers/${await fading()}?metric=api_usage`, ready: async (page) => { await page.getByRole('slider', { name: /^Score by day/ }).waitFor(); await page.getByRole('img', { name: /^Curve from/ }).first().waitFor() } },
  { name: 'unknown', person: 'mia', path: async () => `/customers/${await value(`SELECT customer_id FROM chs.customer_list WHERE status = 'unknown' AND churned_at IS NULL LIMIT 1`)}`, ready: (page) => page.getByText('have no data').waitFor(), widths: [1440] },
  { name: 'record', person: 'mia', path: async () => `/customers/${await fading()}?record=event`, ready: (page) => page.getByRole('dialog').getByLabel('What happened').waitFor(), widths: [390] },
  { name: 'portfolio', person: 'leo', path: () => '/portfolio', ready: async (page) => { await page.getByRole('slider').waitFor(); await page.getByRole('link', { name: /customers? from/ }).first().waitFor(); await page.getByText('Falling').waitFor() } },
  { name: 'scorecard', person: 'ada', path: () => '/scorecard?factor=support_tickets&metric=ticket_volume', ready: async (page) => { await page.getByLabel('Points as text').fill('0:100 2:60 12:10'); await page.getByText('would change status').waitFor(); await page.getByRole('cell', { name: '0:100 2:60 12:10' }).waitFor() } },
  { name: 'settings', person: 'ada', path: () => '/scorecard?tab=versions', ready: (page) => page.getByText('as shipped').waitFor(), widths: [1440] },
  { name: 'operations', person: 'otto', path: () => '/operations', ready: (page) => page.getByText('Long jobs').waitFor() },
  { name: 'forbidden', person: 'mia', path: () => '/operations', ready: (page) => page.getByText("chs_grant('mia', 'operate')").waitFor(), widths: [390] },
  { name: 'missing', person: 'mia', path: () => '/customers/987654321', ready: (page) => page.getByText('does not exist').waitFor(), widths: [1440], expected: /404/ },
]

for (const scheme of ['light', 'dark'] as const)
  describe(scheme, () => {
    for (const { name, person, path, ready, widths = [1440, 820, 390], expected } of scenes)
      test(name, async () => visit(person, await path(), async (page) => {
        await ready(page)
        const found = await findings(page)
        assert.deepEqual(found, [], 'axe-core finds nothing')
        for (const width of widths) {
          await page.setViewportSize({ width, height: width < 500 ? 844 : 900 })
          await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))))
          assert.equal(await sideways(page), 0, `nothing to scroll sideways at ${width}`)
          await shoot(page, `${name}-${width}-${scheme}`, name !== 'record')
        }
      }, { look: { scheme, width: widths[0] }, expected }))
  })

test('the three-way switch stays', () => visit('mia', '/', async (page) => {
  await row(page)
  const scheme = () => page.evaluate(() => getComputedStyle(document.documentElement).colorScheme)
  await page.getByLabel('Dark', { exact: true }).check({ force: true })
  assert.equal(await scheme(), 'dark')
  await page.reload()
  await row(page)
  assert.equal(await scheme(), 'dark')
  await page.getByLabel('As the system').check({ force: true })
  assert.equal(await scheme(), 'light dark')
}))

test('at 200 % of the size of text nothing is lost', () => visit('mia', '/', async (page) => {
  await row(page)
  assert.equal(await sideways(page), 0)
  // As zooming does: half the width for the same pixels.
}, { look: { width: 720, height: 450 } }))
