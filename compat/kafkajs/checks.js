// The checks of compat/checks_test.go.
'use strict'

const assert = require('node:assert')
const { setTimeout: delay } = require('node:timers/promises')
const { CompressionTypes, ConfigResourceTypes } = require('kafkajs')
const { GROUP_PARTITIONS, Unsupported, numbered } = require('./env')
const transactions = require('./transactions')

async function produceAndRead(env, compression, acks, producerOptions = {}) {
  await env.createTopic(1)
  const producer = await env.producer(producerOptions)
  const messages = numbered(1, 100).map((n) => ({ partition: 0, key: `key-${n}`, value: `value-${n}`, headers: { h: n } }))
  await producer.send({ topic: env.topic, compression, acks, messages })
  const reader = await env.read()
  await env.await('100 records are read', () => reader.records.length >= 100)
  reader.records.forEach((r, i) => {
    assert.deepStrictEqual([Number(r.offset), r.key, r.value, r.headers], [i, `key-${i + 1}`, `value-${i + 1}`, { h: String(i + 1) }])
  })
}

async function consumeBeginning(env) {
  await env.createTopic(1)
  await env.produce(numbered(1, 10))
  const reader = await env.read()
  await env.await('10 records are read', () => reader.records.length >= 10)
  assert.deepStrictEqual(reader.values, numbered(1, 10))
}

async function consumeEnd(env) {
  await env.createTopic(1)
  await env.produce(numbered(1, 10))
  const reader = await env.read({ fromBeginning: false })
  await env.await('the consumer has fetched', () => reader.fetches > 0)
  await env.produce(numbered(11, 15))
  await env.await('5 records are read', () => reader.records.length >= 5)
  assert.deepStrictEqual(reader.values, numbered(11, 15))
}

async function consumeTimestamp(env) {
  await env.createTopic(1)
  await env.produce(numbered(1, 10))
  const from = Date.now() + 1
  await env.await('the clock moves on', () => Date.now() > from)
  await env.produce(numbered(11, 15))
  const admin = await env.admin()
  const [{ offset }] = await admin.fetchTopicOffsetsByTimestamp(env.topic, from)
  const reader = await env.read({ seek: offset })
  await env.await('5 records are read', () => reader.records.length >= 5)
  assert.deepStrictEqual(reader.values.slice(-5), numbered(11, 15))
  assert.strictEqual(offset, '10')
}

async function groupRebalance(env) {
  await env.createTopic(GROUP_PARTITIONS)
  const sent = []
  const spread = async (value) => {
    const messages = Array.from({ length: GROUP_PARTITIONS }, (_, partition) => ({ partition, value: `${value}@${partition}` }))
    await env.send(messages)
    sent.push(...messages.map((m) => m.value))
  }
  const allRead = (...readers) => {
    const read = new Set(readers.flatMap((r) => r.values))
    return sent.every((value) => read.has(value))
  }
  const half = GROUP_PARTITIONS / 2

  await spread('alone')
  const first = await env.read({ groupId: env.topic })
  await env.await('the first member has all partitions', () => first.assigned === GROUP_PARTITIONS)
  await env.await('all values are read', () => allRead(first))
  const second = await env.read({ groupId: env.topic })
  await env.await('each member has half of the partitions', () => first.assigned === half && second.assigned === half)
  await spread('together')
  await env.await('all values are read', () => allRead(first, second))
  await second.commit(env.topic)
  await second.leave()
  await env.await('the first member has all partitions again', () => first.assigned === GROUP_PARTITIONS)
  await spread('again')
  await env.await('all values are read', () => allRead(first, second))
}

async function groupResume(env) {
  await env.createTopic(1)
  await env.produce(numbered(1, 10))
  const first = await env.read({ groupId: env.topic })
  await env.await('10 records are read', () => first.records.length >= 10)
  await first.commit(env.topic)
  await first.leave()
  await env.produce(numbered(11, 15))
  const second = await env.read({ groupId: env.topic })
  await env.await('5 more records are read', () => second.records.length >= 5)
  assert.deepStrictEqual(second.values, numbered(11, 15))
}

