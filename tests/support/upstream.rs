//! A real HTTP/1.1 server whose every answer is a script, and which keeps its own account of the requests
//! it got. The server stands outside the gateway, so its account survives any crash of the gateway.

use super::wire::{self, Fields, Wire};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// One request that arrived whole: one execution.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The number of calls before this one, on this server.
    pub(crate) number: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
}

impl Call {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        wire::first(&self.fields, name)
    }

    /// The value that names the operation, without quotes; empty if there is none.
    pub(crate) fn key(&self) -> &str {
        let key = self.field("idempotency-key").or(self.field("x-request-id"));
        key.unwrap_or_default().trim_matches('"')
    }
}

/// A gate that one side waits for and another opens.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock().expect("no holder panics") = true;
        self.0.1.notify_all();
    }

    pub(crate) fn pass(&self) {
        let closed = self.0.0.lock().expect("no holder panics");
        drop(self.0.1.wait_while(closed, |open| !*open).expect("no holder panics"));
    }
}

/// A step of the server on the wire.
pub(crate) enum Step {
    Write(Vec<u8>),
    Pass(Gate),
    /// Waits for the end of the other side, and opens the gate.
    Left(Gate),
    /// An ordinary end of the connection.
    Close,
    /// A TCP reset.
    Reset,
}

#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Length,
    Chunked,
    End,
    None,
}

/// An answer.
pub(crate) struct Script {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    trailers: Vec<(String, String)>,
    before: Option<Gate>,
    pause: Option<(usize, Gate)>,
    /// The number of bytes of the body after which the answer ends.
    cut: Option<usize>,
    resets: bool,
    /// Steps in place of the answer that the other fields describe.
    steps: Option<Vec<Step>>,
}

impl Script {
    pub(crate) fn answer(status: u16, body: impl AsRef<[u8]>) -> Self {
        let bodiless = matches!(status, 204 | 304);
        Self {
            status,
            fields: Vec::new(),
            body: body.as_ref().to_vec(),
            framing: if bodiless { Framing::None } else { Framing::Length },
            trailers: Vec::new(),
            before: None,
            pause: None,
            cut: None,
            resets: false,
            steps: None,
        }
    }

    /// A 201 that no other execution would give.
    pub(crate) fn numbered(call: &Call) -> Self {
        let body = format!("{{\"execution\":{},\"target\":{:?}}}", call.number, call.target);
        Self::answer(201, body).field("Content-Type", "application/json")
    }

    pub(crate) fn raw(steps: Vec<Step>) -> Self {
        Self { steps: Some(steps), ..Self::answer(200, "") }
    }

    /// No answer, ever.
    pub(crate) fn silence() -> Self {
        Self::raw(vec![Step::Pass(Gate::new())])
    }

    /// Resets the connection after the request was read.
    pub(crate) fn reset() -> Self {
        Self::raw(vec![Step::Reset])
    }

    /// Ends the connection in the middle of the head.
    pub(crate) fn cut_in_head() -> Self {
        Self::raw(vec![Step::Write(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()), Step::Close])
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    pub(crate) fn trailer(self, name: &str, value: &str) -> Self {
        self.unannounced_trailer(name, value).field("Trailer", name)
    }

    /// Adds a trailer that no `Trailer` field announces.
    pub(crate) fn unannounced_trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self.chunked()
    }

    /// Makes the end of the connection the end of the body.
    pub(crate) fn until_closed(mut self) -> Self {
        self.framing = Framing::End;
        self
    }

    /// Writes nothing until the gate opens.
    pub(crate) fn after(mut self, gate: &Gate) -> Self {
        self.before = Some(gate.clone());
        self
    }

    /// Makes the rest of the body after `bytes` bytes wait for the gate.
    pub(crate) fn pause_at(mut self, bytes: usize, gate: &Gate) -> Self {
        self.pause = Some((bytes, gate.clone()));
        self
    }

