//! The checks, in the order of compat/checks_test.go.

use std::{iter, time::Duration};

use chrono::DateTime;
use rskafka::client::{
    error::{Error, ProtocolError},
    partition::{Compression, OffsetAt},
};

use crate::env::{Env, Outcome, equal, hide, now_ms, numbered, produce, record, text, values};

const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::NoCompression),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

const OTHERS: &[&str] = &[
    "produce/idempotent", "consume/beginning", "consume/end", "consume/timestamp", "group/rebalance", "group/resume",
    "group848/rebalance", "group848/resume", "admin/create-topic", "admin/describe-topic", "admin/create-partitions",
    "admin/delete-topic", "admin/describe-configs", "admin/alter-configs", "admin/list-offsets", "admin/delete-records",
    "admin/list-groups", "admin/describe-group", "admin/delete-group", "admin/describe-log-dirs",
    "admin/describe-cluster", "delay/delivered", "delay/refused", "delay/sentence", "txn/commit", "txn/abort",
    "txn/offsets", "txn/delayed", "hidden/bounded", "hidden/read-committed", "hidden/only", "hidden/hole", "hidden/lag",
    "hidden/commit-inside", "hidden/caught-up",
];

pub fn names() -> Vec<String> {
    let produce = CODECS.iter().flat_map(|(codec, _)| ["0", "1", "all"].map(|acks| format!("produce/{codec}/acks={acks}")));
    produce.chain(OTHERS.iter().map(|name| name.to_string())).collect()
}

/// Does a check; None if the client has no way to.
pub async fn run(name: &str, env: &Env<'_>) -> Option<Outcome> {
    if let Some((_, compression)) = CODECS.iter().find(|(codec, _)| name == format!("produce/{codec}/acks=all")) {
        return Some(produce_and_read(env, *compression).await);
    }
    Some(match name {
        "consume/beginning" => consume_beginning(env).await,
        "consume/end" => consume_end(env).await,
        "consume/timestamp" => consume_timestamp(env).await,
        "admin/delete-topic" => delete_topic(env).await,
        "admin/list-offsets" => list_offsets(env).await,
        "admin/delete-records" => delete_records(env).await,
        "delay/delivered" => delay_delivered(env).await,
        "delay/refused" => delay_refused(env).await,
        "delay/sentence" => delay_sentence(env).await?,
        "hidden/bounded" => hidden_bounded(env).await,
        "hidden/only" => hidden_only(env).await,
        "hidden/hole" => hidden_hole(env).await,
        "hidden/caught-up" => hidden_caught_up(env).await,
        _ => return None,
    })
}

async fn produce_and_read(env: &Env<'_>, compression: Compression) -> Outcome {
    let partition = env.create().await?;
    let mut sent: Vec<_> = numbered(1, 100).iter().map(|n| record(&format!("value-{n}"), &[("h", n.as_str())])).collect();
    for (r, n) in iter::zip(&mut sent, 1..) {
        r.key = Some(format!("key-{n}").into_bytes());
    }
    let told = partition.produce(sent.clone(), compression).await?;
    equal("offsets told", told, (0..100).collect())?;
    let got = env.consume(OffsetAt::Earliest).await?.read(100).await?;
    equal("offsets", got.iter().map(|r| r.offset).collect(), (0..100).collect::<Vec<i64>>())?;
    equal("records", got.into_iter().map(|r| r.record).collect(), sent)
}

async fn consume_beginning(env: &Env<'_>) -> Outcome {
    let partition = env.create().await?;
    produce(&partition, &numbered(1, 10)).await?;
    let got = env.consume(OffsetAt::Earliest).await?.read(10).await?;
    equal("values", values(&got), numbered(1, 10))
}

async fn consume_end(env: &Env<'_>) -> Outcome {
    let partition = env.create().await?;
    produce(&partition, &numbered(1, 10)).await?;
    let mut consumer = env.consume(OffsetAt::Latest).await?;
    produce(&partition, &numbered(11, 15)).await?;
    equal("values", values(&consumer.read(5).await?), numbered(11, 15))
}

