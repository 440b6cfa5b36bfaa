// What Prometheus reads: how long answers take, and how many connections and streams there are.
import type { FastifyInstance } from 'fastify'
import { collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { Database } from './db.ts'
import type { Streams } from './stream.ts'

export function measure(app: FastifyInstance, db: Database, streams: Streams): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const durations = new Histogram({
    name: 'chs_web_request_seconds', help: 'time to answer a request', labelNames: ['method', 'route', 'status'], registers: [registry],
    buckets: [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
  })
  new Gauge({
    name: 'chs_web_connections', help: 'connections to the database', labelNames: ['pool', 'state'], registers: [registry],
    collect() {
      for (const [pool, one] of Object.entries({ requests: db.requests, streams: db.streams })) {
        this.set({ pool, state: 'idle' }, one.idleCount)
        this.set({ pool, state: 'busy' }, one.totalCount - one.idleCount)
        this.set({ pool, state: 'waited for' }, one.waitingCount)
      }
    },
  })
  new Gauge({ name: 'chs_web_streams', help: 'open streams of server-sent events', registers: [registry], collect() { this.set(streams.size) } })
  app.addHook('onResponse', (request, reply, done) => {
    durations.observe({ method: request.method, route: request.routeOptions.url ?? 'none', status: String(reply.statusCode) }, reply.elapsedTime / 1000)
    done()
  })
  return registry
}
