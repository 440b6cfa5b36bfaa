// The HTTP server: plugins, what holds for every route, errors, and the routes.
import AjvCompiler from '@fastify/ajv-compiler'
import cookie from '@fastify/cookie'
import etag from '@fastify/etag'
import helmet from '@fastify/helmet'
import rateLimit from '@fastify/rate-limit'
import fastifyStatic from '@fastify/static'
import swagger from '@fastify/swagger'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { type FastifyError, type FastifyReply, type FastifyRequest } from 'fastify'
import { Authentication } from './auth.ts'
import type { Config } from './config.ts'
import { Database } from './db.ts'
import { measure } from './metrics.ts'
import { described, information, openapi } from './openapi.ts'
import { Problem, problemBody, problemOf } from './problem.ts'
import { customer } from './routes/customer.ts'
import { customers } from './routes/customers.ts'
import { events } from './routes/events.ts'
import { operate } from './routes/operations.ts'
import { portfolio } from './routes/portfolio.ts'
import { scorecard } from './routes/scorecard.ts'
import { session } from './routes/session.ts'
import { stream } from './routes/stream.ts'
import { Streams } from './stream.ts'

declare module 'fastify' {
  /**
   * open: without a token.  login: counted as an attempt to log in.  streaming: the body may take its time.  asks:
   * not counted as writing, whatever the method.  may: which function of chs_grant() it takes; only told, since PostgreSQL
   * decides.
   */
  interface FastifyContextConfig { open?: boolean; login?: boolean; streaming?: boolean; asks?: boolean; may?: 'read' | 'record' | 'administer' | 'operate' | 'maintain' }
}

// A body of a request that is not streamed must have come by then.
const bodyMilliseconds = 15_000

const writes = (request: FastifyRequest) => !['GET', 'HEAD', 'OPTIONS'].includes(request.method)

