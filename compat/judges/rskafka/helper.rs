// Stands for a client that is not here.

use rskafka::{client::partition::Compression, record::{Record, RecordAndOffset}};

pub async fn produce(_: &[String], _: Vec<(String, i32, Record)>, _: Compression) -> Vec<i64> {
    unreachable!("tests against the client for Java are not built")
}

pub async fn consume(_: &[String], _: &str, _: i32, _: usize) -> Vec<RecordAndOffset> {
    unreachable!("tests against the client for Java are not built")
}

