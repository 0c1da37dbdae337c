//! The tree of a document, and its canonical form.

use crate::interface::Found;
use crate::interface::v0_1::Shape;
use crate::view::until::{Late, Until};
use std::cmp::Ordering;
use std::ops::Range;

/// A body as a tree of values.
#[derive(Debug)]
pub struct Document {
    pub(super) format: DocumentFormat,
    pub(super) nodes: Vec<Node>,
    /// Strings without escapes and numbers in canonical form.
    pub(super) text: String,
    /// For each object in turn the nodes of its names, sorted as RFC 8785 wants them.
    pub(super) names: Vec<u32>,
}

/// How a document was written. Services read a form otherwise than JSON, so equal values don't make them equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentFormat {
    /// JSON.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`.
    Multipart,
}

/// A name of an object, which is followed by its value; or a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Span),
    Text(Span),
    /// An array reaches up to the node `end`.
    Array {
        end: u32,
    },
    /// An object reaches up to the node `end`; it has `count` names from `first` on.
    Object {
        end: u32,
        first: u32,
        count: u32,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Document {
    /// How the document was written.
    pub fn format(&self) -> DocumentFormat {
        self.format
    }

    /// The value at each pointer (RFC 6901). A text that is no pointer points nowhere.
    pub fn select(&self, pointers: &[String], until: Until) -> Result<Vec<Found>, Late> {
        let found = |pointer: &String| {
            until.look()?;
            Ok(self.find(pointer).map_or(Found::Nothing, |at| self.found(at)))
        };
        pointers.iter().map(found).collect()
    }

    /// The places that count, in canonical form. The bytes are equal, under one shape, if and only if these
    /// places hold equal values. In an array that isn't written whole each element stands behind its index.
    /// If no place holds a value there are no bytes.
    pub fn canonical(&self, shape: &Shape) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + 4 * self.nodes.len());
        let dropped = ShapeMarks::of(self, &shape.drop);
        if shape.keep.is_empty() {
            if !dropped.contains(0) {
                self.write_shaped(0, None, &dropped, &mut out);
            }
            return out;
        }
        let mut kept = ShapeMarks::of(self, &shape.keep);
        kept.0.retain(|at| !dropped.0.iter().any(|above| self.subtree(*above).contains(at)));
        if kept.meet(&self.subtree(0)) {
            self.write_shaped(0, Some(&kept), &dropped, &mut out);
        }
        out
    }

    fn found(&self, at: u32) -> Found {
        match self.nodes[at as usize] {
            Node::Text(span) => Found::Text(self.str(span).into()),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Array { .. } | Node::Object { .. } => {
                let mut out = Vec::new();
                self.write(at, &mut out);
                Found::Json(String::from_utf8(out).expect("only whole strings and ASCII are written"))
            }
        }
    }

    fn find(&self, pointer: &str) -> Option<u32> {
        if !valid_pointer(pointer) {
            return None;
        }
        pointer.split('/').skip(1).try_fold(0, |at, token| match self.nodes[at as usize] {
            Node::Object { .. } => self.member(at, token),
            Node::Array { .. } => self.elements(at).nth(index(token)?),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => None,
        })
    }

    fn member(&self, object: u32, token: &str) -> Option<u32> {
        let unescaped;
        let name = if token.contains('~') {
            unescaped = token.replace("~1", "/").replace("~0", "~");
            &unescaped
        } else {
            token
        };
        let names = self.names_of(object);
        let at = names.binary_search_by(|node| in_utf16_order(self.name(*node), name)).ok()?;
        Some(names[at] + 1)
    }

    fn elements(&self, array: u32) -> impl Iterator<Item = u32> {
        let end = self.subtree(array).end;
        let mut next = array + 1;
        std::iter::from_fn(move || {
            let at = next;
            (at < end).then(|| {
                next = self.subtree(at).end;
                at
            })
        })
    }

    /// The range of the node and all nodes below it.
    fn subtree(&self, at: u32) -> Range<u32> {
        let end = match self.nodes[at as usize] {
            Node::Array { end } | Node::Object { end, .. } => end,
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => at + 1,
        };
        at..end
    }

    /// The nodes of an object's names, sorted; the value of each is the node after it.
    fn names_of(&self, object: u32) -> &[u32] {
        match self.nodes[object as usize] {
            Node::Object { first, count, .. } => &self.names[first as usize..(first + count) as usize],
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Array { .. } => &[],
        }
    }

    fn name(&self, node: u32) -> &str {
        match self.nodes[node as usize] {
            Node::Text(span) => self.str(span),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Array { .. } | Node::Object { .. } => "",
        }
    }

    fn str(&self, span: Span) -> &str {
        &self.text[span.start as usize..span.end as usize]
    }

    /// Writes the node and all nodes below it. The recursion is as deep as the document: bounded.
    fn write(&self, at: u32, out: &mut Vec<u8>) {
        match self.nodes[at as usize] {
            Node::Null => out.extend_from_slice(b"null"),
            Node::Bool(true) => out.extend_from_slice(b"true"),
            Node::Bool(false) => out.extend_from_slice(b"false"),
            Node::Number(span) => out.extend_from_slice(self.str(span).as_bytes()),
            Node::Text(span) => write_string(self.str(span), out),
            Node::Array { .. } => {
                out.push(b'[');
                for (position, element) in self.elements(at).enumerate() {
                    separate(position == 0, out);
                    self.write(element, out);
                }
                out.push(b']');
            }
            Node::Object { .. } => {
                out.push(b'{');
                for (position, name) in self.names_of(at).iter().enumerate() {
                    separate(position == 0, out);
                    write_string(self.name(*name), out);
                    out.push(b':');
                    self.write(name + 1, out);
                }
                out.push(b'}');
            }
        }
    }

    /// Writes as [`Self::write`] does, but leaves out dropped nodes and, with `kept`, nodes that lead to no
    /// kept node. The node itself is not one of these.
    fn write_shaped(&self, at: u32, kept: Option<&ShapeMarks>, dropped: &ShapeMarks, out: &mut Vec<u8>) {
        let kept = kept.filter(|kept| !kept.contains(at));
        let below = self.subtree(at);
        if kept.is_none() && !dropped.meet(&below) {
            return self.write(at, out);
        }
        let counts =
            |node: u32| !dropped.contains(node) && kept.is_none_or(|kept| kept.meet(&self.subtree(node)));
        let mut first = true;
        match self.nodes[at as usize] {
            Node::Array { .. } => {
                let sparse = kept.is_some() || self.elements(at).any(|element| dropped.contains(element));
                out.push(b'[');
                for (index, element) in self.elements(at).enumerate().filter(|(_, element)| counts(*element))
                {
                    separate(first, out);
                    first = false;
                    if sparse {
                        out.extend_from_slice(index.to_string().as_bytes());
                        out.push(b':');
                    }
                    self.write_shaped(element, kept, dropped, out);
                }
                out.push(b']');
            }
            Node::Object { .. } => {
                out.push(b'{');
                for name in self.names_of(at).iter().filter(|name| counts(*name + 1)) {
                    separate(first, out);
                    first = false;
                    write_string(self.name(*name), out);
                    out.push(b':');
                    self.write_shaped(name + 1, kept, dropped, out);
                }
                out.push(b'}');
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => self.write(at, out),
        }
    }
}

