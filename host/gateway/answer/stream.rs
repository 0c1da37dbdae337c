//! The stream from an execution to its client. The execution feeds the stream, and waits for the client only
//! if it asks to.

use crate::edge::{Direction, PeerAccount, Reservation};
use crate::pieces::Pieces;
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use oncegate_ledger::Interest;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// The answer broke off, so the client's stream must break off, too.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut short")]
pub struct Cut;

/// What is on its way from an execution to its client.
#[derive(Debug)]
struct Underway {
    waiting: RefCell<ClientBacklog>,
    /// Notified when the client has taken something, or is gone.
    moved: Notify,
}

/// What waits for the client.
#[derive(Debug)]
struct ClientBacklog {
    data: Pieces,
    /// The data's part of the budget.
    reserved: Reservation,
    end: FeedEnd,
    is_client_gone: bool,
    client: Option<Waker>,
}

#[derive(Debug)]
enum FeedEnd {
    /// There is more to come.
    ToCome,
    /// The stream ends, with trailers if there are some.
    Whole(Option<HeaderMap>),
    /// The stream breaks off.
    Cut,
}

/// The client's end.
#[derive(Debug)]
pub struct ClientStream {
    length: Option<u64>,
    underway: Rc<Underway>,
    interest: Option<Interest>,
}

/// The execution's end. A feed that is dropped before its end cuts the stream.
#[derive(Debug)]
pub struct Feed(Rc<Underway>);

/// Both ends of a stream. `length`: the bytes of the whole body, if known. `bodies`: what the bodies of the
/// client's peer hold.
pub fn stream(length: Option<u64>, bodies: &Arc<PeerAccount>) -> (Feed, ClientStream) {
    let waiting = ClientBacklog {
        data: Pieces::default(),
        reserved: Reservation::none(bodies, Direction::Out),
        end: FeedEnd::ToCome,
        is_client_gone: false,
        client: None,
    };
    let underway = Rc::new(Underway { waiting: RefCell::new(waiting), moved: Notify::new() });
    (Feed(underway.clone()), ClientStream { length, underway, interest: None })
}

impl ClientStream {
    /// The bytes of the whole body, if known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Makes the client's interest in the execution last as long as this stream.
    pub fn hold(&mut self, interest: Interest) {
        self.interest = Some(interest);
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let waiting = &mut *self.underway.waiting.borrow_mut();
        if let Some(data) = waiting.data.pop() {
            waiting.reserved.shrink(waiting.data.held());
            self.underway.moved.notify_one();
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match &mut waiting.end {
            FeedEnd::ToCome => {
                waiting.client = Some(cx.waker().clone());
                Poll::Pending
            }
            FeedEnd::Whole(trailers) => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            FeedEnd::Cut => Poll::Ready(Some(Err(Cut))),
        }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let waiting = &mut *self.underway.waiting.borrow_mut();
        waiting.is_client_gone = true;
        waiting.data = Pieces::default();
        waiting.reserved.shrink(0);
        self.underway.moved.notify_one();
    }
}

impl ClientBacklog {
    fn is_closed(&self) -> bool {
        self.is_client_gone || matches!(self.end, FeedEnd::Cut)
    }
}

impl Feed {
    /// Sends data.
    pub fn data(&self, mut data: Pieces) {
        let waiting = &mut *self.0.waiting.borrow_mut();
        if waiting.is_closed() {
            return;
        }
        while let Some(piece) = data.pop() {
            waiting.data.push(piece);
        }
        waiting.client.take().into_iter().for_each(Waker::wake);
    }

    /// Counts what waits for the client, where nobody else counts it. False: the budget has no room for it.
    pub fn count(&self) -> bool {
        let waiting = &mut *self.0.waiting.borrow_mut();
        waiting.reserved.charge(waiting.data.held())
    }

    /// Takes over the part of the budget in which what waits was counted, and counts the rest.
    pub fn is_counted(&self, mut counted: Reservation) {
        let waiting = &mut *self.0.waiting.borrow_mut();
        counted.shrink(waiting.data.held());
        if counted.bytes() > waiting.reserved.bytes() {
            waiting.reserved = counted;
        }
        waiting.reserved.charge(waiting.data.held());
    }

    /// Ends the stream.
    pub fn end(self, trailers: Option<HeaderMap>) {
        self.end_as(FeedEnd::Whole(trailers));
    }

    /// Cuts the answer short: nothing goes out after what was sent before.
    pub fn cut(&self) {
        self.end_as(FeedEnd::Cut);
    }

    fn end_as(&self, end: FeedEnd) {
        let waiting = &mut *self.0.waiting.borrow_mut();
        if matches!(waiting.end, FeedEnd::ToCome) {
            waiting.end = end;
            waiting.client.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Waits until fewer than `bytes` bytes wait for the client, or the client is gone.
    pub async fn drained_below(&self, bytes: usize) {
        let is_drained = || {
            let waiting = self.0.waiting.borrow();
            waiting.data.bytes() < bytes || waiting.is_closed()
        };
        while !is_drained() {
            self.0.moved.notified().await;
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.cut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::EdgeState;

    const KIB: usize = 1 << 10;

    #[test]
    fn a_withheld_end_is_counted_with_what_waits() {
        for (bytes, counted, held) in [
            // An answer that isn't kept brings nothing counted.
            (96 * KIB, 0, 88 * KIB),
            (96 * KIB, 50 * KIB, 88 * KIB),
            (96 * KIB, 300 * KIB, 88 * KIB),
            (3000 * KIB, 0, 2992 * KIB),
            (KIB, 0, 0),
        ] {
            let edge = EdgeState::new(2048 * KIB);
            let account = edge.bodies.own_account();
            let (feed, client) = stream(None, &account);
            let mut data = Pieces::default();
            data.push(vec![7; bytes].into());
            feed.data(data);
            let mut brought = Reservation::none(&account, Direction::Out);
            assert!(brought.charge(counted));
            feed.is_counted(brought);
            assert_eq!(edge.bodies.held(), held, "{bytes} {counted}");
            feed.end(None);
            assert_eq!(edge.bodies.held(), held, "it waits on");
            drop(client);
            assert_eq!(edge.bodies.held(), 0);
        }
    }
}
