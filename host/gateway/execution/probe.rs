//! Probes: the gateway asks an upstream about the unknown outcome of an operation
//! (`design/upstreams.md`). The policy's `resolution` writes the question and reads the answer; the host
//! sends it, within bounds of number and time. Probes run beside the requests of one worker. A turn of
//! the ledger makes sure that nobody else asks about the same operation at the same time.

use crate::edge::{Direction, Reservation};
use crate::pieces::Pieces;
use crate::request::fields;
use crate::request::route::Route;
use crate::worker::Worker;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, Uri, Version};
use oncegate_config as config;
use oncegate_core::{Answer, AnswerSummary, Outcome, Probe, Timestamp, UnknownReason};
use oncegate_ledger::Turn;
use oncegate_policy::{
    Broken, Failure, Finding, FoundReply, Generation, HookCall, Interface, Outbound, Payload, PayloadWant,
    Receipt, Reply, view,
};
use oncegate_upstream::{Piece, RequestBody, ResponseBody, Sending, Traffic};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How many operations are probed at one time.
const AT_ONCE: usize = 16;
/// How many turns may wait to be probed. A turn without room passes, and its operation becomes due again.
const WAITING_MAX: usize = 256;
/// How many questions a probe may ask in a row.
const QUESTIONS_MAX: usize = 8;
/// The part of a turn that is left for recording the finding.
const TO_RECORD: Duration = Duration::from_secs(10);

/// The result of a probe.
struct ProbeResult {
    outcome: Outcome,
    /// When the question that brought the finding was sent.
    asked: Timestamp,
    /// The finding's name in metrics and the log.
    name: &'static str,
    /// Whether there is no question, now or later.
    is_last: bool,
}

/// Probes for as long as it is polled.
pub async fn run(worker: Rc<Worker>) {
    let mut turns = worker.shared.ledger.turns(WAITING_MAX);
    let room = Arc::new(Semaphore::new(AT_ONCE));
    while let Ok(place) = room.clone().acquire_owned().await {
        let Some(turn) = turns.recv().await else { return };
        // Operations that are still unknown are probed after the next start.
        if worker.shared.is_draining() {
            return;
        }
        let worker = worker.clone();
        tokio::task::spawn_local(async move {
            take(&worker, &turn).await;
            drop(place);
        });
    }
}

/// Takes a turn: probes, and records the finding.
async fn take(worker: &Worker, turn: &Turn) {
    let (ledger, metrics) = (&worker.shared.ledger, &worker.shared.metrics);
    let origin = &turn.record.origin;
    let time = turn.left(ledger.clock().now()).saturating_sub(TO_RECORD);
    let Some((route, generation)) = means(worker, turn).filter(|_| !time.is_zero()) else {
        // The turn passes, and does not count as a try.
        metrics.probed(&origin.route, "unable");
        return;
    };
    let asked = ledger.clock().now();
    let found = match tokio::time::timeout(time, ask(worker, &route, &generation, turn)).await {
        Ok(Ok(found)) => found,
        Ok(Err(failure)) => {
            tracing::error!(policy = %generation.name(), operation = %turn.id, kind = failure.kind(), %failure, "a policy's `resolution` failed: the outcome is still unknown");
            worker.shared.policy_failed(&generation, &origin.principal, &failure);
            nothing(asked, "failed")
        }
        Err(_) => nothing(asked, "unanswered"),
    };
    metrics.probed(&origin.route, found.name);
    let rules = &route.upstream.config.probe;
    let tries = turn.record.probing.unwrap_or_default().tries;
    let more = !found.is_last && tries.saturating_add(1) < rules.attempts;
    let probe = Probe {
        outcome: found.outcome,
        asked: found.asked,
        settle_after: route.upstream.config.settle_after,
        again: more.then(|| ledger.clock().now().plus(pause(rules, tries))),
    };
    let finding = found.name;
    match ledger.probed(turn, probe).await {
        Ok(Ok(None)) => {
            tracing::info!(operation = %turn.id, finding, "the upstream says that it did not happen: the key is free");
        }
        Ok(Ok(Some(standing))) if standing.record.probing.is_none() => {
            tracing::info!(operation = %turn.id, finding, "an unknown outcome is resolved by asking the upstream");
        }
        Ok(Ok(Some(standing))) => match standing.record.probing.and_then(|probing| probing.next) {
            Some(next) => tracing::debug!(operation = %turn.id, finding, %next, "still unknown"),
            None => {
                metrics.probed(&origin.route, "given_up");
                tracing::warn!(operation = %turn.id, finding, "nobody asks any more: resolve it with `oncegate ops resolve`");
            }
        },
        Ok(Err(why)) => tracing::debug!(operation = %turn.id, finding, ?why, "a probe came too late"),
        Err(error) => {
            tracing::warn!(operation = %turn.id, finding, %error, "a finding could not be recorded")
        }
    }
}