async fn consume_timestamp(env: &Env<'_>) -> Outcome {
    let partition = env.create().await?;
    produce(&partition, &numbered(1, 10)).await?;
    let start = now_ms() + 1;
    while now_ms() <= start {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    produce(&partition, &numbered(11, 15)).await?;
    let at = DateTime::from_timestamp_millis(start).ok_or("no such time")?;
    let got = env.consume(OffsetAt::Timestamp(at)).await?.read(5).await?;
    equal("values", values(&got), numbered(11, 15))
}

async fn delete_topic(env: &Env<'_>) -> Outcome {
    env.create().await?;
    equal("the topic is listed", env.listed().await?, true)?;
    env.client.controller_client()?.delete_topic(&env.topic, 30_000).await?;
    while env.listed().await? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn list_offsets(env: &Env<'_>) -> Outcome {
    let partition = env.create().await?;
    produce(&partition, &numbered(1, 7)).await?;
    equal("earliest", partition.get_offset(OffsetAt::Earliest).await?, 0)?;
    equal("latest", partition.get_offset(OffsetAt::Latest).await?, 7)
}

async fn delete_records(env: &Env<'_>) -> Outcome {
    let partition = env.create().await?;
    produce(&partition, &numbered(0, 9)).await?;
    partition.delete_records(4, 30_000).await?;
    equal("earliest", partition.get_offset(OffsetAt::Earliest).await?, 4)?;
    equal("latest", partition.get_offset(OffsetAt::Latest).await?, 10)?;
    let first = env.consume(OffsetAt::Earliest).await?.next().await?;
    equal("first value", values(&[first]), numbered(4, 4))
}

async fn delay_delivered(env: &Env<'_>) -> Outcome {
    let partition = env.create().await?;
    produce(&partition, &["first".to_string()]).await?;
    let before = now_ms();
    let mut later = record("later", &[("morrow-delay", "2s"), ("other", "kept")]);
    later.key = Some(b"key".to_vec());
    let told = partition.produce(vec![later], Compression::NoCompression).await?;
    let got = env.consume(OffsetAt::Earliest).await?.read(2).await?.remove(1).record;
    let arrived = now_ms();
    let header = |name: &str| got.headers.get(name).map(|v| text(Some(v)));
    equal("key", text(got.key.as_deref()), "key".to_string())?;
    equal("value", text(got.value.as_deref()), "later".to_string())?;
    equal("other", header("other"), Some("kept".to_string()))?;
    equal("morrow-delay", header("morrow-delay"), None)?;
    equal("offset told", told, vec![1])?;
    equal("morrow-ticket", header("morrow-ticket"), Some("1".to_string()))?;
    let due: i64 = header("morrow-due").ok_or("no morrow-due")?.parse()?;
    let delivered = got.timestamp.timestamp_millis();
    if due < before + 2000 || delivered < due || arrived < due {
        return Err(format!("early: produced at {before}, due {due}, delivered at {delivered}, arrived at {arrived}").into());
    }
    Ok(())
}

/// Produces what must be refused with INVALID_RECORD, and returns what the client shows of the broker's sentence.
async fn refused(env: &Env<'_>) -> Outcome<Option<String>> {
    let partition = env.create().await?;
    produce(&partition, &["first".to_string()]).await?;
    let never = record("never", &[("morrow-delay", "soon")]);
    match partition.produce(vec![never], Compression::NoCompression).await {
        Err(Error::ServerError { protocol_error: ProtocolError::InvalidRecord, error_message, .. }) => {
            equal("latest", partition.get_offset(OffsetAt::Latest).await?, 1)?;
            Ok(error_message)
        }
        Err(e) => Err(e.into()),
        Ok(_) => Err("the record was accepted".into()),
    }
}

async fn delay_refused(env: &Env<'_>) -> Outcome {
    refused(env).await.map(|_| ())
}

async fn delay_sentence(env: &Env<'_>) -> Option<Outcome> {
    match refused(env).await {
        Ok(None) => None,
        Ok(Some(sentence)) => {
            let whole = sentence.contains("morrow-delay") && sentence.contains("soon");
            Some(equal(&sentence, whole, true))
        }
        Err(e) => Some(Err(e)),
    }
}

async fn hidden_bounded(env: &Env<'_>) -> Outcome {
    let partition = env.create().await?;
    produce(&partition, &numbered(1, 10)).await?;
    hide(&partition, 5).await?;
    equal("latest", partition.get_offset(OffsetAt::Latest).await?, 10)?;
    equal("values", values(&env.read_to_latest().await?), numbered(1, 10))
}

async fn hidden_only(env: &Env<'_>) -> Outcome {
    let partition = env.create().await?;
    hide(&partition, 5).await?;
    equal("values", values(&env.read_to_latest().await?), vec![])?;
    let mut consumer = env.consume(OffsetAt::Earliest).await?;
    produce(&partition, &["visible".to_string()]).await?;
    let got = consumer.next().await?;
    equal("offset", got.offset, 5)?;
    equal("value", values(&[got]), vec!["visible".to_string()])
}

async fn hidden_hole(env: &Env<'_>) -> Outcome {
    const HOLE: i64 = 100_000;
    let partition = env.create().await?;
    produce(&partition, &["before".to_string()]).await?;
    hide(&partition, usize::try_from(HOLE)?).await?;
    produce(&partition, &["after".to_string()]).await?;
    let got = env.read_to_latest().await?;
    equal("offsets", got.iter().map(|r| r.offset).collect(), vec![0, HOLE + 1])?;
    equal("values", values(&got), vec!["before".to_string(), "after".to_string()])?;
    equal("latest", partition.get_offset(OffsetAt::Latest).await?, HOLE + 2)
}

/// A fetch waits as long as a client would, and is not given up when a hidden batch arrives.
async fn hidden_caught_up(env: &Env<'_>) -> Outcome {
    const BATCHES: i64 = 12;
    let partition = env.create().await?;
    produce(&partition, &["first".to_string()]).await?;
    let mut consumer = env.consume(OffsetAt::Earliest).await?;
    consumer.next().await?;
    let before = consumer.fetches;
    let hiding = async {
        for _ in 0..BATCHES {
            hide(&partition, 1).await?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Outcome::Ok(())
    };
    tokio::pin!(hiding);
    loop {
        tokio::select! {
            biased;
            hidden = &mut hiding => break hidden?,
            got = consumer.poll(Duration::from_millis(500)) => equal("a record", got?, false)?,
        }
    }
    let during = consumer.fetches - before;
    produce(&partition, &["last".to_string()]).await?;
    let got = consumer.next().await?;
    equal("offset", got.offset, BATCHES + 1)?;
    equal("value", values(&[got]), vec!["last".to_string()])?;
    if during > 30 {
        return Err(format!("{during} fetches while {BATCHES} hidden batches arrived").into());
    }
    Ok(())
}
