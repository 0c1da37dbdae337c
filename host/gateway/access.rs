//! The access record: one request as counters and the access log see it, whether it is answered or its client leaves.

use crate::answer::body::AnswerBody;
use crate::answer::problem::{Code, Problem};
use crate::edge::Peer;
use crate::request::route::Route;
use crate::worker::Worker;
use http::{Request, Response};
use oncegate_config::AccessLog;
use oncegate_core::{Disposition, OperationId, Refusal};
use oncegate_observe::metrics::RequestResult;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A line of the access log that is being made. A record that is dropped before its request has an answer has lost
/// its client.
#[derive(Debug)]
pub struct AccessRecord {
    worker: Rc<Worker>,
    is_ended: bool,
    /// The result so far.
    pub result: RequestResult,
    /// The operation, if the request is guarded.
    pub operation: Option<OperationId>,
    /// The outcome of the request's execution, where it is known when its answer begins.
    pub outcome: Option<Disposition>,
    begun: Instant,
    route: Option<Arc<Route>>,
    method: http::Method,
    uri: http::Uri,
    peer: IpAddr,
    problem: Option<String>,
    reason: Option<String>,
    labels: Vec<(String, String)>,
}

impl AccessRecord {
    /// Begins the record of a request that came in.
    pub fn begin<B>(worker: &Rc<Worker>, request: &Request<B>, peer: Peer) -> Self {
        Self {
            worker: worker.clone(),
            is_ended: false,
            // Whoever answers otherwise says so.
            result: RequestResult::Refused,
            operation: None,
            outcome: None,
            begun: Instant::now(),
            route: None,
            method: request.method().clone(),
            uri: request.uri().clone(),
            peer: peer.address,
            problem: None,
            reason: None,
            labels: Vec::new(),
        }
    }

    /// When the request came in.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Notes the request's route.
    pub fn take(&mut self, route: &Arc<Route>) {
        self.route = Some(route.clone());
    }

    /// Notes that the request goes through unguarded, though its route has a policy.
    pub fn bypassed(&mut self, reason: String) {
        self.result = RequestResult::Bypassed;
        self.reason = Some(reason);
    }

    /// Notes the labels that the policy gave the request.
    pub fn labelled(&mut self, labels: Vec<(String, String)>) {
        self.labels = labels;
    }

    /// Notes that the ledger refused the request.
    pub fn refused(&mut self, refusal: Refusal) {
        self.result = match refusal {
            Refusal::KeyReused => RequestResult::KeyReused,
            Refusal::InFlight => RequestResult::InFlight,
            Refusal::Unknown => RequestResult::Unknown,
            Refusal::Consumed => RequestResult::Consumed,
            Refusal::Expired => RequestResult::Expired,
            Refusal::TooLate | Refusal::Ahead | Refusal::PrincipalChanged => RequestResult::Refused,
        };
        if refusal == Refusal::PrincipalChanged
            && let Some(route) = &self.route
        {
            route.metrics.principal_changed();
        }
    }

    /// Notes that the request is answered with this problem.
    pub fn problem(&mut self, problem: &Problem) {
        let passing =
            matches!(self.result, RequestResult::Refused | RequestResult::Passed | RequestResult::Bypassed);
        // Some heads are refused with a status of 500 and more.
        let is_failure = problem.status().is_server_error() && problem.code() != Code::BadRequest.name();
        if is_failure && passing {
            self.result = RequestResult::Failed;
        }
        self.problem = Some(problem.code().to_owned());
        // Why a request was not guarded is no reason for what failed afterwards.
        if let Some(cause) = problem.cause() {
            self.reason = Some(cause.to_owned());
        }
    }

    /// Gives the problem the status that the route configures for it.
    pub fn answered(&self, problem: Problem) -> Problem {
        match &self.route {
            Some(route) => problem.answered_by(&route.config.answers),
            None => problem,
        }
    }

    /// Counts the answered request and writes its line.
    pub fn end(mut self, response: &Response<AnswerBody>) {
        self.write(Some(response.status().as_u16()));
    }

    /// Counts the request and writes its line. `status`: of its answer; none: it has none.
    fn write(&mut self, status: Option<u16>) {
        self.is_ended = true;
        let (took, shared) = (self.begun.elapsed(), &self.worker.shared);
        match &self.route {
            Some(route) => route.metrics.request(self.result, took),
            None => shared.metrics.unrouted(self.problem.as_deref().unwrap_or("none")),
        }
        let log = shared.active.load().config.server.access_log;
        if log == AccessLog::Off {
            return;
        }
        let line = Line {
            time: oncegate_store::Clock::wall().to_string(),
            peer: self.peer,
            method: self.method.as_str(),
            // The log leaves the query out, because it may hold credentials.
            path: printable(self.uri.path()),
            route: self.route.as_ref().map(|route| &*route.config.name),
            status,
            result: self.result.word(),
            operation: self.operation.map(|id| id.to_string()),
            outcome: self.outcome.map(Disposition::word),
            problem: self.problem.take(),
            reason: self.reason.take(),
            labels: std::mem::take(&mut self.labels).into_iter().collect(),
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        };
        line.write(log);
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        let is_cut = *self.worker.shared.edge.draining.borrow();
        let why = if is_cut { "the gateway shut down" } else { "its client left before the answer" };
        self.reason.get_or_insert_with(|| why.to_owned());
        self.result = RequestResult::Left;
        self.write(None);
    }
}

/// The path as a terminal may show it: a letter beyond ASCII may be a control character, or turn the direction of
/// what follows.
fn printable(path: &str) -> Cow<'_, str> {
    percent_encoding::utf8_percent_encode(path, percent_encoding::CONTROLS).into()
}

/// A line of the access log.
#[derive(serde::Serialize)]
struct Line<'a> {
    time: String,
    peer: IpAddr,
    method: &'a str,
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    micros: u64,
}

impl Line<'_> {
    fn write(&self, log: AccessLog) {
        let line = match log {
            AccessLog::Off => return,
            AccessLog::Json => {
                let mut line = serde_json::to_string(self).unwrap_or_default();
                line.push('\n');
                line
            }
            AccessLog::Text => format!(
                "{} {} {} {} {} {} {} operation={} outcome={} problem={} reason={}{} {}us\n",
                self.time,
                self.peer,
                self.method,
                self.path,
                self.route.unwrap_or("-"),
                self.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
                self.result,
                self.operation.as_deref().unwrap_or("-"),
                self.outcome.unwrap_or("-"),
                self.problem.as_deref().unwrap_or("-"),
                self.reason.as_ref().map_or_else(|| "-".to_owned(), |reason| format!("{reason:?}")),
                self.labels_as_text(),
                self.micros,
            ),
        };
        oncegate_observe::log::write(&line);
    }

    /// The labels, each with a blank before it.
    fn labels_as_text(&self) -> String {
        self.labels.iter().map(|(label, value)| format!(" label.{label}={value:?}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn paths_in_the_log_are_ascii() {
        for (path, line) in [
            ("/v1/a%20b", "/v1/a%20b"),
            ("/\u{9b}2J", "/%C2%9B2J"),
            ("/\u{85}x", "/%C2%85x"),
            ("/\u{202e}", "/%E2%80%AE"),
        ] {
            assert_eq!(printable(path), line);
        }
    }
}
