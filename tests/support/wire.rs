//! HTTP/1.1 as bytes on a socket, read without mercy or repair and reported as it came. Client and upstream
//! read with this module, which knows nothing of the gateway.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a test waits for a peer. The bound is for failures only: no test waits for it to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Fields in order: names in lower case, values as they came.
pub(crate) type Fields = Vec<(String, String)>;

/// A connection, and the bytes that have been read from it but not yet used.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// A start line and its fields.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Fields,
}

/// A body, and whether it came to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Fields,
    pub(crate) whole: bool,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads on until `needle` has come. All bytes remain to be used.
    pub(crate) fn await_bytes(&mut self, needle: &[u8]) -> io::Result<()> {
        while find(&self.buffer, needle).is_none() {
            self.fill()?;
        }
        Ok(())
    }

    /// Reads on until more than `bytes` bytes wait to be used.
    pub(crate) fn await_more(&mut self, bytes: usize) -> io::Result<()> {
        while self.buffer.len() <= bytes {
            self.fill()?;
        }
        Ok(())
    }

    /// How many bytes have been read and not used.
    pub(crate) fn unread(&self) -> usize {
        self.buffer.len()
    }

    /// Reads on until the peer ends, in whatever way.
    pub(crate) fn await_end(&mut self) {
        while self.fill().is_ok() {}
    }

    /// The next head. A peer that ends before its head does is an error.
    pub(crate) fn head(&mut self) -> io::Result<Head> {
        self.await_bytes(b"\r\n\r\n")?;
        let end = find(&self.buffer, b"\r\n\r\n").expect("it was awaited");
        let text = latin(&self.buffer[..end]);
        self.buffer.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        Ok(Head { start, fields: lines.map(field).collect() })
    }

    /// The body that `fields` announce. If they announce none, the body is empty, or with `to_end` lasts to
    /// the connection's end.
    pub(crate) fn body(&mut self, fields: &Fields, to_end: bool) -> Body {
        let mut body = Body::default();
        let read = if chunked(fields) {
            self.chunks(&mut body)
        } else if let Some(length) = first(fields, "content-length").and_then(|n| n.parse().ok()) {
            self.sized(length, &mut body.bytes)
        } else if to_end {
            self.rest(&mut body.bytes)
        } else {
            Ok(())
        };
        body.whole = read.is_ok();
        body
    }

    fn sized(&mut self, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let mut left = length;
        loop {
            let n = left.min(self.buffer.len());
            into.extend(self.buffer.drain(..n));
            left -= n;
            if left == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn chunks(&mut self, body: &mut Body) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| io::Error::other(format!("{line:?} is no size of a chunk")))?;
            if size == 0 {
                break;
            }
            self.sized(size, &mut body.bytes)?;
            if !self.line()?.is_empty() {
                return Err(io::Error::other("a chunk longer than it said"));
            }
        }
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(());
            }
            body.trailers.push(field(&line));
        }
    }

    fn rest(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        loop {
            into.append(&mut self.buffer);
            match self.fill() {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        self.await_bytes(b"\r\n")?;
        let end = find(&self.buffer, b"\r\n").expect("it was awaited");
        let line = latin(&self.buffer[..end]);
        self.buffer.drain(..end + 2);
        Ok(line)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 << 10];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.buffer.extend_from_slice(&piece[..n]);
                Ok(())
            }
        }
    }
}

/// The first value of a field.
pub(crate) fn first<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

/// All values of a field, in order.
pub(crate) fn all<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
}

fn chunked(fields: &Fields) -> bool {
    first(fields, "transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"))
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
}

/// Every byte as the character with that number, so that nothing is lost.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|b| char::from(*b)).collect()
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
