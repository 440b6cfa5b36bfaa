// What needs no browser: curves, words, differences; and how much a browser has to load.
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { domainOf, readCurve, scoreOf, writeCurve } from '../src/charts/curve.ts'
import { differences } from '../src/components/diff.ts'
import { day, integer, number, oneOf } from '../src/search.ts'
import { daysAgo, daysBetween, duration, metricValue, nameOf, percent, signed } from '../src/words.ts'

describe('curves', () => {
  const points = (text: string) => { const read = readCurve(text); assert.ok('points' in read, text); return read.points }
  test('are read and written the same', () => {
    for (const text of ['0:0 1:100', '0:100 0.25:0', '0:100 1:80 2:80 3:60 4:60 5:40 6:40 12:10', '-5:0 5:100']) assert.equal(writeCurve(points(text)), text)
  })
  test('say what is wrong', () => {
    for (const [text, wrong] of [['', /value:score/], ['1', /not value:score/], ['0:0 1:101', /outside/], ['1:0 1:100', /does not come after/], ['2:0 1:100', /does not come after/], ['0:x', /not value:score/]] as const) {
      const read = readCurve(text)
      assert.ok('wrong' in read)
      assert.match(read.wrong, wrong)
    }
  })
  test('give the score of a value: straight between points, level beyond', () => {
    const p = points('0:100 2:80 4:0')
    assert.deepEqual([-1, 0, 1, 2, 3, 4, 9].map((x) => scoreOf(p, x)), [100, 100, 90, 80, 40, 0, 0])
    assert.equal(scoreOf(points('5:70'), 1), 70)
  })
  test('have a domain around points and value', () => {
    const [low, high] = domainOf(points('0:0 1:100'), 3)
    assert.ok(low === 0 && high > 3)
  })
})

test('differences between documents, by name', () => {
  const a = { factors: [{ factor: 'x', weight: 1, metrics: [{ metric: 'm', curve: '0:0' }] }], n: 1 }
  const b = { factors: [{ factor: 'x', weight: 2, metrics: [{ metric: 'm', curve: '0:1' }, { metric: 'k' }] }], n: 1 }
  assert.deepEqual(differences(a, b), [
    { what: 'factors.x.weight', mine: 1, theirs: 2 }, { what: 'factors.x.metrics.m.curve', mine: '0:0', theirs: '0:1' }, { what: 'factors.x.metrics.k', mine: undefined, theirs: { metric: 'k' } }])
  assert.deepEqual(differences(a, structuredClone(a)), [])
})

test('words', () => {
  assert.equal(nameOf('api_usage'), 'API usage')
  assert.equal(nameOf('login_frequency'), 'Login frequency')
  assert.deepEqual([signed(1.25), signed(-0.04), signed(-12.34)], ['+1.3', '0.0', '−12.3'])
  assert.deepEqual([duration(30), duration(600), duration(7200), duration(864000)], ['30 s', '10 min', '2 h', '10 days'])
  assert.deepEqual([metricValue('api_error_rate', 0.0605), metricValue('session_duration', 833, 600), metricValue('logins', 4), metricValue('logins', null)], ['6.1 %', '14 min', '4', 'no data'])
  assert.equal(percent(0, 0), '–')
  assert.equal(daysBetween(daysAgo(30, '2026-03-01'), '2026-03-01'), 30)
})

test('what may stand in an address', () => {
  assert.deepEqual([number('1.5'), number('x'), number(''), number(3)], [1.5, undefined, undefined, 3])
  assert.deepEqual([integer('7'), integer('-7'), integer('1.5')], [7, undefined, undefined])
  assert.deepEqual([day('2026-02-28'), day('2026-99-01'), day('28.2.2026')], ['2026-02-28', undefined, undefined])
  assert.equal(oneOf('sideways', ['up', 'down']), undefined)
})

describe('what a browser loads, compressed', () => {
  const assets = new URL('../dist/assets/', import.meta.url)
  const size = (name: string) => gzipSync(readFileSync(new URL(name, assets)), { level: 9 }).length / 1024
  const html = readFileSync(new URL('../dist/index.html', import.meta.url), 'utf8')
  const first = [...html.matchAll(/\/assets\/([^"]+\.js)/g)].map((m) => m[1]!)
  const files = readdirSync(assets)

  test('the first page: at most 135 kB of JavaScript', () => {
    const total = first.reduce((sum, name) => sum + size(name), 0)
    assert.ok(total <= 135, `${total.toFixed(1)} kB`)
  })
  test('every other page: at most 25 kB of its own', () => {
    const large = files.filter((name) => name.endsWith('.js') && !first.includes(name) && size(name) > 25)
    assert.deepEqual(large, [])
  })
  test('the styles: at most 10 kB', () => {
    const total = files.filter((name) => name.endsWith('.css')).reduce((sum, name) => sum + size(name), 0)
    assert.ok(total <= 10, `${total.toFixed(1)} kB`)
  })
  test('nothing comes from elsewhere, and no script or style is inside the page', () => {
    assert.doesNotMatch(html, /https?:\/\//)
    assert.doesNotMatch(html, /<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=/)
  })
})
