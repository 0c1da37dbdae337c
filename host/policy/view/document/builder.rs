//! A document while it is built.

use super::fault::DocumentFault;
use super::number;
use super::tree::{Document, DocumentFormat, Node, Span, in_utf16_order};
use crate::view::until::Until;
use std::borrow::Cow;

/// The greatest depth: a deeper document is malformed, because a reader may use a recursive parser.
const DEEPEST: usize = 128;
/// The most names and values of a document: one with more is malformed, because a small body can have millions.
const NODES_MAX: usize = 1_000_000;
/// The most fields of a form.
pub(super) const FIELDS_MAX: usize = 10_000;
/// After so many names and values the clock is looked at.
const LOOK_EVERY: usize = 1 << 12;

/// A document while it is built.
pub(super) struct Builder {
    nodes: Vec<Node>,
    text: String,
    names: Vec<u32>,
    /// The containers that are open, outermost first.
    open: Vec<u32>,
    /// Room to work in.
    scratch: Vec<u32>,
    digits: String,
    until: Until,
}

impl Builder {
    pub(super) fn for_body(bytes: usize, until: Until) -> Self {
        Self {
            // Hardly a value takes less than eight bytes. If one does, the buffer grows.
            nodes: Vec::with_capacity((bytes / 8 + 1).min(NODES_MAX)),
            text: String::with_capacity(bytes),
            names: Vec::new(),
            open: Vec::new(),
            scratch: Vec::new(),
            digits: String::new(),
            until,
        }
    }

    /// A name, or a value that is a text.
    pub(super) fn text(&mut self, text: &str) -> Result<(), DocumentFault> {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        self.push(Node::Text(Span { start, end: self.text.len() as u32 }))
    }

    /// Any node, whose text is there already.
    pub(super) fn push(&mut self, node: Node) -> Result<(), DocumentFault> {
        if self.nodes.len() == NODES_MAX {
            return Err(format!("more than {NODES_MAX} names and values").into());
        }
        if self.nodes.len().is_multiple_of(LOOK_EVERY) {
            self.until.look()?;
        }
        self.nodes.push(node);
        Ok(())
    }

    pub(super) fn number(&mut self, number: &str) -> Result<(), DocumentFault> {
        let start = self.text.len() as u32;
        number::write(number, &mut self.digits, &mut self.text)?;
        self.push(Node::Number(Span { start, end: self.text.len() as u32 }))
    }

    pub(super) fn open(&mut self, container: Node) -> Result<(), DocumentFault> {
        if self.open.len() == DEEPEST {
            return Err(format!("nested deeper than {DEEPEST}").into());
        }
        self.open.push(self.nodes.len() as u32);
        self.push(container)
    }

    pub(super) fn close_array(&mut self) {
        let end = self.nodes.len() as u32;
        if let Some(at) = self.open.pop() {
            self.nodes[at as usize] = Node::Array { end };
        }
    }

    pub(super) fn close_object(&mut self) -> Result<(), DocumentFault> {
        let Some(at) = self.open.pop() else { return Ok(()) };
        let end = self.nodes.len() as u32;
        let mut names = std::mem::take(&mut self.scratch);
        names.clear();
        let mut name = at + 1;
        while name < end {
            names.push(name);
            name = match self.nodes[name as usize + 1] {
                Node::Array { end } | Node::Object { end, .. } => end,
                Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => name + 2,
            };
        }
        names.sort_unstable_by(|a, b| in_utf16_order(self.name(*a), self.name(*b)));
        if let Some(twice) = names.windows(2).find(|pair| self.name(pair[0]) == self.name(pair[1])) {
            let shown: String = self.name(twice[0]).chars().take(80).collect();
            return Err(format!("the name {shown:?} comes twice in {}", self.place(at)).into());
        }
        let first = self.names.len() as u32;
        self.names.extend_from_slice(&names);
        self.nodes[at as usize] = Node::Object { end, first, count: names.len() as u32 };
        self.scratch = names;
        Ok(())
    }

    /// A form as an object: the value of a name that repeats is an array, in the order of arrival.
    pub(super) fn fields<T>(
        &mut self,
        mut fields: Vec<(Cow<'_, str>, T)>,
        mut value: impl FnMut(&mut Self, T) -> Result<(), DocumentFault>,
    ) -> Result<(), DocumentFault> {
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.open(Node::Object { end: 0, first: 0, count: 0 })?;
        let mut fields = fields.into_iter().peekable();
        while let Some((name, first)) = fields.next() {
            self.text(&name)?;
            if fields.peek().is_none_or(|(next, _)| *next != name) {
                value(self, first)?;
                continue;
            }
            self.open(Node::Array { end: 0 })?;
            value(self, first)?;
            while let Some((_, more)) = fields.next_if(|(next, _)| *next == name) {
                value(self, more)?;
            }
            self.close_array();
        }
        self.close_object()
    }

    fn name(&self, node: u32) -> &str {
        match self.nodes[node as usize] {
            Node::Text(span) => &self.text[span.start as usize..span.end as usize],
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Array { .. } | Node::Object { .. } => "",
        }
    }

    /// The place of an object: the name before it, if there is one.
    fn place(&self, object: u32) -> String {
        match self.open.last().map(|parent| self.nodes[*parent as usize]) {
            None => "the outermost object".into(),
            Some(Node::Object { .. }) => {
                let shown: String = self.name(object - 1).chars().take(80).collect();
                format!("the object {shown:?}")
            }
            Some(Node::Array { .. } | Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_)) => {
                format!("an object of an array, at depth {}", self.open.len())
            }
        }
    }

    pub(super) fn finish(self, format: DocumentFormat) -> Document {
        Document { format, nodes: self.nodes, text: self.text, names: self.names }
    }
}
