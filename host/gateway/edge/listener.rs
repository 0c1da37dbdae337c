//! Listening sockets. Each worker has its own, and accepts from them until the gateway drains.

use super::connection;
use super::peer::{Peer, Protocol, Scheme};
use super::places::{self, NoPlace};
use super::service::EdgeService;
use super::state::{Counted, EdgeState};
use oncegate_observe::metrics::CONNECTIONS_CLOSED;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;

/// How many connections may wait at each listener to be accepted.
const BACKLOG: i32 = 1024;

/// Sockets that are bound and not yet served: one for each address and worker.
#[derive(Debug)]
pub struct Listeners {
    /// The addresses of the sockets, with the ports that the system chose.
    pub addresses: Vec<SocketAddr>,
    pub(super) by_worker: Vec<Vec<TcpListener>>,
}

/// The reason why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {}", explain(.cause))]
pub struct BindError {
    address: SocketAddr,
    cause: io::Error,
}

fn explain(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use; is another oncegate running? Stop it, or choose another port with --listen"
                .into()
        }
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports below 1024 need privileges, choose a higher one with --listen".into()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; choose one that it has".into(),
        _ => cause.to_string(),
    }
}

impl Listeners {
    /// Binds each address, once without `SO_REUSEPORT` so that a second gateway on the same port
    /// is refused instead of taking half of the traffic, then once for each worker with it.
    pub fn bind(addresses: &[SocketAddr], workers: usize) -> Result<Self, BindError> {
        let mut bound = Self { addresses: Vec::new(), by_worker: (0..workers).map(|_| Vec::new()).collect() };
        for address in addresses {
            let refused = |cause| BindError { address: *address, cause };
            let exclusive = socket(*address, Port::Exclusive).map_err(refused)?;
            let chosen = exclusive.local_addr().map_err(refused)?.as_socket().unwrap_or(*address);
            drop(exclusive);
            for sockets in &mut bound.by_worker {
                let socket = socket(chosen, Port::Shared).map_err(refused)?;
                socket.listen(BACKLOG).map_err(refused)?;
                sockets.push(socket.into());
            }
            bound.addresses.push(chosen);
        }
        Ok(bound)
    }
}

/// The sockets that may listen on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    /// This socket alone.
    Exclusive,
    /// All sockets of this kind.
    Shared,
}

fn socket(address: SocketAddr, port: Port) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(socket2::Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without SO_REUSEADDR a restart would have to wait for the TIME_WAIT of old connections. On Linux
    // SO_REUSEADDR lets nobody take the port of a socket that listens.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(port == Port::Shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if port == Port::Exclusive {
        // Binding alone does not collide with a listener that has SO_REUSEADDR; listening does.
        socket.listen(1)?;
    }
    Ok(socket)
}

/// Accepts connections until the gateway drains.
pub(super) async fn listen<S: EdgeService>(
    service: Rc<S>,
    (socket, _counted): (TcpListener, Counted<EdgeState>),
) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a listener could not be served");
            return;
        }
    };
    let mut draining = service.edge().draining.subscribe();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => admit(&service, stream, address),
            Err(error) => {
                // The usual cause is a lack of descriptors: a pause lets connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Queued connections are accepted before the listener closes, because their clients already see
    // them as open.
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..BACKLOG {
        let Ok((stream, address)) = listener.accept() else { return };
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            service.edge().queued.fetch_add(1, Ordering::Relaxed);
            admit(&service, stream, address);
        }
    }
}

/// Serves a connection, if there is a place for another one.
fn admit<S: EdgeService>(service: &Rc<S>, stream: TcpStream, address: SocketAddr) {
    let address = address.ip().to_canonical();
    let (limit, trusted) = service.server(|server| {
        let trusted = server.trusted_proxies.iter().any(|network| network.contains(&address));
        (server.limits.connections, trusted)
    });
    let edge = service.edge();
    let bodies = edge.bodies.account(address, trusted);
    match places::find(edge, &bodies, limit) {
        Ok(false) => {}
        Ok(true) => {
            CONNECTIONS_CLOSED.idle.inc();
            tracing::warn!(
                "all connections are taken: those that have been idle for longest give way to new ones"
            );
        }
        Err(none) => return turned_away(address, none),
    }
    let _ = stream.set_nodelay(true);
    let peer = Peer { address, trusted, scheme: Scheme::Http, protocol: Protocol::HTTP_11 };
    // Counted here, because many may be accepted before the first one is served.
    let counted =
        (Counted::new(edge, |edge| &edge.connections), Counted::new(&bodies, |bodies| &bodies.connections));
    tokio::task::spawn_local(connection::serve(service.clone(), counted, stream, peer, bodies));
}

/// Tells the operator that a connection is closed because there is no place for it.
fn turned_away(peer: IpAddr, none: NoPlace) {
    match none {
        NoPlace::Share(share) => {
            CONNECTIONS_CLOSED.share.inc();
            tracing::warn!(
                %peer, share,
                "one address may hold half of all connections, and has them: its further ones are closed; raise \
                 `server.limits.connections`, or name a proxy that speaks for many in `server.trusted_proxies`"
            );
        }
        NoPlace::Full(limit) => {
            CONNECTIONS_CLOSED.full.inc();
            tracing::warn!(
                limit,
                "`server.limits.connections` is reached, and none is idle: further ones are closed"
            );
        }
        NoPlace::Files(files) => {
            CONNECTIONS_CLOSED.files.inc();
            tracing::warn!(
                files,
                "the process may not open more files, and no connection is idle: further ones are closed"
            );
        }
    }
}
