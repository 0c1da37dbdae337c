//! Takes an answer in and passes all but its end on to the client.
//!
//! **Durable before the end** (`design/answers.md`). An answer that arrives at once goes out in one
//! piece when it is settled. The data of a slower answer passes as it comes. Only the last piece waits
//! (length-delimited), or the end mark and the trailers (chunked).

use crate::answer::body::AnswerBody;
use crate::answer::first::first;
use crate::answer::stream::{Feed, stream};
use crate::execution::capture::{Capture, CapturedAnswer};
use crate::execution::report::{Client, Report};
use crate::execution::task::Execution;
use crate::request::fields;
use http::Response;
use oncegate_core::UnknownReason;
use oncegate_ledger::Permit;
use oncegate_upstream::{Piece, ResponseBody};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// The most bytes of an unkept answer that may be on their way to a slow client.
const UNDERWAY_MAX: usize = 256 * 1024;
/// The most bytes that may wait for a slow client when the budget of bodies has no room for more.
const SHORT_MAX: usize = 1;

/// How much of an answer was taken in.
enum Extent {
    /// The whole answer.
    Whole,
    /// A part: the answer broke off.
    Cut(UnknownReason),
    /// The part that had arrived.
    MoreToCome,
}

/// The part of a captured answer that the client has.
#[derive(Debug)]
pub enum ShownAnswer {
    /// Nothing yet: the whole answer waits.
    Nothing,
    /// All but the end, which will go out by this feed.
    AllButTheEnd(Feed),
    /// Nothing ever: the answer can't be shown to a client of HTTP/1.0.
    Never,
}

/// An answer's body on its way from the upstream. `abandoned` says when to give the body up.
struct AnswerSource<'a, A> {
    body: ResponseBody,
    idle: Duration,
    abandoned: Pin<&'a mut A>,
    vigil: Vigil<'a>,
}

/// For how long an answer is read on without a client. It might never end.
struct Vigil<'a> {
    permit: &'a Permit,
    /// The time of an answer that is kept: nobody asks for it after that.
    kept: Duration,
    /// The time of one that is not.
    unkept: Duration,
    was_kept: bool,
    since: Option<Instant>,
}

/// Takes an answer in. A slow answer passes to the client as it comes, but for its end.
pub async fn take_in(
    execution: &Execution,
    permit: &Permit,
    response: Response<ResponseBody>,
    client: &Client,
    abandoned: Pin<&mut impl Future<Output = UnknownReason>>,
) -> (CapturedAnswer, ShownAnswer) {
    let (mut head, body) = response.into_parts();
    fields::remove_hop_by_hop(&mut head.headers);
    fields::clean_announcement(&mut head.headers, |_| true);
    let (operation, upstream) = (execution.id.get(), &execution.route.upstream);
    let marks_end = execution.peer.protocol.marks_end;
    let (body_kept, bodies) = (execution.route.config.body_kept, &execution.bodies);
    let mut capture = Capture::new(&execution.fields, &head, body_kept, bodies);
    let vigil = Vigil::new(execution, permit);
    let mut source = AnswerSource { body, idle: upstream.config.body_idle_timeout, abandoned, vigil };
    let extent = match marks_end {
        true => source.take_what_is_there(&mut capture).await,
        false => source.take_all(&mut capture).await,
    };
    let settled_first = match extent {
        Extent::Whole | Extent::Cut(_) if capture.is_spilled() => Some(ShownAnswer::Never),
        Extent::Whole => Some(ShownAnswer::Nothing),
        // The client would take the end of the connection for the end of the answer.
        Extent::Cut(_) if !marks_end && capture.length.is_none() => Some(ShownAnswer::Never),
        Extent::Cut(_) | Extent::MoreToCome => None,
    };
    if let Some(shown) = settled_first {
        return (CapturedAnswer { head, capture, cut: extent.cut() }, shown);
    }
    let (feed, body) = stream(capture.length, bodies);
    feed_sendable(&mut capture, &feed);
    if capture.is_over() {
        feed.count();
    }
    client.tell(Report::Answered(first(operation, &head, AnswerBody::Streamed(body))));
    let cut = match extent {
        Extent::MoreToCome => source.pass_on(&mut capture, &feed, execution).await,
        extent => extent.cut(),
    };
    (CapturedAnswer { head, capture, cut }, ShownAnswer::AllButTheEnd(feed))
}

impl Extent {
    fn cut(&self) -> Option<UnknownReason> {
        match self {
            Self::Cut(reason) => Some(*reason),
            Self::Whole | Self::MoreToCome => None,
        }
    }
}

