//! `oncegate demo`

use super::{sample_upstream, say};
use crate::config::{Flags, Source};
use crate::run::{self, Gateway, ServeError};
use crate::upstream::send_once;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use oncegate_core::LostRecords;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The time that a charge takes: long enough for a duplicate to meet it.
const CHARGE_TIME: Duration = Duration::from_millis(300);
/// How long the end waits for charges under way. Nobody needs them.
const GRACE: &str = "500ms";
/// Signals within this time of the first are one, as for the gateway.
const ONE_SIGNAL: Duration = Duration::from_secs(1);

/// See it work: a sample service, a gateway, and a charge that is retried
///
/// Starts both on free loopback ports with a temporary folder, sends real requests through, tells
/// what came of them, and stays up for you to try until Ctrl-C. A signal ends it at any time, and
/// nothing of it is left.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  oncegate demo --once\n      tells the story and ends\n\n\
    Code 0: the story was told. Code 1: it could not be. Code 130 (SIGINT), 143 (SIGTERM), \
    129 (SIGHUP) or 131 (SIGQUIT): a signal came first.")]
pub(super) struct DemoArgs {
    /// End after the story
    #[arg(long)]
    once: bool,
}

pub(super) fn run(args: &DemoArgs) -> ExitCode {
    let folder = std::env::temp_dir().join(format!("oncegate-demo-{}", std::process::id()));
    let told = match run::runtime() {
        Ok(runtime) => runtime.block_on(tell(args, &folder.to_string_lossy())),
        Err(error) => Err(error.into()),
    };
    // The folder is named after this process, so no other process uses it.
    let _ = std::fs::remove_dir_all(&folder);
    match told {
        Ok(StoryEnd::Whole) => ExitCode::SUCCESS,
        // As shells tell of a program that a signal has ended.
        Ok(StoryEnd::CutBy(signal)) => ExitCode::from(128 + signal),
        Err(error) => {
            say::error(
                error,
                "run it again with ONCEGATE_LOG=debug, or start `oncegate serve --upstream URL` yourself",
            );
            ExitCode::FAILURE
        }
    }
}

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("the demo can't go on: {0}")]
    Io(#[from] std::io::Error),
    #[error("a request of the demo failed: {0}")]
    Http(#[from] hyper::Error),
}

/// How far the story was told.
enum StoryEnd {
    Whole,
    /// A signal of this number came first.
    CutBy(u8),
}

/// The signals that end the demo. They are heard from its beginning, so that none leaves its folder behind.
struct Ends(Vec<(u8, Signal)>);

impl Ends {
    fn catch() -> std::io::Result<Self> {
        let kinds =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        let caught = |kind: SignalKind| Ok((u8::try_from(kind.as_raw_value()).unwrap_or(0), signal(kind)?));
        kinds.into_iter().map(caught).collect::<std::io::Result<_>>().map(Self)
    }

    async fn next(&mut self) -> u8 {
        poll_fn(|cx| {
            let mut came = self
                .0
                .iter_mut()
                .filter_map(|(number, signal)| signal.poll_recv(cx).is_ready().then_some(*number));
            came.next().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

async fn tell(args: &DemoArgs, folder: &str) -> Result<StoryEnd, DemoError> {
    let mut ends = Ends::catch()?;
    let charges = Arc::new(sample_upstream::Charges::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let upstream = listener.local_addr()?;
    let service = tokio::spawn(sample_upstream::serve(listener, charges.clone(), CHARGE_TIME));
    let flags = Flags {
        listen: vec!["127.0.0.1:0".into()],
        upstream: Some(format!("http://{upstream}")),
        admin: Some("127.0.0.1:0".into()),
        data: Some(folder.to_owned()),
        ..Flags::default()
    };
    let env = vec![("ONCEGATE_SERVER__SHUTDOWN_GRACE".to_owned(), GRACE.to_owned())];
    let source = Source { flags, env, ..Source::default() };
    let gateway = Gateway::start(source, LostRecords::Refuse).await?;
    let told = tokio::select! {
        biased;
        signal = ends.next() => Ok(StoryEnd::CutBy(signal)),
        told = show(&gateway, upstream, &charges) => told.map(|()| StoryEnd::Whole),
    };
    if matches!(told, Ok(StoryEnd::Whole)) && !args.once {
        invite(&gateway);
        ends.next().await;
    }
    // Whoever signals again doesn't wait.
    let again = async {
        let begun = Instant::now();
        while begun.elapsed() < ONE_SIGNAL {
            ends.next().await;
        }
    };
    tokio::select! {
        () = gateway.stop() => {}
        () = again => {}
    }
    service.abort();
    told
}

async fn show(
    gateway: &Gateway,
    upstream: SocketAddr,
    charges: &sample_upstream::Charges,
) -> Result<(), DemoError> {
    let Some(&address) = gateway.listening().first() else { return Ok(()) };
    say::out(format!(
        "A service that charges cards runs at http://{upstream}, Oncegate in front of it at http://{address}.\n\n"
    ));
    story(address, charges).await
}

/// Says what to try.
fn invite(gateway: &Gateway) {
    let Some(&address) = gateway.listening().first() else { return };
    say::out(format!(
        "\nTry it yourself; Ctrl-C ends it:\n\
         \x20 curl -i http://{address}/charges -H 'Content-Type: application/json' -H 'Idempotency-Key: \"mine\"' -d '{{\"amount\":5}}'\n\
         \x20 curl -i 'http://{address}/charges?fail=drop' -H 'Content-Type: application/json' -H 'Idempotency-Key: \"lost\"' -d '{{\"amount\":5}}'\n\
         \x20 curl http://{address}/charges\n"
    ));
    if let Some(admin) = gateway.admin() {
        say::out(format!("  curl http://{admin}/v1/status\n"));
    }
}

async fn story(gateway: SocketAddr, charges: &sample_upstream::Charges) -> Result<(), DemoError> {
    let real = || format!("{} real", charges.count());
    let tell = |what: &str, said: &DemoAnswer| {
        say::out(format!("{what}\n    {} {}   [{}]\n", said.status.as_u16(), said.gist(), real()));
    };
    let order = r#"{"amount":4200}"#;
    let both = tokio::join!(charge(gateway, "", "order-1", order), charge(gateway, "", "order-1", order));
    // Each request has a connection of its own, and the gateway may read either first.
    let (first, second) = match (both.0?, both.1?) {
        (waited, first) if waited.is_replayed() => (first, waited),
        in_order => in_order,
    };
    tell("1. A client charges 42.00 under the key \"order-1\".", &first);
    tell(
        "2. It is impatient and sends the same again at the same moment: that one waited for the answer.",
        &second,
    );
    tell(
        "3. Later it retries once more: the answer is replayed.",
        &charge(gateway, "", "order-1", order).await?,
    );
    let other = r#"{"amount":9900}"#;
    tell("4. The same key for another amount is refused.", &charge(gateway, "", "order-1", other).await?);
    let lost = charge(gateway, "?fail=drop", "order-2", order).await?;
    tell("5. A charge under \"order-2\": the service takes it and dies before it answers.", &lost);
    tell(
        "6. The client retries. Nobody knows whether it was charged, so it is told so, and not charged again.",
        &charge(gateway, "?fail=drop", "order-2", order).await?,
    );
    Ok(())
}

/// The gateway's answer to a request of the demo.
struct DemoAnswer {
    status: StatusCode,
    fields: HeaderMap,
    body: Bytes,
}

impl DemoAnswer {
    fn is_replayed(&self) -> bool {
        self.fields.get("idempotent-replayed").is_some_and(|value| value == "true")
    }

    fn gist(&self) -> String {
        if let Some(problem) = self.fields.get("oncegate-problem") {
            return problem.to_str().unwrap_or_default().to_owned();
        }
        let replayed = self.fields.get("idempotent-replayed").and_then(|value| value.to_str().ok());
        format!(
            "{} idempotent-replayed: {}",
            String::from_utf8_lossy(&self.body).trim(),
            replayed.unwrap_or("-")
        )
    }
}

async fn charge(
    gateway: SocketAddr,
    query: &str,
    key: &str,
    body: &'static str,
) -> Result<DemoAnswer, DemoError> {
    let stream = TcpStream::connect(gateway).await?;
    let mut request = Request::new(Full::new(Bytes::from_static(body.as_bytes())));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = format!("/charges{query}").parse().unwrap_or_default();
    let fields = request.headers_mut();
    for (name, value) in [("host", gateway.to_string()), ("idempotency-key", format!("\"{key}\""))] {
        if let Ok(value) = value.parse() {
            fields.insert(name, value);
        }
    }
    fields.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    let answer = send_once(stream, request).await?;
    let (status, fields) = (answer.status(), answer.headers().clone());
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(DemoAnswer { status, fields, body })
}