async function partitions(env) {
  const admin = await env.admin()
  const { topics } = await admin.fetchTopicMetadata({ topics: [env.topic] })
  return topics[0].partitions
}

async function adminCreateTopic(env) {
  await env.createTopic(3, [{ name: 'retention.ms', value: '3600000' }])
  assert.strictEqual((await partitions(env)).length, 3)
  const admin = await env.admin()
  const again = await admin.createTopics({ topics: [{ topic: env.topic, numPartitions: 3 }] })
  assert.strictEqual(again, false, 'the topic was created again') // which is how kafkajs says TOPIC_ALREADY_EXISTS
}

async function adminDescribeTopic(env) {
  await env.createTopic(2)
  const described = await partitions(env)
  assert.strictEqual(described.length, 2)
  for (const p of described) assert.ok(p.leader >= 0, 'a partition has no leader')
}

async function adminCreatePartitions(env) {
  await env.createTopic(1)
  const admin = await env.admin()
  await admin.createPartitions({ topicPartitions: [{ topic: env.topic, count: 3 }] })
  await env.await('there are 3 partitions', async () => (await partitions(env)).length === 3)
}

async function adminDeleteTopic(env) {
  await env.createTopic(1)
  const admin = await env.admin()
  assert.ok((await admin.listTopics()).includes(env.topic), 'the topic is not listed')
  await admin.deleteTopics({ topics: [env.topic] })
  await env.await('the topic is not listed', async () => !(await admin.listTopics()).includes(env.topic))
}

async function config(env, name) {
  const admin = await env.admin()
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: env.topic }],
  })
  return resources[0].configEntries.find((e) => e.configName === name)?.configValue
}

async function adminDescribeConfigs(env) {
  await env.createTopic(1, [{ name: 'retention.ms', value: '7200000' }])
  assert.strictEqual(await config(env, 'retention.ms'), '7200000')
  assert.strictEqual(await config(env, 'cleanup.policy'), 'delete')
}

async function adminAlterConfigs(env) {
  await env.createTopic(1)
  const admin = await env.admin()
  await admin.alterConfigs({
    validateOnly: false,
    resources: [
      { type: ConfigResourceTypes.TOPIC, name: env.topic, configEntries: [{ name: 'retention.ms', value: '5400000' }] },
    ],
  })
  await env.await('the new value is described', async () => (await config(env, 'retention.ms')) === '5400000')
}

async function adminListOffsets(env) {
  await env.createTopic(1)
  await env.produce(numbered(1, 7))
  assert.deepStrictEqual(await env.offsets(), { earliest: 0, latest: 7 })
}

async function adminDeleteRecords(env) {
  await env.createTopic(1)
  await env.produce(numbered(0, 9))
  const admin = await env.admin()
  await env.offsets() // kafkajs deletes only from topics whose leaders it has had to look up before
  await admin.deleteTopicRecords({ topic: env.topic, partitions: [{ partition: 0, offset: '4' }] })
  assert.deepStrictEqual(await env.offsets(), { earliest: 4, latest: 10 })
  const reader = await env.read()
  await env.await('a record is read', () => reader.records.length > 0)
  assert.strictEqual(reader.values[0], '4')
}

// commitAt commits an offset for a group without members.
async function commitAt(env, offset) {
  const admin = await env.admin()
  await admin.setOffsets({ groupId: env.topic, topic: env.topic, partitions: [{ partition: 0, offset: String(offset) }] })
}

async function listsGroup(env) {
  const admin = await env.admin()
  const { groups } = await admin.listGroups()
  return groups.some((g) => g.groupId === env.topic)
}

async function adminListGroups(env) {
  await env.createTopic(1)
  await commitAt(env, 0)
  assert.ok(await listsGroup(env), 'the group is not listed')
}

