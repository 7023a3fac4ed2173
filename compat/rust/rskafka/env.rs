//! What a running check has to work with.

use std::{
    collections::{BTreeMap, VecDeque},
    error::Error,
    fmt::Debug,
    time::{Duration, SystemTime},
};

use chrono::DateTime;
use rskafka::{
    client::{
        Client,
        partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling},
    },
    record::{Record, RecordAndOffset},
};

pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const TIMEOUT_MS: i32 = 30_000;
const MAX_BYTES: i32 = 10_000_000;

/// The client, and a topic of one partition that only this check uses.
pub struct Env<'a> {
    pub client: &'a Client,
    pub topic: String,
}

impl<'a> Env<'a> {
    pub fn new(client: &'a Client, topic: String) -> Self {
        Self { client, topic }
    }

    /// Makes the topic and returns its partition.
    pub async fn create(&self) -> Outcome<PartitionClient> {
        self.client.controller_client()?.create_topic(&self.topic, 1, 1, TIMEOUT_MS).await?;
        self.partition().await
    }

    pub async fn partition(&self) -> Outcome<PartitionClient> {
        Ok(self.client.partition_client(&self.topic, 0, UnknownTopicHandling::Retry).await?)
    }

    pub async fn listed(&self) -> Outcome<bool> {
        Ok(self.client.list_topics().await?.iter().any(|t| t.name == self.topic))
    }

    pub async fn consume(&self, at: OffsetAt) -> Outcome<Consumer> {
        let partition = self.partition().await?;
        let offset = partition.get_offset(at).await?;
        Ok(Consumer { partition, offset, buffer: VecDeque::new(), fetches: 0 })
    }

    /// Reads from the beginning until the offset is what ListOffsets calls latest.
    pub async fn read_to_latest(&self) -> Outcome<Vec<RecordAndOffset>> {
        let mut consumer = self.consume(OffsetAt::Earliest).await?;
        let latest = consumer.partition.get_offset(OffsetAt::Latest).await?;
        let mut records = Vec::new();
        while records.last().map_or(consumer.offset, |r: &RecordAndOffset| r.offset + 1) < latest {
            records.push(consumer.next().await?);
        }
        Ok(records)
    }
}

/// Reads a partition from an offset on.
pub struct Consumer {
    partition: PartitionClient,
    offset: i64, // of the next fetch
    buffer: VecDeque<RecordAndOffset>,
    pub fetches: usize,
}

impl Consumer {
    /// Fetches once, and reports whether there is a record.
    pub async fn poll(&mut self, wait: Duration) -> Outcome<bool> {
        self.fetches += 1;
        let wait_ms = i32::try_from(wait.as_millis())?;
        let (records, _) = self.partition.fetch_records(self.offset, 1..MAX_BYTES, wait_ms).await?;
        if let Some(last) = records.last() {
            self.offset = last.offset + 1;
        }
        self.buffer.extend(records);
        Ok(!self.buffer.is_empty())
    }

    pub async fn next(&mut self) -> Outcome<RecordAndOffset> {
        loop {
            if let Some(record) = self.buffer.pop_front() {
                return Ok(record);
            }
            self.poll(Duration::from_millis(500)).await?;
        }
    }

    pub async fn read(&mut self, count: usize) -> Outcome<Vec<RecordAndOffset>> {
        let mut records = Vec::new();
        while records.len() < count {
            records.push(self.next().await?);
        }
        Ok(records)
    }
}

/// A record of this moment with the given headers.
pub fn record(value: &str, headers: &[(&str, &str)]) -> Record {
    Record {
        key: None,
        value: Some(value.into()),
        headers: headers.iter().map(|(k, v)| (k.to_string(), v.as_bytes().to_vec())).collect::<BTreeMap<_, _>>(),
        timestamp: DateTime::from_timestamp_millis(now_ms()).expect("a time of this age"),
    }
}

pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time of this age");
    i64::try_from(since.as_millis()).expect("a time of this age")
}

pub async fn produce(partition: &PartitionClient, values: &[String]) -> Outcome<Vec<i64>> {
    let records = values.iter().map(|v| record(v, &[])).collect();
    Ok(partition.produce(records, Compression::NoCompression).await?)
}

/// Appends n records that nobody sees for an hour.
pub async fn hide(partition: &PartitionClient, n: usize) -> Outcome {
    let hidden = vec![record("hidden", &[("morrow-delay", "1h")]); 5000.min(n)];
    for left in (1..=n).rev().step_by(hidden.len()) {
        partition.produce(hidden[..hidden.len().min(left)].to_vec(), Compression::NoCompression).await?;
    }
    Ok(())
}

pub fn values(records: &[RecordAndOffset]) -> Vec<String> {
    records.iter().map(|r| text(r.record.value.as_deref())).collect()
}

pub fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

pub fn numbered(first: usize, last: usize) -> Vec<String> {
    (first..=last).map(|i| i.to_string()).collect()
}

pub fn equal<T: PartialEq + Debug>(what: &str, got: T, want: T) -> Outcome {
    if got == want {
        return Ok(());
    }
    let short = |v: &T| format!("{v:?}").chars().take(200).collect::<String>();
    Err(format!("{what}: got {}, want {}", short(&got), short(&want)).into())
}
