//! A client of a running gateway's admin listener: one request, one answer.

use super::say::{self, Output, USAGE, quoted};
use crate::admin::api::{ADMIN_FIELD, AdminProblem};
use crate::config::{self, Flags, Source, io_words};
use crate::upstream::send_once;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// A gateway that compiles a large policy takes its time; a gateway that never answers is hung.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Where a gateway's admin listener usually is.
const USUAL: &str = "127.0.0.1:8081";
/// The variable that says so over the file, to `serve` and to commands.
const ADMIN_VARIABLE: &str = "ONCEGATE_SERVER__ADMIN";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit of an answer: larger than any report, and than any page of a list.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Which gateway.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct AdminClient {
    /// The gateway's admin listener [default: that of --config, or 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS", env = ADMIN_VARIABLE, hide_env_values = true, value_parser = address)]
    admin: Option<String>,
    /// The gateway's configuration file, which says where its admin listener is, and the token
    #[arg(short, long, value_name = "FILE", env = "ONCEGATE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// A file with the admin listener's token
    #[arg(long, value_name = "FILE", env = "ONCEGATE_SERVER__ADMIN_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
}

/// The address, which may have a scheme, as `serve` prints it.
#[expect(clippy::unnecessary_wraps, reason = "what clap calls may refuse")]
fn address(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/').to_owned())
}

/// Why no answer came back, or no request can be sent.
#[derive(Debug)]
pub(super) struct CommandFailure {
    pub(super) problem: String,
    pub(super) help: String,
    pub(super) usage: bool,
}

impl CommandFailure {
    pub(super) fn new(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { problem: problem.into(), help: help.into(), usage: false }
    }

    pub(super) fn usage(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(problem, help) }
    }

    /// Reports the failure. Returns the exit code.
    pub(super) fn tell(&self, output: Output) -> ExitCode {
        match output {
            Output::Text => say::error(&self.problem, &self.help),
            Output::Json => say::json(&json!({ "ok": false, "detail": self.problem, "help": self.help })),
        }
        if self.usage { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
    }
}

/// The admin interface's answer.
#[derive(Debug)]
pub(super) struct AdminAnswer {
    pub(super) status: StatusCode,
    /// The answer's document. None: the answer is not JSON, so no gateway's admin listener sent it.
    pub(super) document: Option<Value>,
}

impl AdminAnswer {
    /// The document of a success, or the problem of a refusal in the gateway's words.
    pub(super) fn success<T: DeserializeOwned>(self) -> Result<T, CommandFailure> {
        if !self.status.is_success()
            && let Some(problem) = self.problem()
        {
            let detail = problem.detail.or(problem.title);
            return Err(CommandFailure::new(detail.unwrap_or(self.status.as_str().to_owned()), ""));
        }
        let document = self.document.and_then(|document| serde_json::from_value(document).ok());
        document.ok_or_else(|| {
            CommandFailure::new(
                not_ours(self.status),
                "--admin is the admin listener, not the one for requests",
            )
        })
    }

    /// The problem of a refusal.
    pub(super) fn problem(&self) -> Option<AdminProblem> {
        let document = self.document.clone().filter(|_| !self.status.is_success())?;
        Some(serde_json::from_value(document).unwrap_or_default())
    }
}

pub(super) fn not_ours(status: StatusCode) -> String {
    format!("the answer is {status} and not JSON, as no gateway's admin listener answers")
}

impl AdminClient {
    /// The flags that name this gateway, as they were given.
    pub(super) fn flags(&self) -> String {
        let file = |file: &Option<PathBuf>| file.as_ref().map(|file| quoted(&file.display().to_string()));
        let given = [
            ("--admin", self.admin.clone()),
            ("--config", file(&self.config)),
            ("--token-file", file(&self.token_file)),
        ];
        let given = given.into_iter().filter_map(|(flag, value)| Some(format!(" {flag} {}", value?)));
        given.collect()
    }

    /// Where the gateway is to be asked, and the token of its configuration. The file's token goes nowhere but where
    /// the file, or the environment over it, says that the gateway is.
    fn place(&self) -> Result<(String, Option<Arc<str>>), CommandFailure> {
        let Some(file) = &self.config else {
            return Ok((self.admin.clone().unwrap_or_else(|| USUAL.to_owned()), None));
        };
        let env = std::env::var(ADMIN_VARIABLE).map(|address| (ADMIN_VARIABLE.to_owned(), address));
        let source =
            Source { file: Some(file.clone()), flags: Flags::default(), env: env.into_iter().collect() };
        match (config::admin_of(&source), &self.admin) {
            (Ok((own, token)), named) => {
                let own = own.map_or_else(|| "off".to_owned(), |admin| admin.to_string());
                let is_own = named.as_ref().is_none_or(|named| *named == own);
                Ok((named.clone().unwrap_or(own), token.filter(|_| is_own)))
            }
            (Err(_), Some(named)) => Ok((named.clone(), None)),
            (Err(faults), None) => Err(CommandFailure::new(
                format!("{} does not say where the admin listener is:\n{faults}", file.display()),
                "say where that is: --admin ADDRESS, which `serve` prints behind `admin`",
            )),
        }
    }

