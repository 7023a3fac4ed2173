//! Does the checks of compat/checks_test.go that rskafka has calls for, and prints one JSON line for each.

mod checks;
mod env;

use std::time::Duration;

use rskafka::client::ClientBuilder;
use serde_json::json;

use env::{Env, Outcome};

/// Bounds a check, every step of which waits for a condition.
const CHECK_TIMEOUT: Duration = Duration::from_secs(90);

#[tokio::main]
async fn main() -> Outcome {
    let (bootstrap, prefix) = (setting("COMPAT_BOOTSTRAP")?, setting("COMPAT_PREFIX")?);
    println!("{}", json!({"client": "rskafka", "version": version()}));
    let client = ClientBuilder::new(vec![bootstrap]).build().await?;
    for name in checks::names() {
        let env = Env::new(&client, format!("{prefix}.{}", name.replace(['/', '='], "-")));
        println!("{}", report(&name, tokio::time::timeout(CHECK_TIMEOUT, checks::run(&name, &env)).await));
    }
    Ok(())
}

fn setting(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} must be set"))
}

/// The version of rskafka that this is compiled with.
fn version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let (_, package) = lock.split_once("name = \"rskafka\"\nversion = \"").expect("a line of Cargo.lock");
    package.split('"').next().expect("a version")
}

fn report<E: std::fmt::Display>(name: &str, ended: Result<Option<Outcome>, E>) -> serde_json::Value {
    match ended {
        Ok(None) => json!({"check": name, "result": "unsupported"}),
        Ok(Some(Ok(()))) => json!({"check": name, "result": "pass"}),
        Ok(Some(Err(e))) => json!({"check": name, "result": "fail", "detail": e.to_string()}),
        Err(e) => json!({"check": name, "result": "fail", "detail": e.to_string()}),
    }
}
