//! Follows the bytes of a connection from head to body to head, as RFC 9112 frames them, and so knows which
//! bytes are a head's. hyper reads the requests; the follower knows what hyper does not tell.

use memchr::memchr;

/// The bytes of a line that are looked at. The fields that say where a body ends fit in.
const LINE_MAX: usize = 128;

/// A fault of a request's head that hyper does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadFault {
    /// The head says in two ways where its body ends, of which hyper takes one and forgets the other.
    Framing,
    /// The target has a fragment, which hyper cuts off (RFC 9112 §3.2 knows none).
    Fragment,
}

/// The place of the next byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BytePlace {
    /// In a start line, or in empty lines before it.
    Start,
    /// In the fields of a head.
    Fields,
    /// In a body with a length, so many bytes before its end.
    Body(u64),
    /// In the line that says the size of a chunk.
    ChunkSize,
    /// In a chunk, so many bytes before the end of the line that ends it.
    Chunk(u64),
    /// In the trailers.
    Trailers,
}

/// A follower of one connection.
#[derive(Debug)]
pub(super) struct Follower {
    place: BytePlace,
    /// The beginning of the present line.
    line: Vec<u8>,
    length: Option<u64>,
    is_coded: bool,
    /// The present line is longer than what is kept of it.
    is_cut: bool,
    /// A target has begun in the present start line.
    is_in_target: bool,
    /// The present head says where its body ends in a line that is longer than what is kept of it.
    is_unclear: bool,
    heads: u64,
    /// The number of the first head that can be read in two ways.
    ambiguous: Option<u64>,
    /// The number of the first head whose target has a fragment.
    fragment: Option<u64>,
}

impl Follower {
    pub(super) fn new() -> Self {
        Self {
            place: BytePlace::Start,
            line: Vec::new(),
            length: None,
            is_coded: false,
            is_cut: false,
            is_in_target: false,
            is_unclear: false,
            heads: 0,
            ambiguous: None,
            fragment: None,
        }
    }

    /// The heads that have come whole.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// The number of the first head that says in two ways where its body ends, if one did: with both
    /// `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.1). hyper takes the latter and forgets the former.
    /// That is safe, but hides that two parties may read the head differently.
    pub(super) fn ambiguous(&self) -> Option<u64> {
        self.ambiguous
    }

    /// The number of the first head whose target has a fragment, if one has.
    pub(super) fn fragment(&self) -> Option<u64> {
        self.fragment
    }

    /// Whether a head has begun that has not ended.
    pub(super) fn is_in_head(&self) -> bool {
        self.place == BytePlace::Fields || (self.place == BytePlace::Start && !self.line.is_empty())
    }

    /// Whether all requests that began have come whole.
    pub(super) fn is_between(&self) -> bool {
        self.place == BytePlace::Start && self.line.is_empty()
    }