async function adminDescribeGroup(env) {
  await env.createTopic(GROUP_PARTITIONS)
  const member = await env.read({ groupId: env.topic })
  await env.await('the member has its partitions', () => member.assigned === GROUP_PARTITIONS)
  const admin = await env.admin()
  const { groups } = await admin.describeGroups([env.topic])
  assert.deepStrictEqual([groups[0].state, groups[0].members.length], ['Stable', 1])
}

async function adminDeleteGroup(env) {
  await env.createTopic(1)
  await commitAt(env, 0)
  const admin = await env.admin()
  await admin.deleteGroups([env.topic])
  assert.ok(!(await listsGroup(env)), 'the group is still listed')
}

async function adminDescribeCluster(env) {
  const admin = await env.admin()
  const { brokers } = await admin.describeCluster()
  assert.deepStrictEqual(brokers.map((b) => `${b.host}:${b.port}`), [env.bootstrap])
}

async function delayDelivered(env) {
  await env.createTopic(1)
  await env.produce(['first'])
  const before = Date.now()
  const answer = await env.send([{ key: 'key', value: 'later', headers: { 'morrow-delay': '2s', other: 'kept' } }])
  const reader = await env.read()
  await env.await('2 records are read', () => reader.records.length >= 2)
  const arrived = Date.now()
  const { key, value, headers, timestamp } = reader.records[1]
  assert.deepStrictEqual([key, value, headers.other], ['key', 'later', 'kept'])
  assert.strictEqual(headers['morrow-delay'], undefined, 'delivered with its header morrow-delay')
  assert.deepStrictEqual([answer.baseOffset, headers['morrow-ticket']], ['1', '1'])
  const due = Number(headers['morrow-due'])
  assert.ok(
    due >= before + 2000 && timestamp >= due && arrived >= due,
    `early: produced at ${before}, due ${due}, delivered at ${timestamp}, arrived at ${arrived}`
  )
}

async function delayRefused(env) {
  await env.createTopic(1)
  await env.produce(['first'])
  await assert.rejects(env.send([{ value: 'never', headers: { 'morrow-delay': 'soon' } }]), (e) => {
    assert.strictEqual(e.type, 'INVALID_RECORD')
    return true
  })
  assert.strictEqual((await env.offsets()).latest, 1)
}

// delaySentence takes an error with nothing but the code for that of a client with no way to show more.
async function delaySentence(env) {
  await env.createTopic(1)
  const e = await env.send([{ value: 'never', headers: { 'morrow-delay': 'soon' } }]).then(() => undefined, (e) => e)
  assert.strictEqual(e?.type, 'INVALID_RECORD')
  if (!e.message.includes('morrow-delay') || !e.message.includes('soon')) throw new Unsupported()
}

async function hiddenBounded(env, readUncommitted) {
  await env.createTopic(1)
  await env.produce(numbered(1, 10))
  await env.hide(5)
  assert.strictEqual((await env.offsets()).latest, 10)
  const records = await env.readToLatest({ readUncommitted })
  assert.deepStrictEqual(records.map((r) => r.value), numbered(1, 10))
  assert.strictEqual(records[9].highWatermark, '10')
}

async function hiddenOnly(env) {
  await env.createTopic(1)
  await env.hide(5)
  assert.deepStrictEqual(await env.readToLatest(), [])
  const reader = await env.read()
  await env.produce(['visible'])
  await env.await('a record is read', () => reader.records.length > 0)
  assert.deepStrictEqual([reader.records[0].offset, reader.records[0].value], ['5', 'visible'])
}

async function hiddenHole(env) {
  const hole = 100_000
  await env.createTopic(1)
  await env.produce(['before'])
  await env.hide(hole)
  await env.produce(['after'])
  const records = await env.readToLatest()
  assert.deepStrictEqual(records.map((r) => [Number(r.offset), r.value]), [[0, 'before'], [hole + 1, 'after']])
  assert.strictEqual((await env.offsets()).latest, hole + 2)
}

