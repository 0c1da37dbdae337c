//! The flags that verbs of `oncegate policy` share: which component, and which request.

use super::project;
use super::trouble::{Trouble, read};
use crate::config::{self, Flags, Source};
use crate::gateway::Protocol;
use crate::gateway::request::head::RequestHead;
use crate::policy::sample::Sample;
use http::header::CONTENT_LENGTH;
use oncegate_core::normal::path_fault;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which component, with which settings.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ComponentFlags {
    /// A component, the folder of a policy that was built, or `builtin:NAME`
    #[arg(value_name = "COMPONENT", default_value = ".")]
    pub(super) component: String,
    #[command(flatten)]
    pub(super) settings: SettingsFlags,
}

/// With which settings.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SettingsFlags {
    /// The settings, in JSON or as an inline table of TOML
    #[arg(long, value_name = "TABLE")]
    pub(super) settings: Option<String>,
}

impl SettingsFlags {
    /// The policy that a configuration file would make of this component and these settings.
    pub(super) fn policy(
        &self,
        component: &str,
        env: Vec<(String, String)>,
    ) -> Result<Arc<config::Policy>, Trouble> {
        let flags = Flags {
            // A configuration needs an upstream, but no request is sent to it.
            upstream: Some("http://127.0.0.1:9".into()),
            policy: Some(project::component(component)?),
            settings: self.settings.clone(),
            ..Flags::default()
        };
        // The environment's variables for a gateway's addresses and folders don't concern a policy.
        let env = env.into_iter().filter(|(name, _)| name.starts_with("ONCEGATE_POLICIES__")).collect();
        let config = config::load(&Source { file: None, flags, env })?;
        let policy = config.policies.values().next();
        policy.cloned().ok_or_else(|| Trouble::new("there is no policy in the configuration", ""))
    }
}

/// A request, from a file or from flags.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RequestFlags {
    /// A file with the request as HTTP/1.1 text; `-`: standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "path", "header", "body"])]
    pub(super) request: Option<PathBuf>,
    /// Its method
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    pub(super) method: String,
    /// Its path, with the query
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub(super) path: String,
    /// A header field; may be given several times
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    pub(super) header: Vec<String>,
    /// Its body; `@FILE`: from a file
    #[arg(long, value_name = "TEXT")]
    pub(super) body: Option<String>,
    /// Who asks, as the policy may see it; nobody is known without
    #[arg(long, value_name = "NAME")]
    pub(super) principal: Option<String>,
    /// The route's name
    #[arg(long, value_name = "NAME", default_value = "command")]
    pub(super) route: String,
}

impl RequestFlags {
    /// The request, where a gateway with a guarded route would ask the policy about it.
    pub(super) fn sample_to_ask(&self) -> Result<Sample, Trouble> {
        let text = self.whole()?;
        let sample = self.sample_of(&text)?;
        match refusal(&text, &sample) {
            None => Ok(sample),
            Some(why) => Err(Trouble::new(
                format!("the gateway refuses this request and asks no policy about it: {why}"),
                "write the request as a client sends it",
            )),
        }
    }

    pub(super) fn sample(&self) -> Result<Sample, Trouble> {
        self.sample_of(&self.whole()?)
    }

    fn whole(&self) -> Result<Vec<u8>, Trouble> {
        match &self.request {
            Some(path) => read(path),
            None => self.text(),
        }
    }

    fn sample_of(&self, text: &[u8]) -> Result<Sample, Trouble> {
        let sample = Sample::parse(text).map_err(|why| {
            Trouble::usage(
                format!("the request can't be read: {why}"),
                "write it like \"POST /charges HTTP/1.1\", a line for each field, an empty line, the body",
            )
        })?;
        Ok(sample.by(self.principal.clone(), self.route.clone()))
    }

    /// The request that the flags describe, as text.
    fn text(&self) -> Result<Vec<u8>, Trouble> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        let named = |name: &str| {
            self.header
                .iter()
                .any(|line| line.split(':').next().is_some_and(|n| n.trim().eq_ignore_ascii_case(name)))
        };
        if !named("host") {
            text.push_str("host: localhost\r\n");
        }
        for line in &self.header {
            if !line.contains(':') {
                let help = "write it as --header 'Idempotency-Key: 1'";
                return Err(Trouble::usage(format!("the header {line:?} has no colon"), help));
            }
            text.push_str(line);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        let mut text = text.into_bytes();
        match self.body.as_deref().map(|body| (body, body.strip_prefix('@'))) {
            None => {}
            Some((_, Some(file))) => text.extend(read(Path::new(file))?),
            Some((body, None)) => text.extend_from_slice(body.as_bytes()),
        }
        Ok(text)
    }
}

/// Why a gateway refuses a request before it asks the policy of a guarded route.
fn refusal(text: &[u8], sample: &Sample) -> Option<String> {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let target = String::from_utf8_lossy(line.split(|byte| *byte == b' ').nth(1).unwrap_or_default());
    if target.contains('#') {
        return Some("400, the target has a fragment, which no client sends (RFC 9112 §3.2)".to_owned());
    }
    let lengths = sample.headers.get_all(CONTENT_LENGTH);
    if lengths.iter().any(|length| length.as_bytes() != sample.body.len().to_string().as_bytes()) {
        let length = sample.body.len();
        return Some(format!(
            "its `Content-Length` is not the body's {length} bytes, so it never arrives whole"
        ));
    }
    let mut request =
        http::Request::builder().method(&*sample.method).uri(&*target).body(()).ok()?.into_parts().0;
    request.headers.clone_from(&sample.headers);
    let protocol = if line.ends_with(b"HTTP/1.0") { Protocol::HTTP_10 } else { Protocol::HTTP_11 };
    if let Err(problem) = RequestHead::read(&request, protocol, usize::MAX) {
        return Some(format!("{}, {}", problem.status().as_u16(), problem.detail()));
    }
    let fault = path_fault(&sample.path)?;
    Some(format!("400, the path has {fault}, so that it can be read in more than one way"))
}