    /// Follows the bytes that come next.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match &mut self.place {
                BytePlace::Body(left) | BytePlace::Chunk(left) => {
                    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= skipped as u64;
                    if *left == 0 {
                        self.place = if let BytePlace::Body(_) = self.place {
                            BytePlace::Start
                        } else {
                            BytePlace::ChunkSize
                        };
                    }
                    &bytes[skipped..]
                }
                BytePlace::Start | BytePlace::Fields | BytePlace::ChunkSize | BytePlace::Trailers => {
                    self.line(bytes)
                }
            };
        }
    }

    /// Takes the rest of a line, and returns what comes behind it.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = memchr(b'\n', bytes);
        let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        if self.place == BytePlace::Start {
            self.start_line(line);
        }
        if end.is_some() && self.line.is_empty() {
            // The line came in one piece, as nearly all do.
            self.end_line(line[..line.len().min(LINE_MAX)].trim_ascii_end(), line.len() > LINE_MAX);
            return rest;
        }
        let room = LINE_MAX - self.line.len();
        self.is_cut |= line.len() > room;
        self.line.extend_from_slice(&line[..line.len().min(room)]);
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            let is_cut = std::mem::take(&mut self.is_cut);
            self.end_line(line.trim_ascii_end(), is_cut);
            self.line = line;
            self.line.clear();
        }
        rest
    }

    /// Looks for a fragment in a piece of a start line. A method may have the character, and be longer than what is
    /// kept of the line.
    fn start_line(&mut self, piece: &[u8]) {
        let target = if self.is_in_target { Some(0) } else { memchr(b' ', piece) };
        if target.is_some_and(|begin| memchr(b'#', &piece[begin..]).is_some()) {
            self.fragment.get_or_insert(self.heads);
        }
        self.is_in_target = target.is_some() && !piece.ends_with(b"\n");
    }

    /// `is_cut`: the line was longer.
    fn end_line(&mut self, line: &[u8], is_cut: bool) {
        self.place = match (self.place, line) {
            (BytePlace::Start | BytePlace::Trailers, []) => BytePlace::Start,
            (BytePlace::Start, _) => BytePlace::Fields,
            (BytePlace::Fields, []) => self.end_head(),
            (BytePlace::Fields, _) => {
                self.field(line, is_cut);
                BytePlace::Fields
            }
            (BytePlace::ChunkSize, size) => match chunk_size(size, is_cut) {
                Some(0) => BytePlace::Trailers,
                Some(size) => BytePlace::Chunk(size.saturating_add(2)),
                None => {
                    // Where the next head begins is not known.
                    self.ambiguous.get_or_insert(self.heads);
                    BytePlace::Start
                }
            },
            (place, _) => place,
        };
    }

    fn end_head(&mut self) -> BytePlace {
        let length = self.length.take();
        let is_coded = std::mem::take(&mut self.is_coded);
        if (is_coded && length.is_some()) || std::mem::take(&mut self.is_unclear) {
            self.ambiguous.get_or_insert(self.heads);
        }
        self.heads += 1;
        match length {
            _ if is_coded => BytePlace::ChunkSize,
            Some(length) if length > 0 => BytePlace::Body(length),
            _ => BytePlace::Start,
        }
    }

    fn field(&mut self, line: &[u8], is_cut: bool) {
        // The first letters of the two names that count.
        if !matches!(line.first(), Some(b'T' | b't' | b'C' | b'c')) {
            return;
        }
        let Some(colon) = memchr(b':', line) else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_coded = true;
            self.is_unclear |= is_cut;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.is_unclear |= is_cut;
            // hyper refuses what is no number.
            self.length = Some(std::str::from_utf8(value).ok().and_then(|n| n.parse().ok()).unwrap_or(0));
        }
    }
}

