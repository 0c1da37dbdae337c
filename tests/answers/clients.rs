//! Clients that people use: curl, Python requests, Node's fetch, Stripe's SDK.

use crate::support::breaker::Breaker;
use crate::support::external::{find, output, script, skip};
use crate::support::*;
use serde_json::Value;
use std::process::Command;

#[test]
fn curl_goes_through() {
    run("clients::curl_goes_through", curl);
}

#[test]
fn python_requests_goes_through() {
    run("clients::python_requests_goes_through", python_requests);
}

#[test]
fn node_fetch_goes_through() {
    run("clients::node_fetch_goes_through", node_fetch);
}

#[test]
fn stripes_sdk_gets_its_retry_replayed() {
    run("clients::stripes_sdk_gets_its_retry_replayed", stripe);
}

fn run(test: &str, check: fn() -> Result<String, String>) {
    match check() {
        Ok(observed) => println!("{observed}"),
        Err(why) => skip(test, &why),
    }
}

/// An error: the program isn't there.
fn program(name: &str) -> Result<Command, String> {
    find(name).map(Command::new).ok_or_else(|| format!("{name} is not here; tests/run gets it where it can"))
}

pub(crate) fn curl() -> Result<String, String> {
    program("curl")?;
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let file = gateway.setup.folder().join("body");
    std::fs::write(&file, vec![7; 200 << 10]).unwrap();
    let body = format!("@{}", file.display());
    let url = format!("{}/charges", gateway.url());
    let post = |body: &str, key: &str| {
        let mut curl = program("curl").expect("it was there");
        curl.args(["-sS", "-i", "--fail", "--max-time", "60", "--data-binary", body, "-H", key, &url]);
        output(&mut curl).to_lowercase()
    };
    for (body, key) in [("{\"amount\":1000}", "Idempotency-Key: small"), (&body, "Idempotency-Key: \"big\"")]
    {
        let (first, again) = (post(body, key), post(body, key));
        assert!(first.contains("idempotent-replayed: false"), "{first}");
        assert!(again.contains("idempotent-replayed: true"), "{again}");
        let content = |text: &str| text.rsplit("\r\n\r\n").next().map(str::to_owned);
        assert_eq!(content(&first), content(&again));
    }
    assert_eq!(upstream.count(), 2);
    Ok("curl: 4 requests, 2 executions, 2 replays".to_owned())
}

pub(crate) fn python_requests() -> Result<String, String> {
    pairs(program("python3")?.arg(script("requests_client.py")), "requests")
}

pub(crate) fn node_fetch() -> Result<String, String> {
    pairs(program("node")?.arg(script("fetch.mjs")), "fetch")
}

/// A client that sends each of two bodies twice and tells the answers as JSON.
fn pairs(command: &mut Command, name: &str) -> Result<String, String> {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let told: Value =
        serde_json::from_str(&output(command.arg(format!("{}/charges", gateway.url())))).unwrap();
    let told = told.as_array().unwrap();
    assert_eq!(told.len(), 4);
    for pair in told.chunks(2) {
        let [first, again] = pair else { unreachable!("chunks of two") };
        assert_eq!((&first["status"], &first["replayed"]), (&201.into(), &"false".into()), "{first}");
        assert_eq!((&again["status"], &again["replayed"]), (&201.into(), &"true".into()), "{again}");
        assert_eq!(first["body"], again["body"]);
    }
    assert_eq!(upstream.count(), 2);
    assert_eq!(upstream.calls()[1].body.len(), 204_800, "the large body came whole");
    Ok(format!("{name}: 4 requests, 2 executions, 2 replays"))
}

pub(crate) fn stripe() -> Result<String, String> {
    let mut python = program("python3")?;
    let upstream = Upstream::start(|call| {
        let intent = format!(
            "{{\"id\":\"pi_{}\",\"object\":\"payment_intent\",\"amount\":1000,\"currency\":\"gbp\"}}",
            call.number
        );
        Script::answer(200, intent).field("Content-Type", "application/json").field("Request-Id", "req_1")
    });
    let gateway = Setup::new(&upstream.url()).start();
    let breaker = Breaker::before(gateway.address);
    let command = python.arg(script("stripe_client.py")).arg(format!("http://{}", breaker.address));
    let told: Value = serde_json::from_str(&output(command)).unwrap();
    assert_eq!((&told["id"], &told["amount"]), (&"pi_0".into(), &1000.into()), "{told}");
    assert_eq!(told["replayed"], "true", "the SDK's own retry got the first answer: {told}");
    assert_eq!(breaker.requests(), 2, "the SDK asked again once");
    assert_eq!(upstream.count(), 1, "and was charged once");
    assert!(!upstream.calls()[0].key().is_empty(), "under the key that it made itself");
    Ok("stripe: the first answer lost, 1 retry by the SDK, 1 execution, the retry replayed".to_owned())
}
