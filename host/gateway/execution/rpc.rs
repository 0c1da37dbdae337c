//! The status that answers of gRPC, gRPC-Web and Connect carry themselves, wherever it stands: in the
//! header, in the trailers, in a frame at the end of the body, in a JSON error (`design/life.md`).
//!
//! Framed bodies are read as they pass, so the status of an answer that is too large to keep is known, too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use oncegate_core::Disposition;
use oncegate_policy::coding;
use serde::Deserialize;

/// The longest last frame that is read for a status. Real ones are short; a longer one is taken for none.
const LAST_FRAME_MAX: usize = 64 << 10;
const GRPC_STATUS: &str = "grpc-status";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RpcProtocol {
    Grpc,
    /// gRPC-Web. `text`: the body is in base64.
    GrpcWeb {
        text: bool,
    },
    /// Connect with one message each way: success and failure are in the HTTP status.
    ConnectUnary,
    ConnectStream,
}

impl RpcProtocol {
    /// The protocol by the content type of a request or an answer.
    fn of_type(fields: &HeaderMap) -> Option<Self> {
        let value = fields.get(CONTENT_TYPE)?.as_bytes();
        let rest = strip(value, b"application/")?;
        if strip(rest, b"connect+").is_some() {
            return Some(Self::ConnectStream);
        }
        let rest = strip(rest, b"grpc")?;
        let ends = |rest: &[u8]| matches!(rest, [] | [b'+' | b';' | b' ', ..]);
        match strip(rest, b"-web") {
            Some(rest) if ends(rest) => Some(Self::GrpcWeb { text: false }),
            Some(rest) if strip(rest, b"-text").is_some_and(ends) => Some(Self::GrpcWeb { text: true }),
            None if ends(rest) => Some(Self::Grpc),
            _ => None,
        }
    }

    fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcWeb { .. })
    }

    /// The bit that marks the frame with the status.
    fn mark(self) -> Option<u8> {
        match self {
            Self::GrpcWeb { .. } => Some(0x80),
            Self::ConnectStream => Some(0x02),
            Self::Grpc | Self::ConnectUnary => None,
        }
    }
}

/// The trailers that an answer will have by its protocol, even if the answer does not announce them.
pub fn trailers_to_come(answer: &HeaderMap) -> &'static [HeaderName] {
    static GRPC: [HeaderName; 3] = [
        HeaderName::from_static(GRPC_STATUS),
        HeaderName::from_static("grpc-message"),
        HeaderName::from_static("grpc-status-details-bin"),
    ];
    let has_trailers = RpcProtocol::of_type(answer) == Some(RpcProtocol::Grpc);
    if has_trailers && !answer.contains_key(GRPC_STATUS) { &GRPC } else { &[] }
}

/// `text` without `prefix`, whatever its case.
fn strip<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// The status that an answer of one of these protocols carries itself, read while the answer's body passes.
#[derive(Debug)]
pub struct OwnStatus {
    protocol: RpcProtocol,
    frames: Option<Frames>,
    has_body: bool,
    /// Whether the answer can say that nothing was done: its head is one that the protocol's errors have.
    may_free: bool,
}

/// The end of a framed body.
struct FramedEnd {
    /// The content of the frame with the status, if there is a readable one.
    last: Option<Bytes>,
    /// Whether a frame with a message stands before it.
    has_message: bool,
}

/// A status in one of the places where it may stand: none there, or one that perhaps can't be read.
type StatusFound = Option<Option<u8>>;