/// The size that the line of a chunk says. hyper refuses what is no size. `is_cut`: the line was longer, so that it
/// says no size unless something stands behind the digits.
fn chunk_size(line: &[u8], is_cut: bool) -> Option<u64> {
    let is_end = |byte: &u8| matches!(byte, b';' | b' ' | b'\t');
    let digits = line.split(is_end).next()?;
    if is_cut && digits.len() == line.len() {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nb";

    /// The number of heads, and the first ambiguous one, however the bytes are cut.
    fn heads(text: &str) -> (u64, Option<u64>) {
        let followed = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut follower = Follower::new();
            pieces.for_each(|piece| follower.follow(piece));
            (follower.heads(), follower.ambiguous(), follower.is_between(), follower.is_in_head())
        };
        let whole = followed(&mut std::iter::once(text.as_bytes()));
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(followed(&mut text.as_bytes().chunks(size)), whole, "{text:?} in pieces of {size}");
        }
        assert_eq!((whole.2, whole.3), (true, false), "{text:?} ends between two requests");
        (whole.0, whole.1)
    }

    #[test]
    fn only_heads_are_taken_for_heads() {
        let get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        let sized = format!("POST /a HTTP/1.1\r\ncontent-LENGTH:  {}\r\n\r\n{BODY}", BODY.len());
        let chunked = format!(
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x};ext=1\r\n{BODY}\r\n0\r\nContent-Length: 1\r\n\r\n",
            BODY.len()
        );
        let both = "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n";
        let empty = "\r\n\nPOST /a HTTP/1.1\nContent-Length: 0\n\n";
        assert_eq!(heads(get), (1, None));
        assert_eq!(heads(&sized), (1, None));
        assert_eq!(heads(&chunked), (1, None));
        assert_eq!(heads(empty), (1, None));
        assert_eq!(heads(both), (1, Some(0)));
        assert_eq!(heads(&[&sized, get, &chunked, empty, get].concat()), (5, None));
        assert_eq!(heads(&[&chunked, &sized, get, both].concat()), (4, Some(3)));
        let alike = "GET /a HTTP/1.1\r\nContent-Length-Of: 3\r\nTransfer-Encodings: chunked\r\n\r\n";
        assert_eq!(heads(alike), (1, None));
    }

    #[test]
    fn what_is_too_long_to_be_looked_at_is_ambiguous() {
        let (zeros, blanks) = ("0".repeat(130), " ".repeat(130));
        let sized = format!("POST /a HTTP/1.1\r\nContent-Length:{blanks}5\r\n\r\n");
        let coded = format!("POST /a HTTP/1.1\r\nTransfer-Encoding:{blanks}chunked\r\n\r\n0\r\n\r\n");
        let mut follower = Follower::new();
        for text in [&sized, &coded] {
            let mut follower = Follower::new();
            follower.follow(text.as_bytes());
            assert_eq!(follower.ambiguous(), Some(0), "{text}");
        }
        let chunked = format!("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{zeros}5\r\n");
        follower.follow(chunked.as_bytes());
        assert_eq!(follower.ambiguous(), Some(1), "the next head");
        let extended = format!(
            "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a={zeros}\r\nhello\r\n0\r\n\r\n"
        );
        assert_eq!(heads(&extended), (1, None));
    }

    #[test]
    fn a_fragment_is_a_targets_alone() {
        let get = "GET /a?b HTTP/1.1\r\nHost: a#b\r\n\r\n";
        let long = format!("GET /{}#b HTTP/1.1\r\n\r\n", "a".repeat(300));
        let slow = format!("{} /a#frag HTTP/1.1\r\n\r\n", "M".repeat(300));
        for (text, fragment) in [
            (get, None),
            ("GE#T /a HTTP/1.1\r\nX-A: /b#c\r\n\r\n", None),
            ("POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nG /#", None),
            ("GET /a#b HTTP/1.1\r\n\r\n", Some(0)),
            ("\r\nGET #b HTTP/1.1\r\n\r\n", Some(0)),
            ("GET http://a.example/?b=c#d HTTP/1.1\r\n\r\n", Some(0)),
            (&long, Some(0)),
            (&slow, Some(0)),
            (&slow.replace("#frag", "#frag#"), Some(0)),
            (&slow.replace("#frag", ""), None),
            ("GE#T /a#b HTTP/1.1\r\n\r\n", Some(0)),
            (&[get, get, "OPTIONS *# HTTP/1.1\r\n\r\n", get].concat(), Some(2)),
        ] {
            for size in [1, 3, 7, 303, text.len()] {
                let mut follower = Follower::new();
                text.as_bytes().chunks(size).for_each(|piece| follower.follow(piece));
                assert_eq!(follower.fragment(), fragment, "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_head_lasts_from_its_first_byte_to_its_empty_line() {
        let mut follower = Follower::new();
        for (piece, is_in_head) in [
            ("\r\n", false),
            ("G", true),
            ("ET / HTTP/1.1\r\n", true),
            ("Host: a\r\n\r", true),
            ("\n", false),
        ] {
            follower.follow(piece.as_bytes());
            assert_eq!(follower.is_in_head(), is_in_head, "{piece:?}");
        }
    }
}
