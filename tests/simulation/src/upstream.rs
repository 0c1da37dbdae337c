//! The upstream: it acts at once, late or never, and its answer need not tell.

use crate::faults::Setting;
use crate::world::{Event, RequestId, World, locked};
use oncegate_core::{AnswerStatus, Disposition, OperationId, Timestamp, UnknownReason};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// A request as the upstream gets it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// The id that the request is sent with, by which an upstream that dedupes knows it. `None`: the request
    /// isn't guarded.
    pub id: Option<OperationId>,
    pub operation: usize,
    pub content: u32,
    pub request: RequestId,
    pub attempt: u32,
}

/// The upstream's answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub status: u16,
    pub retry_after: bool,
    pub content: u32,
    pub token: u32,
    /// The body was cut short.
    pub cut: bool,
}

/// The upstream.
#[derive(Debug)]
pub struct Upstream {
    world: Arc<World>,
    /// The first act of the upstream for each id, done or coming.
    deeds: Mutex<BTreeMap<OperationId, Deed>>,
    /// All acts of the upstream on guarded requests, with the token of the answer, and when.
    effects: Mutex<Vec<(Call, u32, Timestamp)>>,
}

#[derive(Clone, Copy, Debug)]
struct Deed {
    content: u32,
    token: u32,
    done: bool,
}

impl Upstream {
    /// An upstream that has done nothing yet.
    pub fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self { world: world.clone(), deeds: Mutex::default(), effects: Mutex::default() })
    }

    /// The answer to a question about the acts for the operation since then: the content and the token of the
    /// answer.
    pub fn looked_up(&self, operation: usize, since: Timestamp) -> Option<(u32, u32)> {
        let effects = locked(&self.effects);
        let done = effects.iter().find(|effect| effect.0.operation == operation && effect.2 >= since);
        done.map(|(call, token, _)| (call.content, *token))
    }

    /// Sends a request. Returns the answer, or why there is none; silence ends with the caller's patience.
    pub async fn call(self: &Arc<Self>, call: Call) -> Result<Answered, UnknownReason> {
        let (answer, answered) = oneshot::channel();
        let upstream = self.clone();
        tokio::spawn(async move {
            let said = upstream.handle(call).await;
            let _ = answer.send(said);
        });
        let patience = self.world.setting.response_timeout;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(said)) => said,
            Ok(Err(_)) => Err(UnknownReason::Broken),
            Err(_) => Err(UnknownReason::TimedOut),
        }
    }

    async fn handle(self: &Arc<Self>, call: Call) -> Result<Answered, UnknownReason> {
        let (world, faults) = (&self.world, &self.world.faults);
        // The request is on its way, whatever happens to its sender.
        sleep(self.way()).await;
        if world.setting.dedupes
            && let Some(id) = call.id
            && let Some(deed) = locked(&self.deeds).get(&id).copied()
        {
            return Ok(self.again(&deed, call.content));
        }
        if world.happens(faults.declined) {
            world.note(Event::Declined { request: call.request, attempt: call.attempt });
            let retry_after = world.coin();
            let status = if retry_after { 503 } else { 429 };
            let (content, token) = (call.content, world.token());
            return Ok(Answered { status, retry_after, content, token, cut: false });
        }
        let token = world.token();
        let answered = Answered { status: 201, retry_after: false, content: call.content, token, cut: false };
        let said = if world.happens(faults.ambiguous) {
            Ok(Answered { status: [502, 503, 504][world.pick(0..3)], ..answered })
        } else if world.happens(faults.broken) {
            Err(UnknownReason::Broken)
        } else if world.happens(faults.silent) {
            Err(UnknownReason::TimedOut)
        } else if world.happens(faults.cut) {
            Ok(Answered { cut: true, ..answered })
        } else {
            Ok(answered)
        };
        let proves = said.is_ok_and(|said| {
            said.status == 201 && !(said.cut && world.setting.cut_means == Disposition::Unknown)
        });
        if proves || world.coin() {
            // A final answer tells of an act that is done, so only an answer that proves nothing may come
            // first.
            let late = !proves && world.happens(faults.commits_late);
            self.act(call, token, if late { world.up_to(faults.commit_max) } else { Duration::ZERO });
        }
        match said {
            Err(UnknownReason::TimedOut) => sleep(world.setting.response_timeout * 2).await,
            _ => sleep(self.way()).await,
        }
        said
    }

    /// Acts after `span`.
    fn act(self: &Arc<Self>, call: Call, token: u32, span: Duration) {
        let deed = Deed { content: call.content, token, done: span.is_zero() };
        if let (true, Some(id)) = (self.world.setting.dedupes, call.id) {
            // The upstream knows from the beginning that it is about to act.
            locked(&self.deeds).insert(id, deed);
        }
        if span.is_zero() {
            return self.commit(call, token);
        }
        let upstream = self.clone();
        tokio::spawn(async move {
            sleep(span).await;
            upstream.commit(call, token);
        });
    }

    fn commit(&self, call: Call, token: u32) {
        let Call { id, content, request, attempt, .. } = call;
        if let Some(id) = id {
            locked(&self.deeds).entry(id).or_insert(Deed { content, token, done: true }).done = true;
            locked(&self.effects).push((call, token, self.world.ledger_now()));
        }
        self.world.note(Event::Effect { request, attempt, token });
    }

    /// The answer of an upstream that dedupes to a request that it has acted on (repeated), is about to act
    /// on (409), or has acted on for another request under the same id (422).
    fn again(&self, deed: &Deed, content: u32) -> Answered {
        let Deed { content: before, token, done } = *deed;
        match () {
            () if before != content => {
                Answered { status: 422, retry_after: false, content, token: self.world.token(), cut: false }
            }
            () if done => Answered { status: 201, retry_after: false, content, token, cut: false },
            () => Answered { status: 409, retry_after: false, content, token, cut: false },
        }
    }

    fn way(&self) -> Duration {
        match self.world.happens(self.world.faults.late) {
            true => self.world.up_to(self.world.faults.late_max),
            false => Duration::from_millis(1),
        }
    }
}

/// The meaning of an answer, by the gateway's own table. The policy may say what a cut one means.
pub fn meaning(answered: &Answered, setting: &Setting) -> Disposition {
    if answered.cut {
        return setting.cut_means;
    }
    Disposition::of_status(AnswerStatus {
        status: answered.status,
        retry_after: answered.retry_after,
        dedupes: setting.dedupes,
    })
}
