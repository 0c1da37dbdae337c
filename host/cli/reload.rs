//! `oncegate reload`

use super::{Output, USAGE, say};
use crate::config::io_words;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpStream;

/// A gateway that compiles a large policy takes its time; one that never answers is hung.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Larger than any report of a reload.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Have a running gateway read its configuration and its policies again
///
/// All or nothing: if anything is wrong, the gateway goes on with what it has and this says why.
/// Requests in flight keep the policy they began with. A change of the files and SIGHUP do the same.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    oncegate reload\n  \
    oncegate reload --policy payments\n      \
    only this policy's component and settings\n  \
    oncegate reload --admin 10.0.0.5:8081 --token-file /run/secrets/oncegate\n\n\
    Code 0: the new ones are active. Code 1: the old ones still are.")]
pub(super) struct Args {
    /// The gateway's admin listener
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "ONCEGATE_SERVER__ADMIN",
        hide_env_values = true,
        default_value = "127.0.0.1:8081"
    )]
    admin: String,
    /// A file with the admin listener's token
    #[arg(long, value_name = "FILE", env = "ONCEGATE_SERVER__ADMIN_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
    /// Only this policy
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Why no report came back.
struct Failure {
    problem: String,
    help: String,
    usage: bool,
}

impl Failure {
    fn new(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { problem: problem.into(), help: help.into(), usage: false }
    }
}

pub(super) fn run(args: &Args) -> ExitCode {
    match ask(args) {
        Ok((status, body)) => tell(status, &body, args.output),
        Err(failure) => {
            match args.output {
                Output::Text => say::error(&failure.problem, &failure.help),
                Output::Json => {
                    say::json(&json!({ "ok": false, "detail": failure.problem, "help": failure.help }))
                }
            }
            if failure.usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn ask(args: &Args) -> Result<(StatusCode, Bytes), Failure> {
    let request = request(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("no runtime: {error}"), ""))?;
    runtime.block_on(async {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange(&args.admin, request)).await;
        answer.unwrap_or_else(|_| {
            let problem = format!("the gateway at {} did not answer within {ANSWER_TIMEOUT:?}", args.admin);
            Err(Failure::new(problem, "its log says how far the reload has come"))
        })
    })
}

fn request(args: &Args) -> Result<Request<Empty<Bytes>>, Failure> {
    if args.admin == "off" {
        return Err(Failure::new(
            "the admin listener is off",
            "send SIGHUP to the gateway, or start it with --admin ADDRESS",
        ));
    }
    let unusable = || Failure {
        problem: format!("no request can be made of --admin {:?} and the token", args.admin),
        help: "the address is written like 127.0.0.1:8081, the token is one line".into(),
        usage: true,
    };
    let port = args.admin.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        return Err(unusable());
    }
    let path = match &args.policy {
        None => "/v1/reload".to_owned(),
        Some(name) => format!("/v1/policies/{}/reload", utf8_percent_encode(name, NON_ALPHANUMERIC)),
    };
    let mut request = Request::post(path).header(header::HOST, &args.admin);
    if let Some(file) = &args.token_file {
        let token = std::fs::read_to_string(file).map_err(|error| {
            let problem = format!("the token can't be read from {}: {}", file.display(), io_words(&error));
            Failure::new(problem, "name the file that `server.admin_token_file` names")
        })?;
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim_end()));
    }
    request.body(Empty::new()).map_err(|_| unusable())
}

async fn exchange(admin: &str, request: Request<Empty<Bytes>>) -> Result<(StatusCode, Bytes), Failure> {
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(admin)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(admin, &io_words(&error))),
        Err(_) => return Err(unreachable(admin, "it does not answer")),
    };
    let broken = |error: hyper::Error| {
        Failure::new(
            format!("what listens at {admin} broke off: {error}"),
            "is it the admin listener of a gateway?",
        )
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Ends with the runtime, which ends with this exchange.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| {
        Failure::new(
            format!("the answer of {admin} broke off: {error}"),
            "the gateway's log says whether it reloaded",
        )
    })?;
    Ok((status, body.to_bytes()))
}

fn unreachable(admin: &str, words: &str) -> Failure {
    Failure::new(
        format!("no gateway can be reached at {admin}: {words}"),
        "start one with `oncegate serve`, or say where its admin listener is: --admin ADDRESS",
    )
}

/// Says what the gateway said.
fn tell(status: StatusCode, body: &[u8], output: Output) -> ExitCode {
    let said: Option<Value> = serde_json::from_slice(body).ok().filter(Value::is_object);
    let code = if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    match (said, output) {
        (Some(said), Output::Json) => say::json(&said),
        (Some(said), Output::Text) if status.is_success() => say::out(report(&said)),
        (Some(said), Output::Text) => {
            let detail = said.get("detail").or_else(|| said.get("title")).and_then(Value::as_str);
            say::error(detail.unwrap_or(status.as_str()), "");
        }
        (None, Output::Json) => say::json(&json!({ "ok": false, "detail": not_ours(status) })),
        (None, Output::Text) => {
            say::error(not_ours(status), "--admin is the admin listener, not the one for requests")
        }
    }
    code
}

fn not_ours(status: StatusCode) -> String {
    format!("the answer is {status} and not JSON, as no gateway's admin listener answers")
}

/// A line for each policy; what else there is, as JSON.
fn report(said: &Value) -> String {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(policies) = said.get("policies").and_then(Value::as_array) else { return format!("{said:#}\n") };
    let mut lines = String::from("reloaded\n");
    for policy in policies {
        let name = text(policy, "name").unwrap_or_default();
        let generation = policy.get("generation").map(ToString::to_string).unwrap_or_default();
        let change = match policy.get("changed").and_then(Value::as_bool) {
            Some(true) => "new",
            Some(false) | None => "as before",
        };
        lines.push_str(&format!("  {name}: generation {generation}, {change}\n"));
    }
    for warning in said.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        lines.push_str(&format!("warning: {}\n", warning.as_str().unwrap_or_default()));
    }
    lines
}