    /// Ends the connection after `bytes` bytes of the body.
    pub(crate) fn cut_at(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Resets the connection after `bytes` bytes of the body.
    pub(crate) fn reset_at(mut self, bytes: usize) -> Self {
        self.resets = true;
        self.cut_at(bytes)
    }

    fn steps(mut self) -> Vec<Step> {
        if let Some(steps) = self.steps.take() {
            return steps;
        }
        let mut steps: Vec<Step> = self.before.take().map(Step::Pass).into_iter().collect();
        steps.push(Step::Write(self.head()));
        let split = self.pause.as_ref().map_or(self.body.len(), |(at, _)| *at).min(self.body.len());
        if let Some(at) = self.cut {
            steps.push(Step::Write(self.framed(&self.body[..at.min(self.body.len())])));
            steps.push(if self.resets { Step::Reset } else { Step::Close });
            return steps;
        }
        steps.push(Step::Write(self.framed(&self.body[..split])));
        if let Some((_, gate)) = self.pause.clone() {
            steps.push(Step::Pass(gate));
            steps.push(Step::Write(self.framed(&self.body[split..])));
        }
        if self.framing == Framing::Chunked {
            let trailers: String = self.trailers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
            steps.push(Step::Write(format!("0\r\n{trailers}\r\n").into_bytes()));
        }
        if self.framing == Framing::End {
            steps.push(Step::Close);
        }
        steps
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match self.framing {
            Framing::Length => head.push_str(&format!("Content-Length: {}\r\n", self.body.len())),
            Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::End | Framing::None => {}
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    fn framed(&self, piece: &[u8]) -> Vec<u8> {
        match self.framing {
            Framing::Length | Framing::End => piece.to_vec(),
            Framing::Chunked if piece.is_empty() => Vec::new(),
            Framing::Chunked => [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
            Framing::None => Vec::new(),
        }
    }
}

type Handler = dyn Fn(&Call) -> Script + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    calls: Mutex<Vec<Call>>,
    called: Condvar,
    stopped: AtomicBool,
    /// Whether new connections are reset before a byte of them is read.
    deaf: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// The server. A dropped server ends, with all its connections.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<std::thread::JoinHandle<()>>,
}

impl Upstream {
    /// Starts a server that answers every request by the script that `handler` writes for the request.
    pub(crate) fn start(handler: impl Fn(&Call) -> Script + Send + Sync + 'static) -> Self {
        Self::start_at(TcpListener::bind("127.0.0.1:0").expect("a free port"), handler)
    }

    /// Starts a server that gives every execution an answer of its own.
    pub(crate) fn numbering() -> Self {
        Self::start(Script::numbered)
    }

    pub(crate) fn start_at(
        listener: TcpListener,
        handler: impl Fn(&Call) -> Script + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            calls: Mutex::default(),
            called: Condvar::new(),
            stopped: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let accepting = shared.clone();
        let acceptor = Some(std::thread::spawn(move || accept(&listener, &accepting)));
        Self { address, shared, acceptor }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Says whether connections are reset before anything is read. Going deaf also drops open connections.
    pub(crate) fn go_deaf(&self, deaf: bool) {
        self.shared.deaf.store(deaf, Ordering::SeqCst);
        if deaf {
            self.drop_connections();
        }
    }

    pub(crate) fn drop_connections(&self) {
        for stream in self.shared.streams.lock().expect("no holder panics").drain(..) {
            let _gone_already = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().expect("no holder panics").clone()
    }

    /// The number of executions so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.calls.lock().expect("no holder panics").len()
    }

    /// The number of executions of each key.
    pub(crate) fn count_by_key(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for call in self.shared.calls.lock().expect("no holder panics").iter() {
            *counts.entry(call.key().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Waits until the condition holds for the calls so far.
    #[track_caller]
    pub(crate) fn await_calls(&self, holds: impl Fn(&[Call]) -> bool) {
        let calls = self.shared.calls.lock().expect("no holder panics");
        let waited = self.shared.called.wait_timeout_while(calls, wire::PATIENCE, |calls| !holds(calls));
        let (calls, timeout) = waited.expect("no holder panics");
        assert!(
            !timeout.timed_out(),
            "the upstream never saw what was waited for, but {} calls",
            calls.len()
        );
    }

    #[track_caller]
    pub(crate) fn await_count(&self, count: usize) {
        self.await_calls(|calls| calls.len() >= count);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Only a connection wakes the acceptor.
        let _woken = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ended = acceptor.join();
        }
        self.drop_connections();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if shared.deaf.load(Ordering::SeqCst) {
            reset(&stream);
            continue;
        }
        let Ok(kept) = stream.try_clone() else { continue };
        shared.streams.lock().expect("no holder panics").push(kept);
        let shared = shared.clone();
        std::thread::spawn(move || serve(stream, &shared));
    }
}

fn serve(stream: TcpStream, shared: &Shared) {
    let peer = stream.peer_addr().ok();
    let mut wire = Wire::new(stream);
    // Idle connections belong to the gateway's pool, so the pool's timeout must pass first.
    wire.stream.set_read_timeout(Some(Duration::from_secs(600))).expect("a socket option");
    let end = converse(&mut wire, shared);
    // The close of the last handle sends the reset, so the kept clone is dropped first.
    shared.streams.lock().expect("no holder panics").retain(|kept| kept.peer_addr().ok() != peer);
    match end {
        End::Close => drop(wire.stream.shutdown(std::net::Shutdown::Both)),
        End::Reset => reset(&wire.stream),
    }
}

enum End {
    Close,
    Reset,
}

fn converse(wire: &mut Wire, shared: &Shared) -> End {
    while let Ok(head) = wire.head() {
        let expects = wire::first(&head.fields, "expect").is_some();
        if expects && wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
            return End::Close;
        }
        let body = wire.body(&head.fields, false);
        if !body.whole {
            return End::Close;
        }
        let call = shared.note(head, body);
        for step in (shared.handler)(&call).steps() {
            match step {
                Step::Write(bytes) if wire.write(&bytes).is_err() => return End::Close,
                Step::Write(_) => {}
                Step::Pass(gate) => gate.pass(),
                Step::Left(gate) => {
                    wire.await_end();
                    gate.open();
                    return End::Close;
                }
                Step::Close => return End::Close,
                Step::Reset => return End::Reset,
            }
        }
    }
    End::Close
}

impl Shared {
    fn note(&self, head: wire::Head, body: wire::Body) -> Call {
        let mut start = head.start.split(' ').map(str::to_owned);
        let (method, target) = (start.next().unwrap_or_default(), start.next().unwrap_or_default());
        let mut calls = self.calls.lock().expect("no holder panics");
        let wire::Body { bytes: body, trailers, .. } = body;
        let call = Call { number: calls.len(), method, target, fields: head.fields, body, trailers };
        calls.push(call.clone());
        self.called.notify_all();
        call
    }
}

/// Makes the close that follows send RST.
fn reset(stream: &TcpStream) {
    let _closed_without = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
