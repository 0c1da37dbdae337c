//! Connections that speak another protocol than HTTP after a switch (RFC 9110 §7.8, `design/edge.md`).

use crate::edge::{Counted, Peer, PeerAccount};
use crate::request::fields::names_in_connection;
use crate::worker::Worker;
use http::header::{self, HeaderMap};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use oncegate_upstream::elements;
use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::time::Instant;

/// The protocols that a request offers to switch to and that are passed on, each once. In another protocol requests
/// could go by unseen, so any other offer is ignored.
pub fn offered(fields: &HeaderMap, peer: Peer, listed: &[String]) -> Vec<String> {
    if !peer.protocol.can_switch || !names_in_connection(fields, header::UPGRADE.as_str()) {
        return Vec::new();
    }
    let passes = |offer: &&str| {
        offer.eq_ignore_ascii_case("websocket") || listed.iter().any(|own| own.eq_ignore_ascii_case(offer))
    };
    let offers = elements(fields, header::UPGRADE).filter_map(|offer| std::str::from_utf8(offer).ok());
    let mut offered = Vec::<String>::new();
    for offer in offers.filter(passes) {
        if !offered.iter().any(|before| before.eq_ignore_ascii_case(offer)) {
            offered.push(offer.to_owned());
        }
    }
    offered
}

/// Carries the bytes of both sides until one side ends, or neither says anything for `server.limits.idle_timeout`.
/// A tunnel is one of the client connections that are counted and bounded, and that a shutdown waits for.
pub async fn carry(worker: Rc<Worker>, account: Arc<PeerAccount>, client: OnUpgrade, upstream: OnUpgrade) {
    let edge = &worker.shared.edge;
    let _counted = [Counted::new(edge, |edge| &edge.connections), Counted::new(edge, |edge| &edge.tunnels)];
    let _of_peer = Counted::new(&account, |account| &account.connections);
    let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else { return };
    let heard = Rc::new(Cell::new(Instant::now()));
    let mut client = TunnelEnd { io: TokioIo::new(client), heard: heard.clone() };
    let mut upstream = TunnelEnd { io: TokioIo::new(upstream), heard: heard.clone() };
    let mut copying = pin!(copy_bidirectional(&mut client, &mut upstream));
    loop {
        let deadline = heard.get() + worker.active().config.server.limits.idle_timeout;
        tokio::select! {
            _ended = copying.as_mut() => return,
            () = tokio::time::sleep_until(deadline) => {
                if Instant::now() >= heard.get() + worker.active().config.server.limits.idle_timeout {
                    return;
                }
            }
        }
    }
}

/// One side of a tunnel, which notes when it says something.
struct TunnelEnd {
    io: TokioIo<Upgraded>,
    heard: Rc<Cell<Instant>>,
}

impl AsyncRead for TunnelEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.set(Instant::now());
        }
        read
    }
}

impl AsyncWrite for TunnelEnd {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