impl OwnStatus {
    /// Finds an answer's protocol. None: the answer has none of these protocols, and its HTTP status counts.
    /// An answer that something in front of the service gave, such as a proxy's 503 in HTML, is not of the
    /// protocol that the client asked in.
    pub fn of(request: &HeaderMap, answer: &Parts) -> Option<Self> {
        let by_type = RpcProtocol::of_type(&answer.headers);
        let protocol = match by_type {
            Some(protocol) => protocol,
            // The content type says what is gRPC; if there is none, the request's does.
            None if answer.headers.contains_key(GRPC_STATUS)
                && !answer.headers.contains_key(CONTENT_TYPE)
                && RpcProtocol::of_type(request).is_some_and(RpcProtocol::is_grpc) =>
            {
                RpcProtocol::of_type(request)?
            }
            None if request.contains_key("connect-protocol-version") => match RpcProtocol::of_type(request) {
                Some(stream) if answer.status == 200 => stream,
                // No error of Connect has a status below 400, and no request of Connect has another type.
                None if is_unary(request) && (answer.status == 200 || answer.status.as_u16() >= 400) => {
                    RpcProtocol::ConnectUnary
                }
                _ => return None,
            },
            None if answer.status == 200 => RpcProtocol::of_type(request)?,
            None => return None,
        };
        let in_the_way = coding::is_coded(&answer.headers);
        let frames = protocol.mark().filter(|_| !in_the_way).map(|mark| Frames::new(mark, protocol));
        let is_foreign = by_type.is_none() && answer.headers.contains_key(CONTENT_TYPE);
        let is_other_success = answer.status.is_success() && answer.status != 200;
        let may_free = !is_other_success && (protocol == RpcProtocol::ConnectUnary || !is_foreign);
        Some(Self { protocol, frames, has_body: false, may_free })
    }

    /// Reads a piece of the body.
    pub fn take(&mut self, data: &[u8]) {
        self.has_body |= !data.is_empty();
        if let Some(frames) = &mut self.frames {
            frames.take(data);
        }
    }

    /// The meaning of the whole answer. An answer with a message is never *not applied*: the service did
    /// something. `body`: the body as it came; none if it was not kept. None: the answer is not of the
    /// protocol after all.
    pub fn judge(
        &self,
        head: &Parts,
        trailers: Option<&HeaderMap>,
        body: impl FnOnce() -> Option<Bytes>,
    ) -> Option<Disposition> {
        let (code, has_message) = match self.protocol {
            RpcProtocol::ConnectUnary if head.status == 200 => (Some(0), true),
            RpcProtocol::ConnectUnary => {
                let code = connect_code(&connect_error(head, &body()?)?.code);
                if code.is_some_and(|code| !has_status(code, head.status.as_u16())) {
                    return None;
                }
                (code, false)
            }
            RpcProtocol::ConnectStream => {
                let end = self.framed_end(head, body);
                (end.last.and_then(|frame| connect_end(&frame)), end.has_message)
            }
            RpcProtocol::Grpc => (self.grpc_code(head, trailers, None), self.has_body),
            RpcProtocol::GrpcWeb { .. } => {
                let end = self.framed_end(head, body);
                let framed = end.last.and_then(|frame| in_lines(&frame));
                (self.grpc_code(head, trailers, framed), end.has_message)
            }
        };
        Some(match Disposition::of_rpc(code) {
            Disposition::NotApplied if has_message || !self.may_free => Disposition::Unknown,
            meaning => meaning,
        })
    }

    /// The status that all places agree on. The head's status alone counts where there is no body.
    fn grpc_code(&self, head: &Parts, trailers: Option<&HeaderMap>, framed: StatusFound) -> Option<u8> {
        let behind = trailers.and_then(in_fields);
        if self.has_body && framed.is_none() && behind.is_none() {
            return None;
        }
        let mut found = [framed, behind, in_fields(&head.headers)].into_iter().flatten();
        let first = found.next()??;
        found.all(|other| other == Some(first)).then_some(first)
    }

    /// The end of a framed body, compression removed.
    fn framed_end(&self, head: &Parts, body: impl FnOnce() -> Option<Bytes>) -> FramedEnd {
        // A content coding hides the frames.
        let hidden = || {
            let body = body()?;
            let plain = coding::removed(&head.headers, &body, body.len().max(LAST_FRAME_MAX) * 8).ok()?;
            let mut frames = Frames::new(self.protocol.mark()?, self.protocol);
            frames.take(&plain);
            Some(frames)
        };
        let hidden = if self.frames.is_none() { hidden() } else { None };
        let frames = self.frames.as_ref().or(hidden.as_ref());
        let last = frames.and_then(|frames| self.plain_last(head, frames));
        FramedEnd { last, has_message: frames.is_none_or(|frames| frames.has_message) }
    }