/// The operation's route, and the generation that asks. The generation that decided the operation asks, also
/// after a rollback from it. If that generation is gone or has no questions, the newest generation of its
/// policy and key space asks, which is the active one or an older one.
fn means(worker: &Worker, turn: &Turn) -> Option<(Arc<Route>, Arc<Generation>)> {
    let (active, origin) = (worker.active(), &turn.record.origin);
    let asks = |generation: &Arc<Generation>| generation.exports().has(Interface::Resolution);
    let is_of_space = |generation: &&Arc<Generation>| {
        generation.plan().key_schema == origin.key_schema && generation.key_epoch() == origin.key_epoch
    };
    let older = active.spaces.open.get(&origin.policy).into_iter().flat_map(|spaces| &spaces.older);
    let older = older.map(|older| &older.generation);
    let newest = || active.generations.get(&origin.policy).into_iter().chain(older).find(is_of_space);
    let decided = worker.shared.decided_by.of(turn.record.execution).filter(asks);
    let generation = decided.or_else(|| newest().cloned().filter(asks));
    let means = active.routes.of(origin).cloned().zip(generation);
    if means.is_none() {
        tracing::debug!(operation = %turn.id, route = %origin.route, policy = %origin.policy, "can't ask about an unknown outcome: its route is gone, or nothing that makes keys of its policy and key space has a `resolution`");
    }
    means
}

/// The result of a probe that leaves the outcome unknown.
fn nothing(asked: Timestamp, name: &'static str) -> ProbeResult {
    // The record keeps its own reason.
    ProbeResult { outcome: Outcome::Unknown(UnknownReason::Ambiguous), asked, name, is_last: false }
}

/// Asks until the policy has read enough.
async fn ask(
    worker: &Worker,
    route: &Route,
    generation: &Arc<Generation>,
    turn: &Turn,
) -> Result<ProbeResult, Failure> {
    let clock = worker.shared.ledger.clock();
    let principal = &turn.record.origin.principal;
    let receipt = Receipt::of(turn.id, &turn.record);
    let first = HookCall::Question { receipt: receipt.clone() };
    let first = worker.call(generation, principal, first).await?.question();
    let Some(mut question) = first else {
        return Ok(ProbeResult { is_last: true, ..nothing(clock.now(), "no_question") });
    };
    let mut asked = clock.now();
    for _ in 0..QUESTIONS_MAX {
        check_method(&question.method, &route.upstream.config.probe)?;
        asked = clock.now();
        let Some(reply) = send(worker, route, turn, &question).await else {
            return Ok(nothing(asked, "unanswered"));
        };
        let call = HookCall::Reading { receipt: receipt.clone(), asked: question, reply };
        let reading = worker.call(generation, principal, call).await?.finding();
        let (outcome, name) = match reading {
            Finding::Happened(reply) => (happened(*reply, &route.config), "happened"),
            Finding::Consumed => (Outcome::Consumed(AnswerSummary::default()), "consumed"),
            Finding::DidNotHappen => (Outcome::NotApplied, "did_not_happen"),
            Finding::StillUnknown => return Ok(nothing(asked, "still_unknown")),
            Finding::Ask(next) => {
                question = next;
                continue;
            }
        };
        return Ok(ProbeResult { outcome, asked, name, is_last: false });
    }
    tracing::warn!(operation = %turn.id, "a policy's `resolution` asks more than {QUESTIONS_MAX} questions in a row");
    Ok(nothing(asked, "still_unknown"))
}

fn check_method(method: &Method, rules: &config::ProbeConfig) -> Result<(), Failure> {
    if matches!(*method, Method::GET | Method::HEAD) || rules.methods.iter().any(|own| own == method.as_str())
    {
        return Ok(());
    }
    let what = format!("{method} is not GET, HEAD or one of the upstream's `probe.methods`");
    Err(Failure::Invalid(Broken { place: "outbound.method", what }))
}

/// Sends a question. Returns its whole answer, if there is one.
async fn send(worker: &Worker, route: &Route, turn: &Turn, question: &Outbound) -> Option<Reply> {
    let request = request(route, &turn.record.origin.authority, question);
    // Asking twice does no harm with an idempotent method.
    let sending = if question.method.is_idempotent() { Sending::Repeatable } else { Sending::Once };
    let pool = worker.pools.of(&route.upstream, Traffic::Guarded);
    let response = pool.exchange(request, route.response_timeout(), sending, || true).await.ok()?;
    reply(worker, route, response).await
}

