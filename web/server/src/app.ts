// The HTTP server: plugins, checks that hold for every route, errors, and the routes.
import AjvCompiler from '@fastify/ajv-compiler'
import cookie from '@fastify/cookie'
import etag from '@fastify/etag'
import helmet from '@fastify/helmet'
import fastifyStatic from '@fastify/static'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { type FastifyError } from 'fastify'
import { Authentication } from './auth.ts'
import type { Config } from './config.ts'
import { Database } from './db.ts'
import { Problem, problemBody, problemOf } from './problem.ts'
import { customers } from './routes/customers.ts'
import { session } from './routes/session.ts'
import { stats } from './routes/stats.ts'

export async function build(config: Config) {
  const app = fastify({
    logger: { level: config.logLevel },
    genReqId: () => crypto.randomUUID(),
    bodyLimit: 1 << 20,
    requestTimeout: 30_000,
    routerOptions: { maxParamLength: 200 },
  }).withTypeProvider<TypeBoxTypeProvider>()

  // A query has only strings, so numbers in it are converted; a body has types, so "5" is not 5.
  const compiler = AjvCompiler()
  const [text, typed] = [true, false].map(coerceTypes => compiler({}, { customOptions: { coerceTypes: coerceTypes && 'array', removeAdditional: false, useDefaults: true, allErrors: false } }))
  app.setValidatorCompiler(route => (route.httpPart === 'body' ? typed! : text!)(route))
  // PostgreSQL has made the JSON; schemas of answers are for the documentation, and for the test that compares.
  app.setSerializerCompiler(() => JSON.stringify)

  const db = new Database(config, error => app.log.warn({ err: error }, 'a connection to the database has ended'))
  const auth = new Authentication(config)
  app.addHook('onClose', () => db.close())

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

  app.setErrorHandler<FastifyError>((error, request, reply) => {
    let problem = problemOf(error)
    if (!problem && error.validation) {
      problem = new Problem(422, error.message, {
        errors: error.validation.map(v => ({
          pointer: `/${error.validationContext ?? ''}${v.instancePath}${v.params['additionalProperty'] ? `/${v.params['additionalProperty']}` : ''}`,
          detail: v.message ?? '',
        })),
      })
    }
    if (!problem && error.statusCode && error.statusCode >= 400 && error.statusCode < 500) problem = new Problem(error.statusCode, error.message)
    if (!problem) {
      request.log.error({ err: error }, 'failed')
      problem = new Problem(500, 'Something went wrong that should not have.', { hint: 'The log of the server has the details under the request id.' })
    }
    reply.code(problem.status).headers(problem.headers).type('application/problem+json').send(JSON.stringify(problemBody(problem, request.id)))
  })
  const notFound = () => { throw new Problem(404, 'There is no such resource.') }

  await app.register(async api => {
    api.addHook('onRequest', async (request, reply) => {
      reply.header('cache-control', 'private, no-cache').header('x-request-id', request.id)
      if (!request.routeOptions.config.open) await auth.identify(request)
    })
    api.setNotFoundHandler(notFound)
    await api.register(session, { db, auth })
    await api.register(stats, { db })
    await api.register(customers, { db })
  }, { prefix: '/api/v1' })

  if (config.ui) {
    await app.register(fastifyStatic, { root: config.ui, wildcard: true, immutable: false })
    // Deep links of the front are its own.
    app.setNotFoundHandler((request, reply) => (request.method === 'GET' && request.headers.accept?.includes('text/html') ? reply.sendFile('index.html') : notFound()))
  } else {
    app.setNotFoundHandler(notFound)
  }
  return app
}

declare module 'fastify' {
  /** open: without a token. */
  interface FastifyContextConfig { open?: boolean }
}