    /// The content of the frame with the status, compression removed.
    fn plain_last(&self, head: &Parts, frames: &Frames) -> Option<Bytes> {
        let (compressed, frame) = frames.last()?;
        if !compressed {
            return Some(frame);
        }
        let field = if self.protocol == RpcProtocol::ConnectStream {
            "connect-content-encoding"
        } else {
            "grpc-encoding"
        };
        let coding = head.headers.get(field)?.to_str().ok()?;
        coding::decode(coding, &frame, LAST_FRAME_MAX).ok()
    }
}

/// The one status of several. Values that differ can't be read.
fn one_of(mut values: impl Iterator<Item = Option<u8>>) -> StatusFound {
    let first = values.next()?;
    Some(first.filter(|_| values.all(|other| other == first)))
}

/// The `grpc-status` in header fields or trailers.
fn in_fields(fields: &HeaderMap) -> StatusFound {
    one_of(fields.get_all(GRPC_STATUS).into_iter().map(|value| number(value.as_bytes())))
}

/// The `grpc-status` in the lines of a gRPC-Web trailer frame.
fn in_lines(frame: &[u8]) -> StatusFound {
    one_of(frame.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        line[..colon]
            .trim_ascii()
            .eq_ignore_ascii_case(GRPC_STATUS.as_bytes())
            .then(|| number(&line[colon + 1..]))
    }))
}

