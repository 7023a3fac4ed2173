// The checks of transactions.
'use strict'

const assert = require('node:assert')
const { numbered } = require('./env')

const MARKER = 'end of the check'

// transactional returns a producer whose transactional id is the name of the topic.
async function transactional(env) {
  return env.producer({ transactionalId: env.topic, idempotent: true, maxInFlightRequests: 1 })
}

function send(sender, topic, messages) {
  return sender.send({ topic, acks: -1, messages: messages.map((m) => ({ partition: 0, ...m })) })
}

function messages(values) {
  return values.map((value) => ({ value }))
}

async function transact(producer, topic, messages, commit) {
  const transaction = await producer.transaction()
  await send(transaction, topic, messages)
  await (commit ? transaction.commit() : transaction.abort())
}

// readAll returns the values a reader sees up to a record that is produced here, outside of any transaction.
async function readAll(env, options) {
  await env.produce([MARKER])
  const reader = await env.read(options)
  await env.await('the end is read', () => reader.values.includes(MARKER))
  return reader.values.slice(0, reader.values.indexOf(MARKER))
}

async function commit(env) {
  await env.createTopic(1)
  const producer = await transactional(env)
  const transaction = await producer.transaction()
  await send(transaction, env.topic, messages(numbered(1, 5)))
  const dirty = await env.read({ readUncommitted: true })
  await env.await('the open transaction is read', () => dirty.records.length >= 5)
  assert.deepStrictEqual(dirty.values, numbered(1, 5))

  await env.produce(['outside'])
  const clean = await env.read({ readUncommitted: false })
  await env.await('the consumer has fetched', () => clean.fetches > 0)
  await env.nothing(clean, 1000)
  await transaction.commit()
  await env.await('the committed transaction is read', () => clean.records.length >= 6)
  assert.deepStrictEqual(clean.values, [...numbered(1, 5), 'outside'])
}

async function abort(env) {
  await env.createTopic(1)
  const producer = await transactional(env)
  await transact(producer, env.topic, messages(numbered(1, 5)), false)
  await transact(producer, env.topic, messages(numbered(6, 10)), true)
  assert.deepStrictEqual(await readAll(env, { readUncommitted: false }), numbered(6, 10))
  assert.deepStrictEqual(await readAll(env, { readUncommitted: true }), numbered(1, 10))
}

async function committed(env, topic) {
  const admin = await env.admin()
  const [{ partitions }] = await admin.fetchOffsets({ groupId: env.topic, topics: [topic] })
  return Number(partitions[0].offset)
}

async function offsets(env) {
  const from = `${env.topic}.from`
  const admin = await env.admin()
  await admin.createTopics({ topics: [{ topic: from, numPartitions: 1 }], waitForLeaders: false })
  await env.createTopic(1)
  const producer = await transactional(env)
  await send(await env.producer(), from, messages(numbered(1, 5)))

  // relay is what an application between two topics does.
  const relay = async (commit) => {
    const source = await env.read({ topic: from })
    await env.await('5 records are read', () => source.records.length >= 5)
    const transaction = await producer.transaction()
    await send(transaction, env.topic, messages(source.values.slice(0, 5)))
    const position = String(Number(source.records[4].offset) + 1)
    await transaction.sendOffsets({ consumerGroupId: env.topic, topics: [{ topic: from, partitions: [{ partition: 0, offset: position }] }] })
    await (commit ? transaction.commit() : transaction.abort())
  }
  await relay(false)
  assert.strictEqual(await committed(env, from), -1)
  await relay(true)
  // The markers are written after the answer.
  await env.await('the position is committed', async () => (await committed(env, from)) === 5)
  assert.deepStrictEqual(await readAll(env, { readUncommitted: false }), numbered(1, 5))
}

async function delayed(env) {
  await env.createTopic(1)
  const later = (value) => ({ value, headers: { 'morrow-delay': '1s' } })
  const producer = await transactional(env)
  await transact(producer, env.topic, [later('dropped')], false)
  const before = Date.now()
  await transact(producer, env.topic, [later('kept'), { value: 'at once' }], true)

  const reader = await env.read({ readUncommitted: false })
  await env.await('2 records are read', () => reader.records.length >= 2)
  assert.deepStrictEqual(reader.values, ['at once', 'kept'])
  const { headers, timestamp } = reader.records[1]
  const due = Number(headers['morrow-due'])
  assert.ok(due >= before + 1000 && timestamp >= due, `early: produced at ${before}, due ${due}, delivered at ${timestamp}`)
  await env.nothing(reader, 1000)
}

module.exports = { commit, abort, offsets, delayed }
