//! The load: so many connections, each with one request at a time, as fast as they are answered.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

const CONNECTIONS: usize = 64;
/// A phase that takes longer is a fault.
const PHASE_TIME_MAX: Duration = Duration::from_secs(60);
/// Fields that a replay must repeat.
const KEPT: [&str; 5] = ["content-type", "location", "x-request-id", "etag", "x-frame-options"];

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    /// One request on one connection.
    First,
    /// So many, each with a key of its own.
    New(u64),
    /// So many repetitions of answered ones, compared with their answers.
    Repeat(u64),
}

/// A client that remembers what it was answered.
pub(crate) struct Load {
    address: SocketAddr,
    seed: u64,
    /// Sends no key.
    pub(crate) keyless: bool,
    next: u64,
    answers: HashMap<u64, blake3::Hash>,
}

impl Load {
    pub(crate) fn new(address: SocketAddr, seed: u64) -> Self {
        Self { address, seed, keyless: false, next: 0, answers: HashMap::new() }
    }

    /// Requests that were no repetitions.
    pub(crate) fn sent_new(&self) -> u64 {
        self.next
    }

    /// Sends a phase's requests, and returns how many there were.
    pub(crate) async fn run(&mut self, phase: Phase) -> Result<u64, String> {
        let (count, connections) = match phase {
            Phase::First => (1, 1),
            Phase::New(count) | Phase::Repeat(count) => (count, CONNECTIONS),
        };
        let turns = Rc::new(Cell::new(0));
        let known = self.next;
        let answers = Rc::new(RefCell::new(std::mem::take(&mut self.answers)));
        let local = LocalSet::new();
        let tasks: Vec<_> = (0..connections)
            .map(|_| {
                let (turns, answers) = (turns.clone(), answers.clone());
                let (address, seed, keyless) = (self.address, self.seed, self.keyless);
                local.spawn_local(async move {
                    let mut connection = Connection::open(address).await?;
                    while turns.get() < count {
                        let turn = turns.replace(turns.get() + 1);
                        let repeats = matches!(phase, Phase::Repeat(_));
                        let number = if repeats { turn % known } else { known + turn };
                        let answer = connection.exchange((!keyless).then(|| key(seed, number))).await?;
                        let first = *answers.borrow_mut().entry(number).or_insert(answer);
                        if first != answer {
                            return Err(format!("a repetition of request {number} got another answer"));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let all = local.run_until(async {
            for task in tasks {
                task.await.map_err(|error| error.to_string())??;
            }
            Ok::<_, String>(())
        });
        let ended = tokio::time::timeout(PHASE_TIME_MAX, all).await;
        ended.map_err(|_| format!("not done after {PHASE_TIME_MAX:?}"))??;
        self.answers = std::mem::take(&mut *answers.borrow_mut());
        if !matches!(phase, Phase::Repeat(_)) {
            self.next += count;
        }
        Ok(count)
    }
}

/// As long as a UUID, and no two alike.
fn key(seed: u64, number: u64) -> String {
    format!("{seed:08x}-feed-4bed-8dad-{number:012x}")
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    received: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        Ok(Self { stream, request: Vec::new(), received: Vec::with_capacity(4096) })
    }

    /// Sends an order and returns the digest of its answer.
    async fn exchange(&mut self, key: Option<String>) -> Result<blake3::Hash, String> {
        let body = concat!(
            r#"{"customer":"cus_000042","currency":"EUR","amount":129900,"items":[{"sku":"A-1001","qty":2},"#,
            r#"{"sku":"B-2002","qty":1}],"ship_to":{"name":"A. Person","street":"1 Long Street","city":"Springfield"}}"#
        );
        self.request.clear();
        self.request.extend_from_slice(
            b"POST /orders HTTP/1.1\r\nhost: shop.example\r\nuser-agent: bench\r\naccept: application/json\r\n\
              content-type: application/json\r\n",
        );
        if let Some(key) = key {
            self.request.extend_from_slice(format!("idempotency-key: {key}\r\n").as_bytes());
        }
        self.request.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        self.stream.write_all(&self.request).await.map_err(|error| format!("write: {error}"))?;
        self.received.clear();
        loop {
            if let Some(answer) = answer(&self.received)? {
                return Ok(answer);
            }
            let read = self.stream.read_buf(&mut self.received).await;
            if read.map_err(|error| format!("read: {error}"))? == 0 {
                return Err("the connection ended in an answer".into());
            }
        }
    }
}

/// The digest of a whole answer: its body and the fields that count. None: more is to come.
fn answer(received: &[u8]) -> Result<Option<blake3::Hash>, String> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(start) = head.parse(received).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    if head.code != Some(201) {
        return Err(format!("an answer of {:?}: {}", head.code, String::from_utf8_lossy(received)));
    }
    let field = |name: &str| head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let length =
        field("content-length").and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok());
    let length: usize = length.ok_or("an answer without a content-length")?;
    let Some(body) = received.get(start..start + length) else { return Ok(None) };
    let mut digest = blake3::Hasher::new();
    for name in KEPT {
        digest.update(field(name).map_or(&b""[..], |field| field.value)).update(b"\n");
    }
    Ok(Some(digest.update(body).finalize()))
}
