// compose.yaml and the images that it builds, as far as they can be checked without an engine that runs containers.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'

const web = new URL('../../', import.meta.url).pathname
const top = path.join(web, '..')
const text = (file: string) => readFileSync(path.join(top, file), 'utf8')
const compose = JSON.parse(execFileSync('python3',
  ['-c', 'import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)', path.join(web, 'compose.yaml')], { encoding: 'utf8' }))
const services: [string, any][] = Object.entries(compose.services)

test('services write nowhere, have no rights but what they need, and no way out of the inner network', () => {
  for (const [name, service] of services) {
    assert.equal(service.read_only, true, `${name} is read-only`)
    assert.deepEqual(service.cap_drop, ['ALL'], `${name} drops all capabilities`)
    assert.ok(service.security_opt.includes('no-new-privileges:true'), `${name} gains none`)
    assert.equal(service.privileged, undefined)
  }
  assert.equal(compose.networks.inside.internal, true)
  assert.deepEqual(compose.services.db.networks, ['inside'])
  assert.deepEqual(services.filter(([, service]) => service.ports).map(([name]) => name), ['proxy'])
})

test('secrets are files, never in the environment', () => {
  for (const [name, service] of services) {
    for (const secret of service.secrets ?? []) assert.ok(compose.secrets[secret]?.file, `${secret} of ${name} is a file`)
    for (const [variable, value] of Object.entries<string>(service.environment ?? {})) {
      if (/password|secret|key/i.test(variable)) assert.match(value, /^\/run\/secrets\//, `${variable} of ${name}`)
      const file = /^\/run\/secrets\/(.*)/.exec(String(value))?.[1]
      if (file !== undefined) assert.ok(service.secrets.includes(file), `${name} has ${file}`)
    }
  }
  assert.match(text('.dockerignore'), /^web\/secrets$/m)
  for (const name of ['certificate', 'certificate_key']) {
    assert.ok(compose.services.proxy.secrets.includes(name))
    assert.ok(text('web/nginx/chs.conf').includes(`/run/secrets/${name};`))
  }
})

test('settings of the server are those that it knows', () => {
  const known = text('web/server/src/config.ts')
  for (const variable of Object.keys(compose.services.web.environment)) {
    const own = /^CHS_WEB_(.*)/.exec(variable)?.[1]
    if (own !== undefined) assert.ok(known.includes(`'${own}'`), variable)
  }
})

test('images are built from files that are there', () => {
  for (const [name, service] of services) {
    const dockerfile = text(service.build.dockerfile)
    const stages = [...dockerfile.matchAll(/^FROM \S+ AS (\S+)$/gm)].map(match => match[1])
    if (service.build.target) assert.ok(stages.includes(service.build.target), `${name} has the stage ${service.build.target}`)
    for (const [, from, files] of dockerfile.matchAll(/^COPY (--from=\S+ )?(.+)$/gm)) {
      const copied = files!.trim().split(/\s+/).slice(0, -1)
      if (from) assert.ok(stages.includes(from.trim().slice('--from='.length)), `${from}of ${service.build.dockerfile}`)
      else for (const file of copied) assert.ok(existsSync(path.join(top, file)), `${file} of ${service.build.dockerfile}`)
    }
  }
})

test('each service waits for those that it needs to be ready', () => {
  const needs = (name: string) => Object.entries<any>(compose.services[name].depends_on ?? {}).map(([on, how]) => [on, how.condition])
  assert.deepEqual(needs('setup'), [['db', 'service_healthy']])
  assert.deepEqual(needs('web'), [['setup', 'service_completed_successfully']])
  assert.deepEqual(needs('proxy'), [['web', 'service_healthy']])
  assert.ok(compose.services.db.healthcheck)
  assert.match(text('web/Dockerfile'), /HEALTHCHECK[^\n]*\n?[^\n]*readyz/)
})