fn number(text: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// An error as Connect writes it. The code is the name of one of gRPC's codes.
#[derive(Deserialize)]
struct RpcError {
    code: String,
}

/// Whether a message has this content type, with or without parameters.
fn has_type(fields: &HeaderMap, own: &[u8]) -> bool {
    let value = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    strip(value, own).is_some_and(|rest| matches!(rest, [] | [b';' | b' ', ..]))
}

/// Whether a request has the type of one message of Connect.
fn is_unary(request: &HeaderMap) -> bool {
    has_type(request, b"application/json") || has_type(request, b"application/proto")
}

/// Whether Connect's errors with this code have this HTTP status. The second is that of its first versions.
fn has_status(code: u8, status: u16) -> bool {
    let statuses: &[u16] = match code {
        1 => &[499, 408],
        2 | 13 | 15 => &[500],
        3 | 11 => &[400],
        4 => &[504, 408],
        5 => &[404],
        6 | 10 => &[409],
        7 => &[403],
        8 => &[429],
        9 => &[400, 412],
        12 => &[501, 404],
        14 => &[503],
        16 => &[401],
        _ => &[],
    };
    statuses.contains(&status)
}

/// The error of a Connect answer with another status than 200. None: the answer is no Connect error.
fn connect_error(head: &Parts, body: &Bytes) -> Option<RpcError> {
    if !has_type(&head.headers, b"application/json") {
        return None;
    }
    let plain = coding::removed(&head.headers, body, LAST_FRAME_MAX).ok()?;
    serde_json::from_slice(&plain).ok()
}

/// The status at the end of a Connect stream: an end without an error is a success. None: the end can't be
/// read, or its code is none of gRPC's names.
fn connect_end(frame: &[u8]) -> Option<u8> {
    #[derive(Deserialize)]
    struct StreamEnd {
        error: Option<RpcError>,
    }
    let end: StreamEnd = serde_json::from_slice(frame).ok()?;
    end.error.map_or(Some(0), |error| connect_code(&error.code))
}

/// The number of a gRPC code by its name in Connect.
fn connect_code(name: &str) -> Option<u8> {
    const NAMES: [&str; 16] = [
        "canceled",
        "unknown",
        "invalid_argument",
        "deadline_exceeded",
        "not_found",
        "already_exists",
        "permission_denied",
        "resource_exhausted",
        "failed_precondition",
        "aborted",
        "out_of_range",
        "unimplemented",
        "internal",
        "unavailable",
        "data_loss",
        "unauthenticated",
    ];
    (1..).zip(NAMES).find_map(|(code, own)| (own == name).then_some(code))
}

/// Frames, read as they pass. A frame has a flag byte, four bytes of length, and that many bytes of content.
#[derive(Debug)]
struct Frames {
    mark: u8,
    text: Option<Base64>,
    start: [u8; 5],
    /// The bytes of `start` that have arrived.
    begun: usize,
    /// The bytes of the content that are still to come.
    left: usize,
    /// The content of the marked frame.
    last: Vec<u8>,
    has_message: bool,
    broken: bool,
}

impl Frames {
    fn new(mark: u8, protocol: RpcProtocol) -> Self {
        let text = (protocol == RpcProtocol::GrpcWeb { text: true }).then(Base64::default);
        Self {
            mark,
            text,
            start: [0; 5],
            begun: 0,
            left: 0,
            last: Vec::new(),
            has_message: false,
            broken: false,
        }
    }

    fn is_last(&self) -> bool {
        self.begun == self.start.len() && self.start[0] & self.mark != 0
    }

    fn take(&mut self, data: &[u8]) {
        match self.text.take() {
            None => self.look_through(data),
            Some(mut text) => {
                match text.decode(data) {
                    Some(plain) => self.look_through(&plain),
                    None => self.broken = true,
                }
                self.text = Some(text);
            }
        }
    }

    fn look_through(&mut self, mut data: &[u8]) {
        while !data.is_empty() && !self.broken {
            if self.begun == self.start.len() && self.left == 0 {
                // Nothing follows the frame with the status.
                self.broken = self.is_last();
                self.begun = 0;
            }
            if self.begun < self.start.len() {
                let n = data.len().min(self.start.len() - self.begun);
                self.start[self.begun..self.begun + n].copy_from_slice(&data[..n]);
                self.begun += n;
                data = &data[n..];
                if self.begun == self.start.len() {
                    let [_, length @ ..] = self.start;
                    self.left = u32::from_be_bytes(length) as usize;
                    self.broken |= self.is_last() && self.left > LAST_FRAME_MAX;
                    self.has_message |= !self.is_last();
                }
                continue;
            }
            let n = data.len().min(self.left);
            if self.is_last() {
                self.last.extend_from_slice(&data[..n]);
            }
            self.left -= n;
            data = &data[n..];
        }
    }

    /// The content of the frame with the status, and whether the content is compressed. None: there is no
    /// such frame, or the frame is incomplete or not the last one.
    fn last(&self) -> Option<(bool, Bytes)> {
        let ends_here = self.text.as_ref().is_none_or(Base64::is_at_border);
        (self.is_last() && self.left == 0 && !self.broken && ends_here)
            .then(|| (self.start[0] & 1 != 0, Bytes::copy_from_slice(&self.last)))
    }
}

/// Base64 in pieces, each of which may be padded: senders of gRPC-Web text encode piece by piece.
#[derive(Debug, Default)]
struct Base64 {
    four: [u8; 4],
    have: usize,
}

impl Base64 {
    fn decode(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Vec::with_capacity(data.len() / 4 * 3 + 3);
        for byte in data.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            self.four[self.have] = *byte;
            self.have += 1;
            if self.have == self.four.len() {
                let mut three = [0; 3];
                let n = STANDARD.decode_slice(self.four, &mut three).ok()?;
                plain.extend_from_slice(&three[..n]);
                self.have = 0;
            }
        }
        Some(plain)
    }

    fn is_at_border(&self) -> bool {
        self.have == 0
    }
}

#[cfg(test)]
#[path = "rpc_tests.rs"]
mod tests;