async function hiddenLag(env) {
  await env.createTopic(1)
  await env.produce(numbered(1, 10))
  await env.hide(5)
  const member = await env.read({ groupId: env.topic })
  await env.await('10 records are read', () => member.records.length >= 10)
  await member.commit(env.topic)
  await member.leave()
  const admin = await env.admin()
  const [{ partitions }] = await admin.fetchOffsets({ groupId: env.topic, topics: [env.topic] })
  assert.strictEqual((await env.offsets()).latest - Number(partitions[0].offset), 0, 'lag')
  assert.deepStrictEqual(member.values, numbered(1, 10))
}

async function hiddenCommitInside(env) {
  await env.createTopic(1)
  await env.produce(numbered(1, 10))
  await env.hide(5)
  await commitAt(env, 13)
  const member = await env.read({ groupId: env.topic })
  await env.await('the member has fetched', () => member.fetches > 0)
  await env.produce(['visible'])
  await env.await('the visible record is read', () => member.values.includes('visible'))
  assert.deepStrictEqual(member.records.map((r) => [r.offset, r.value]), [['15', 'visible']])
}

async function hiddenCaughtUp(env) {
  const batches = 12
  const paceMs = 250
  const maxFetches = 30
  await env.createTopic(1)
  await env.produce(['first'])
  const reader = await env.read()
  await env.await('a record is read', () => reader.records.length > 0)
  const before = reader.fetches
  for (let i = 0; i < batches; i++) {
    await Promise.all([env.hide(1), delay(paceMs)])
  }
  const during = reader.fetches - before
  await env.produce(['last'])
  await env.await('another record is read', () => reader.records.length > 1)
  assert.deepStrictEqual(reader.values, ['first', 'last'])
  assert.ok(before > 0 && during <= maxFetches, `${during} fetches while ${batches} hidden batches arrived`)
}

const codecs = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}
const acksOf = { 0: 0, 1: 1, all: -1 }

const checks = new Map()
for (const [codec, type] of Object.entries(codecs)) {
  for (const [name, acks] of Object.entries(acksOf)) {
    checks.set(`produce/${codec}/acks=${name}`, (env) => produceAndRead(env, type, acks))
  }
}
checks.set('produce/idempotent', (env) => produceAndRead(env, codecs.none, -1, { idempotent: true, maxInFlightRequests: 1 }))
checks.set('consume/beginning', consumeBeginning)
checks.set('consume/end', consumeEnd)
checks.set('consume/timestamp', consumeTimestamp)
checks.set('group/rebalance', groupRebalance)
checks.set('group/resume', groupResume)
checks.set('admin/create-topic', adminCreateTopic)
checks.set('admin/describe-topic', adminDescribeTopic)
checks.set('admin/create-partitions', adminCreatePartitions)
checks.set('admin/delete-topic', adminDeleteTopic)
checks.set('admin/describe-configs', adminDescribeConfigs)
checks.set('admin/alter-configs', adminAlterConfigs)
checks.set('admin/list-offsets', adminListOffsets)
checks.set('admin/delete-records', adminDeleteRecords)
checks.set('admin/list-groups', adminListGroups)
checks.set('admin/describe-group', adminDescribeGroup)
checks.set('admin/delete-group', adminDeleteGroup)
checks.set('admin/describe-cluster', adminDescribeCluster)
checks.set('delay/delivered', delayDelivered)
checks.set('delay/refused', delayRefused)
checks.set('delay/sentence', delaySentence)
checks.set('txn/commit', transactions.commit)
checks.set('txn/abort', transactions.abort)
checks.set('txn/offsets', transactions.offsets)
checks.set('txn/delayed', transactions.delayed)
checks.set('hidden/bounded', (env) => hiddenBounded(env, true))
checks.set('hidden/read-committed', (env) => hiddenBounded(env, false))
checks.set('hidden/only', hiddenOnly)
checks.set('hidden/hole', hiddenHole)
checks.set('hidden/lag', hiddenLag)
checks.set('hidden/commit-inside', hiddenCommitInside)
checks.set('hidden/caught-up', hiddenCaughtUp)

const unsupported = ['group848/rebalance', 'group848/resume', 'admin/describe-log-dirs']

module.exports = { checks, unsupported }
