// What the front imports: types alone, so that nothing of this runs in a browser.
export * from './common.ts'
export * from './customers.ts'
export * from './operations.ts'
export * from './portfolio.ts'
export * from './scorecard.ts'