fn request(route: &Route, authority: &str, question: &Outbound) -> Box<Request<RequestBody>> {
    let mut request = Box::new(Request::new(RequestBody::Whole(question.body.clone().unwrap_or_default())));
    *request.method_mut() = question.method.clone();
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = Uri::from(question.path.clone());
    let fields = request.headers_mut();
    for (name, value) in &question.fields {
        fields.append(name, value.clone());
    }
    let own = &route.upstream.config.probe.headers;
    own.iter().for_each(|(name, _)| _ = fields.remove(name));
    own.iter().for_each(|(name, value)| _ = fields.append(name, value.clone()));
    let upstream = route.upstream.address();
    let host = if authority.is_empty() { &upstream } else { authority };
    if let Ok(host) = HeaderValue::from_str(host) {
        fields.insert(header::HOST, host);
    }
    request
}

/// The answer as `reading` sees it: all end-to-end fields and the whole body. None: the answer was cut.
async fn reply(worker: &Worker, route: &Route, response: Response<ResponseBody>) -> Option<Reply> {
    let (mut head, mut body) = response.into_parts();
    fields::remove_hop_by_hop(&mut head.headers);
    let limit = route.config.body_kept;
    let mut reserved = Reservation::none(&worker.shared.edge.bodies.own_account(), Direction::Out);
    let (mut whole, mut trailers, mut oversize) = (Pieces::default(), HeaderMap::new(), false);
    loop {
        match body.next_piece(route.upstream.config.body_idle_timeout).await {
            Piece::Data(data) => {
                whole.push(data);
                if whole.bytes() > limit || !reserved.cover(whole.held()) {
                    oversize = true;
                    break;
                }
            }
            Piece::Trailers(fields) => trailers = fields,
            Piece::End => break,
            Piece::Cut(_) => return None,
        }
    }
    let payload = match oversize {
        true => Payload::Oversize,
        false => view::payload(&PayloadWant::Whole(u32::MAX), &head.headers, Some(&whole.join()), limit),
    };
    Some(Reply {
        status: head.status.as_u16(),
        fields: texts(&head.headers),
        trailers: texts(&trailers),
        payload,
        complete: !oversize,
    })
}

/// The fields as text. The interface has text only, so a value that is no text is left out.
fn texts(fields: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&header::HeaderName, &HeaderValue)| {
        Some((name.to_string(), std::str::from_utf8(value.as_bytes()).ok()?.to_owned()))
    };
    fields.iter().filter_map(text).collect()
}

/// The answer to keep, by the rules for every kept answer.
fn happened(mut found: FoundReply, route: &config::RouteConfig) -> Outcome {
    // The policy saw the body without its content codings, and returns it without them.
    found.fields.remove(header::CONTENT_ENCODING);
    let kept = |fields: &HeaderMap| fields::kept_fields(fields, found.status, &route.strip);
    let answer = Answer {
        status: found.status,
        fields: kept(&found.fields),
        trailers: kept(&found.trailers),
        // The copy is an allocation of exactly the body's size.
        body: Bytes::copy_from_slice(&found.body),
    };
    if answer.body.len() > route.body_kept {
        return Outcome::Consumed(answer.summary());
    }
    Outcome::Completed(Arc::new(answer))
}

/// The pause after this many tries: doubled each time up to the longest, cut at random ("full jitter").
fn pause(rules: &config::ProbeConfig, tries: u32) -> Duration {
    let plain =
        ExponentialBuilder::new().with_min_delay(rules.base).with_max_delay(rules.max).without_max_times();
    let nth = |mut delays: ExponentialBackoff| delays.nth(tries as usize).unwrap_or(rules.max);
    // The crate's jitter adds a random part of the delay to the delay. Full jitter is that random part alone.
    nth(plain.with_jitter().build()).saturating_sub(nth(plain.build()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn rules() -> config::ProbeConfig {
        config::ProbeConfig {
            attempts: 5,
            base: Duration::from_secs(1),
            max: Duration::from_secs(10),
            headers: Vec::new(),
            headers_file: None,
            methods: vec!["POST".into()],
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_are_cut_at_random() {
        for (tries, longest) in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 10), (900, 10)] {
            let longest = Duration::from_secs(longest);
            let pauses: Vec<_> = (0..200).map(|_| pause(&rules(), tries)).collect();
            assert!(pauses.iter().all(|pause| *pause <= longest), "{tries}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause < longest / 2), "{tries}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause > longest / 2), "{tries}: {pauses:?}");
        }
    }

    #[test]
    fn a_question_is_a_read_or_what_the_upstream_takes_for_one() {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            assert_eq!(check_method(&method, &rules()), Ok(()));
        }
        let refused = check_method(&Method::DELETE, &rules()).unwrap_err();
        assert!(refused.to_string().contains("outbound.method: DELETE is not GET"), "{refused}");
    }
}
