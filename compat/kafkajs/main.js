// Does every check of compat/checks_test.go with kafkajs and prints one JSON line for each.
'use strict'

const { registerCodecs } = require('./codecs')
const { Env, Unsupported } = require('./env')
const { checks, unsupported } = require('./checks')

// Bounds a check, every step of which waits for a condition.
const CHECK_TIMEOUT_MS = 90_000
const MAX_DETAIL = 500

function report(line) {
  process.stdout.write(JSON.stringify(line) + '\n')
}

// outcome runs one check with a deadline.
async function outcome(env, check) {
  let timer
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => {
      env.expired = true // ends what still waits
      reject(new Error(`not done after ${CHECK_TIMEOUT_MS} ms, ${env.waitingFor ?? 'in a call of the client'}`))
    }, CHECK_TIMEOUT_MS)
  })
  try {
    await Promise.race([check(env), deadline])
    return { result: 'pass' }
  } catch (e) {
    if (e instanceof Unsupported) return { result: 'unsupported' }
    return { result: 'fail', detail: String(e.message ?? e).slice(0, MAX_DETAIL) }
  } finally {
    clearTimeout(timer)
    await env.close()
  }
}

async function main() {
  const { COMPAT_BOOTSTRAP: bootstrap, COMPAT_PREFIX: prefix } = process.env
  if (!bootstrap || !prefix) {
    console.error('COMPAT_BOOTSTRAP and COMPAT_PREFIX must be set')
    process.exit(2)
  }
  await registerCodecs()
  report({ client: 'kafkajs', version: require('kafkajs/package.json').version })
  for (const [name, check] of checks) {
    const env = new Env(bootstrap, `${prefix}.${name.replace(/[/=]/g, '-')}`)
    report({ check: name, ...(await outcome(env, check)) })
  }
  for (const name of unsupported) report({ check: name, result: 'unsupported' })
  process.exit(0) // also when a check that hangs has left something open
}

main().catch((e) => {
  console.error(e)
  process.exit(1)
})