export async function build(config: Config) {
  const app = fastify({
    logger: { level: config.logLevel, redact: ['req.headers'] },
    trustProxy: config.trustProxy === undefined ? false : config.trustProxy.split(','),
    // Nginx gives its own; whoever else sends one has it in the log, too, so that both sides can be compared.
    requestIdHeader: false,
    genReqId: request => {
      const given = request.headers['x-request-id']
      return typeof given === 'string' && /^[A-Za-z0-9._-]{8,64}$/.test(given) ? given : crypto.randomUUID()
    },
    bodyLimit: 1 << 20,
    requestTimeout: 600_000,
    http: { headersTimeout: 10_000, maxHeaderSize: 128 << 10, connectionsCheckingInterval: 5_000 },
    routerOptions: { maxParamLength: 200, caseSensitive: true },
    return503OnClosing: true,
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.server.maxConnections = config.streams + 1000

  // A query has only strings, so numbers in it are converted; a body has types, so "5" is not 5.
  const compiler = AjvCompiler()
  const ajv = (coerceTypes: false | 'array') => compiler({}, { customOptions: { coerceTypes, removeAdditional: false, useDefaults: true, allErrors: false } })
  const text = ajv('array')
  const typed = ajv(false)
  app.setValidatorCompiler(route => (route.httpPart === 'body' ? typed : text)(route))
  // PostgreSQL has made the JSON; schemas of answers are for the documentation, and for the test that compares.
  app.setSerializerCompiler(() => JSON.stringify)

  // Not as something else: what is no JSON is refused, but for bulk loads.
  app.removeContentTypeParser('text/plain')

  const db = new Database(config, error => app.log.warn({ err: error }, 'a connection to the database has ended'))
  const auth = new Authentication(config)
  const streams = new Streams(config, db, app.log)
  // A connection that is still open when the last answer has been given would keep the server from ending.
  let closing = false
  app.addHook('preClose', async () => {
    closing = true
    streams.close()
  })
  app.addHook('onSend', async (_request, reply) => { if (closing) reply.header('connection', 'close') })
  app.addHook('onClose', () => db.close())
  const registry = measure(app as never, db, streams)

  await app.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"], scriptSrc: ["'self'"], styleSrc: ["'self'"], imgSrc: ["'self'", 'data:'], fontSrc: ["'self'"],
        connectSrc: ["'self'"], manifestSrc: ["'self'"], baseUri: ["'none'"], formAction: ["'self'"], frameAncestors: ["'none'"],
      },
    },
    frameguard: { action: 'deny' },
  })
  await app.register(cookie)
  await app.register(etag, { weak: true })
  await app.register(swagger, { openapi: information })
  await app.register(rateLimit, { global: false, cache: 50_000 })

  app.setErrorHandler<FastifyError>((error, request, reply) => {
    let problem = problemOf(error)
    if (!problem && error.validation) problem = invalid(error)
    if (!problem && error.statusCode && error.statusCode >= 400 && error.statusCode < 500) problem = new Problem(error.statusCode, error.message)
    if (!problem) {
      request.log.error({ err: error }, 'failed')
      problem = new Problem(500, 'Something went wrong that should not have.', { hint: 'The log of the server has the details under the request id.' })
    } else if (problem.status >= 500) {
      request.log.warn({ err: error }, 'could not be done')
    }
    // The rest of a body that is refused is not read.
    if (problem.status === 408 || problem.status === 413) reply.header('connection', 'close')
    const may = problem.code === '42501' ? request.routeOptions.config.may : undefined
    return reply.code(problem.status).headers(problem.headers).type('application/problem+json').send(JSON.stringify({ ...problemBody(problem, request.id), ...(may && { may }) }))
  })
  const notFound = () => { throw new Problem(404, 'There is no such resource.') }

  await app.register(async api => {
    const limit = (max: (request: FastifyRequest) => number, key: (request: FastifyRequest) => string) => {
      const count = api.createRateLimit({ max, timeWindow: 60_000, keyGenerator: key })
      return async (request: FastifyRequest, reply: FastifyReply) => {
        const used = await count(request)
        if (used.isAllowed) return
        reply.headers({ 'ratelimit-limit': used.max, 'ratelimit-remaining': used.remaining, 'ratelimit-reset': used.ttlInSeconds })
        if (used.isExceeded) {
          throw new Problem(429, 'Too many requests.', { hint: `Try again in ${used.ttlInSeconds} s.`, headers: { 'retry-after': String(used.ttlInSeconds) } })
        }
      }
    }
    const counts = (request: FastifyRequest) => writes(request) && !request.routeOptions.config.asks
    const ofPerson = limit(request => (counts(request) ? config.writeRate : config.rate), request => JSON.stringify([request.identity.role, request.identity.actor, counts(request)]))
    const ofAddress = limit(() => config.rate * 10, request => `any ${request.ip}`)
    const ofLogins = limit(() => config.loginRate, request => `login ${request.ip}`)

    // The order matters: who is asking is known before anything of the request is looked at.
    api.addHook('onRequest', async (request, reply) => {
      reply.header('cache-control', 'private, no-cache').header('x-request-id', request.id)
      const { open, login, streaming } = request.routeOptions.config
      if (!streaming && writes(request)) {
        const timer = setTimeout(() => request.raw.destroy(), bodyMilliseconds)
        request.raw.once('end', () => clearTimeout(timer)).once('close', () => clearTimeout(timer))
      }
      await (login ? ofLogins : ofAddress)(request, reply)
      if (!open) {
        await auth.identify(request)
        await ofPerson(request, reply)
      }
    })
    api.addHook('onRoute', described)
    api.setNotFoundHandler(notFound)
    api.get('/openapi.json', { config: { open: true }, schema: { hide: true } }, async (_request, reply) => reply.type('application/json').send(JSON.stringify(openapi(app as never))))
    const context = { config, db, auth }
    await api.register(session, context)
    await api.register(portfolio, context)
    await api.register(customers, context)
    await api.register(customer, context)
    await api.register(events, context)
    await api.register(scorecard, context)
    await api.register(operate, context)
    await api.register(stream, { ...context, streams })
  }, { prefix: '/api/v1' })

  // For the machines around it, not for browsers: a proxy passes none of these on.
  app.get('/healthz', { schema: { hide: true }, logLevel: 'warn' }, async (_request, reply) => reply.type('text/plain').send('ok\n'))
  app.get('/readyz', { schema: { hide: true }, logLevel: 'warn' }, async (_request, reply) => {
    const trouble = await db.trouble().catch((error: unknown) => problemOf(error)?.message ?? 'the database cannot be asked')
    return reply.code(trouble === null ? 200 : 503).type('text/plain').send(`${trouble ?? 'ready'}\n`)
  })
  app.get('/metrics', { schema: { hide: true }, logLevel: 'warn' }, async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()))

  if (config.ui) {
    await app.register(fastifyStatic, {
      root: config.ui, cacheControl: false,
      // Vite puts a hash of the content into the names of all but index.html.
      setHeaders: (reply, path) => void reply.header('cache-control', path.includes('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache'),
    })
    // Deep links are the front's own.
    app.setNotFoundHandler((request, reply) =>
      (request.method === 'GET' && request.headers.accept?.includes('text/html') ? reply.header('cache-control', 'no-cache').sendFile('index.html') : notFound()))
  } else {
    app.setNotFoundHandler(notFound)
  }
  return app
}

function invalid(error: FastifyError): Problem {
  const where = error.validationContext === 'querystring' ? 'query' : error.validationContext ?? ''
  const errors = error.validation!.map(v => {
    const unknown = v.params['additionalProperty']
    const missing = v.params['missingProperty']
    return {
      pointer: `/${where}${v.instancePath}${unknown ?? missing ? `/${unknown ?? missing}` : ''}`,
      detail: unknown === undefined ? v.message ?? 'is not valid' : 'is unknown',
    }
  })
  return new Problem(422, errors.map(e => `${e.pointer} ${e.detail}`).join('; '), { errors })
}
