// What a running check has to work with.
'use strict'

const assert = require('node:assert')
const { setTimeout: delay } = require('node:timers/promises')
const { Kafka, Partitioners, logLevel } = require('kafkajs')

const GROUP_PARTITIONS = 4
const MAX_WAIT_MS = 500

// Unsupported is thrown by a check for which the client has no way.
class Unsupported extends Error {}

// Env is the environment of one check: a topic name of its own, which is also the name of its group, an admin client, and
// whatever it opens through this class, which is closed at its end.
class Env {
  constructor(bootstrap, topic) {
    this.bootstrap = bootstrap
    this.topic = topic
    this.kafka = new Kafka({ clientId: 'compat', brokers: [bootstrap], logLevel: logLevel.NOTHING })
    this.opened = []
    this.expired = false
    this.waitingFor = undefined
  }

  async close() {
    for (const client of this.opened.reverse()) {
      await Promise.race([client.disconnect(), delay(5000)]).catch(() => {})
    }
  }

  // open connects a client and disconnects it at the end of the check.
  async open(client) {
    this.opened.push(client)
    await client.connect()
    return client
  }

  async admin() {
    this.adminClient ??= await this.open(this.kafka.admin())
    return this.adminClient
  }

  // await polls until the condition, which may be asynchronous, holds.
  async await(what, condition) {
    this.waitingFor = `waiting until ${what}`
    while (!(await condition())) {
      if (this.expired) throw new Error(this.waitingFor)
      await delay(20)
    }
    this.waitingFor = undefined
  }

  async createTopic(numPartitions, configEntries = []) {
    const admin = await this.admin()
    const created = await admin.createTopics({
      topics: [{ topic: this.topic, numPartitions, configEntries }],
      waitForLeaders: false,
    })
    assert.ok(created, 'the topic was not created')
  }

  async producer(options = {}) {
    return this.open(this.kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options }))
  }

  // nothing sees to it that the reader gets no more records for so long.
  async nothing(reader, milliseconds) {
    const before = reader.records.length
    await delay(milliseconds)
    assert.deepStrictEqual(reader.values.slice(before), [])
  }

  // send produces messages, to partition 0 unless they name another, and returns the answer of the first partition.
  async send(messages, options = {}) {
    this.defaultProducer ??= await this.producer()
    const answers = await this.defaultProducer.send({
      topic: this.topic,
      messages: messages.map((m) => ({ partition: 0, ...m })),
      ...options,
    })
    return answers[0]
  }

  async produce(values) {
    await this.send(values.map((value) => ({ value })))
  }

  // hide appends n records that nobody sees for an hour.
  async hide(n) {
    const chunk = 5000
    for (; n > 0; n -= chunk) {
      await this.send(Array(Math.min(n, chunk)).fill({ value: 'hidden', headers: { 'morrow-delay': '1h' } }))
    }
  }

  // offsets returns the earliest and latest offset of partition 0.
  async offsets() {
    const admin = await this.admin()
    const [{ low, high }] = await admin.fetchTopicOffsets(this.topic)
    return { earliest: Number(low), latest: Number(high) }
  }

  // read starts a consumer. kafkajs knows no consumers without a group, so it joins one of its own unless it is given one.
  async read(options = {}) {
    const { groupId = `${this.topic}.${this.opened.length}`, topic = this.topic, fromBeginning = true, seek, readUncommitted = true } = options
    const consumer = this.kafka.consumer({
      groupId,
      readUncommitted,
      maxWaitTimeInMs: MAX_WAIT_MS,
      heartbeatInterval: 300,
      sessionTimeout: 10_000,
      retry: { retries: 3, initialRetryTime: 50 },
    })
    const reader = new Reader(topic, consumer)
    await this.open(consumer)
    await consumer.subscribe({ topic, fromBeginning })
    await consumer.run({ autoCommit: false, eachBatchAutoResolve: true, eachBatch: async (b) => reader.batch(b) })
    if (seek !== undefined) consumer.seek({ topic, partition: 0, offset: String(seek) })
    return reader
  }

  // readToLatest is the loop of a bounded reader: from the beginning until its position is what ListOffsets calls latest.
  async readToLatest(options) {
    const { earliest, latest } = await this.offsets()
    if (earliest === latest) return []
    const reader = await this.read(options)
    await this.await('the end is read', () => Number(reader.records.at(-1)?.offset) === latest - 1)
    return reader.records
  }
}

// Reader collects what its consumer gets.
class Reader {
  constructor(topic, consumer) {
    this.consumer = consumer
    this.records = []
    this.fetches = 0 // that were answered
    this.assigned = 0
    this.crash = undefined
    consumer.on(consumer.events.FETCH, () => this.fetches++)
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = (payload.memberAssignment[topic] ?? []).length
    })
    consumer.on(consumer.events.REBALANCING, () => (this.assigned = 0))
    consumer.on(consumer.events.CRASH, ({ payload }) => (this.crash = payload.error))
  }

  batch({ batch }) {
    for (const m of batch.messages) {
      const headers = {}
      for (const [k, v] of Object.entries(m.headers ?? {})) headers[k] = v.toString()
      this.records.push({
        partition: batch.partition,
        offset: m.offset,
        key: m.key?.toString(),
        value: m.value?.toString(),
        timestamp: Number(m.timestamp),
        headers,
        highWatermark: batch.highWatermark,
      })
    }
  }

  get values() {
    return this.records.map((r) => r.value)
  }

  // commit commits the position after the last record of each partition.
  async commit(topic) {
    const next = new Map(this.records.map((r) => [r.partition, String(BigInt(r.offset) + 1n)]))
    await this.consumer.commitOffsets([...next].map(([partition, offset]) => ({ topic, partition, offset })))
  }

  async leave() {
    this.assigned = 0
    await this.consumer.disconnect()
  }
}

// numbered returns the numbers from first to last as values.
function numbered(first, last) {
  return Array.from({ length: last - first + 1 }, (_, i) => String(first + i))
}

module.exports = { Env, GROUP_PARTITIONS, Unsupported, numbered }