    /// Reads a page.
    pub(super) fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, CommandFailure> {
        self.ask(Method::GET, target, None::<&()>)?.success()
    }

    /// Sends a request and reads the answer. `document`: the body, if there is one. Nothing is sent to what
    /// is no admin listener: a change, or the token, would reach the service behind a gateway.
    pub(super) fn ask(
        &self,
        method: Method,
        target: &str,
        document: Option<&impl Serialize>,
    ) -> Result<AdminAnswer, CommandFailure> {
        let (admin, token) = self.place()?;
        let request = self.request(&admin, token, method, target, document)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CommandFailure::new(format!("no runtime: {error}"), ""))?;
        runtime.block_on(async {
            let exchanged = async {
                identify(&admin).await?;
                exchange(&admin, request).await
            };
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchanged).await.unwrap_or_else(|_| {
                let problem = format!("the gateway at {admin} did not answer within {ANSWER_TIMEOUT:?}");
                Err(CommandFailure::new(problem, "its log says how far it has come"))
            })?;
            let document = serde_json::from_slice(answer.body()).ok().filter(Value::is_object);
            Ok(AdminAnswer { status: answer.status(), document })
        })
    }

    fn request(
        &self,
        admin: &str,
        token: Option<Arc<str>>,
        method: Method,
        target: &str,
        document: Option<&impl Serialize>,
    ) -> Result<Request<Full<Bytes>>, CommandFailure> {
        if admin == "off" {
            return Err(CommandFailure::new(
                "the admin listener is off",
                "send SIGHUP to the gateway to reload it, or start it with --admin ADDRESS",
            ));
        }
        let port = admin.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            return Err(unusable(admin));
        }
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, admin);
        let given = self.token_file.as_ref().map(|file| {
            std::fs::read_to_string(file).map_err(|error| {
                let problem =
                    format!("the token can't be read from {}: {}", file.display(), io_words(&error));
                CommandFailure::new(problem, "name the file that `server.admin_token_file` names")
            })
        });
        if let Some(token) = given.transpose()?.or_else(|| token.map(|token| token.to_string())) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim_end()));
        }
        let body = document.map(|document| serde_json::to_vec(document).unwrap_or_default());
        if document.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(body.unwrap_or_default().into())).map_err(|_| unusable(admin))
    }
}

/// Refuses what is no admin listener. A gateway removes this field from a service's answers.
async fn identify(admin: &str) -> Result<(), CommandFailure> {
    let request = Request::get("/livez").header(header::HOST, admin);
    let request = request.body(Full::default()).map_err(|_| unusable(admin))?;
    if exchange(admin, request).await?.headers().contains_key(ADMIN_FIELD) {
        return Ok(());
    }
    Err(CommandFailure::new(
        format!("what listens at {admin} is not the admin listener of a gateway"),
        "say where that is: --admin ADDRESS, which `serve` prints behind `admin`",
    ))
}

fn unusable(admin: &str) -> CommandFailure {
    CommandFailure::usage(
        format!("no request can be made of --admin {admin:?} and the token"),
        "the address is written like 127.0.0.1:8081, the token is one line",
    )
}

async fn exchange(admin: &str, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, CommandFailure> {
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(admin)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(admin, &io_words(&error))),
        Err(_) => return Err(unreachable(admin, "it does not answer")),
    };
    let broken = |error: hyper::Error| {
        CommandFailure::new(
            format!("what listens at {admin} broke off: {error}"),
            "is it the admin listener of a gateway?",
        )
    };
    let (head, body) = send_once(stream, request).await.map_err(broken)?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
        CommandFailure::new(
            format!("the answer of {admin} broke off: {error}"),
            "the gateway's log says what it did",
        )
    })?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

fn unreachable(admin: &str, words: &str) -> CommandFailure {
    CommandFailure::new(
        format!("no gateway can be reached at {admin}: {words}"),
        "start one with `oncegate serve`, or say where its admin listener is: --admin ADDRESS",
    )
}