/// True if a text is a JSON pointer (RFC 6901).
pub(crate) fn valid_pointer(text: &str) -> bool {
    (text.is_empty() || text.starts_with('/'))
        && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

/// The nodes that pointers of a shape point to, in order.
struct ShapeMarks(Vec<u32>);

impl ShapeMarks {
    fn of(document: &Document, pointers: &[String]) -> Self {
        let mut nodes: Vec<u32> = pointers.iter().filter_map(|pointer| document.find(pointer)).collect();
        nodes.sort_unstable();
        Self(nodes)
    }

    fn contains(&self, node: u32) -> bool {
        self.0.binary_search(&node).is_ok()
    }

    /// True if one of the marks is among `nodes`.
    fn meet(&self, nodes: &Range<u32>) -> bool {
        let at = self.0.partition_point(|mark| *mark < nodes.start);
        self.0.get(at).is_some_and(|mark| *mark < nodes.end)
    }
}

/// An index by RFC 6901 §4: digits without leading zeros. "-" is the element after the last: nowhere.
fn index(token: &str) -> Option<usize> {
    let plain = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    token.parse().ok().filter(|_| plain)
}

/// The order of RFC 8785: by UTF-16 code units. The order of UTF-8's bytes is the same, except that
/// surrogates, which stand for characters of four bytes, come before U+E000 and the characters after it.
pub(super) fn in_utf16_order(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if matches!(byte, 0xEE | 0xEF) { byte + 0x10 } else { byte };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}

fn separate(first: bool, out: &mut Vec<u8>) {
    if !first {
        out.push(b',');
    }
}

/// Writes a string as JSON.stringify of ECMAScript does.
fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0C => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