impl<'a> Vigil<'a> {
    fn new(execution: &Execution, permit: &'a Permit) -> Self {
        let (kept, unkept) = (execution.route.config.times.retention, execution.route.response_timeout());
        Self { permit, kept, unkept, was_kept: true, since: None }
    }

    /// Whether no client has been left for too long. Asked at each piece: one that stands still has a time of its own.
    fn is_over(&mut self, capture: &Capture) -> bool {
        let (is_kept, now) = (capture.is_kept(), Instant::now());
        if self.permit.has_clients() || is_kept != self.was_kept {
            self.since = None;
        }
        self.was_kept = is_kept;
        let limit = if is_kept { self.kept } else { self.unkept };
        now - *self.since.get_or_insert(now) > limit
    }
}

impl<A: Future<Output = UnknownReason>> AnswerSource<'_, A> {
    /// The next piece of the answer. The piece is a cut if the answer is given up.
    async fn next_piece(&mut self) -> Piece {
        tokio::select! {
            biased;
            piece = self.body.next_piece(self.idle) => piece,
            reason = self.abandoned.as_mut() => Piece::Cut(reason),
        }
    }

    /// Takes in the pieces that have arrived, without waiting.
    async fn take_what_is_there(&mut self, capture: &mut Capture) -> Extent {
        loop {
            match self.body.piece_at_once().await {
                None => return Extent::MoreToCome,
                Some(Piece::Data(data)) => capture.take(data),
                Some(Piece::Trailers(trailers)) => capture.end_with(trailers),
                Some(Piece::End) => return Extent::Whole,
                Some(Piece::Cut(reason)) => return Extent::Cut(reason),
            }
            // Data that is not kept must stream instead of piling up.
            if capture.is_over() {
                return Extent::MoreToCome;
            }
        }
    }

    /// Takes in the rest of the answer.
    async fn take_all(&mut self, capture: &mut Capture) -> Extent {
        loop {
            match self.next_piece().await {
                Piece::Data(data) => {
                    capture.take(data);
                    capture.hold_unsent();
                    if self.vigil.is_over(capture) {
                        return Extent::Cut(UnknownReason::ClientsGone);
                    }
                }
                Piece::Trailers(trailers) => capture.end_with(trailers),
                Piece::End => return Extent::Whole,
                Piece::Cut(reason) => return Extent::Cut(reason),
            }
        }
    }

    /// Passes the rest of the answer on as it comes, but for its end. Returns why the answer was cut short,
    /// if it was.
    async fn pass_on(
        &mut self,
        capture: &mut Capture,
        feed: &Feed,
        execution: &Execution,
    ) -> Option<UnknownReason> {
        loop {
            match self.next_piece().await {
                Piece::Data(data) => {
                    capture.take(data);
                    feed_sendable(capture, feed);
                    if self.vigil.is_over(capture) {
                        return Some(UnknownReason::ClientsGone);
                    }
                    if !capture.is_over() {
                        continue;
                    }
                    let waiting_max = if feed.count() { UNDERWAY_MAX } else { SHORT_MAX };
                    if let Some(reason) = self.wait_for_client(feed, waiting_max, execution).await {
                        return Some(reason);
                    }
                }
                Piece::Trailers(trailers) => capture.end_with(trailers),
                Piece::Cut(reason) => return Some(reason),
                Piece::End => return None,
            }
        }
    }

    /// Waits until fewer than `waiting_max` bytes wait for a client that is slow to take them. A client that takes nothing for the idle
    /// timeout is cut off, and the execution goes on without it. Returns why the answer was given up
    /// meanwhile, if it was.
    async fn wait_for_client(
        &mut self,
        feed: &Feed,
        waiting_max: usize,
        execution: &Execution,
    ) -> Option<UnknownReason> {
        let idle = self.idle;
        let drained = tokio::time::timeout(idle, feed.drained_below(waiting_max));
        let drained = tokio::select! {
            biased;
            drained = drained => drained,
            reason = self.abandoned.as_mut() => return Some(reason),
        };
        if drained.is_err() {
            tracing::warn!(operation = %execution.id.get(), ?idle, "a client took nothing of its answer for so long, and is cut off");
            feed.cut();
        }
        None
    }
}

/// Feeds the client the data that may go out before the record is durable.
fn feed_sendable(capture: &mut Capture, feed: &Feed) {
    feed.data(capture.sendable());
}
