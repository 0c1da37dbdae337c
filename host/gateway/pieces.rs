//! The pieces of a body that is collected. A piece is a part of the buffer that it was read into, and keeps the whole
//! buffer in memory. So what counts is the room of the buffers, and small pieces are copied together.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// The size of a buffer, and the size from which on a piece is not copied.
pub const BLOCK: usize = 8 << 10;

/// The pieces of a body, in order.
#[derive(Debug, Default)]
pub struct Pieces {
    bytes: usize,
    held: usize,
    /// Most bodies are one piece, which is not copied.
    first: Bytes,
    more: VecDeque<Bytes>,
    /// The small pieces behind all others.
    tail: BytesMut,
}

impl Pieces {
    /// The bytes of all pieces.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes that the pieces hold in memory.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Adds a piece.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let is_first = self.bytes == 0;
        self.bytes += piece.len();
        if is_first {
            self.held = room(&piece);
            self.first = piece;
        } else if piece.len() >= BLOCK {
            self.seal();
            self.held += room(&piece);
            self.more.push_back(piece);
        } else {
            if self.tail.capacity() - self.tail.len() < piece.len() {
                self.seal();
                self.tail = BytesMut::with_capacity(BLOCK);
                self.held += BLOCK;
            }
            self.tail.extend_from_slice(&piece);
        }
    }

    /// Takes the first piece out.
    pub fn pop(&mut self) -> Option<Bytes> {
        let piece = match std::mem::take(&mut self.first) {
            first if !first.is_empty() => first,
            _ => match self.more.pop_front() {
                Some(piece) => piece,
                None => std::mem::take(&mut self.tail).freeze(),
            },
        };
        self.bytes -= piece.len();
        self.held -= room(&piece);
        (!piece.is_empty()).then_some(piece)
    }

    /// Takes all pieces out but the last.
    #[must_use]
    pub fn all_but_the_last(&mut self) -> Self {
        self.seal();
        let last = match self.more.pop_back() {
            Some(last) => last,
            None => std::mem::take(&mut self.first),
        };
        let mut rest = std::mem::take(self);
        rest.bytes -= last.len();
        rest.held -= room(&last);
        self.push(last);
        rest
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.more.push_back(std::mem::take(&mut self.tail).freeze());
        }
    }

    /// The whole body. A body of one piece is not copied.
    pub fn join(mut self) -> Bytes {
        if self.bytes == self.first.len() {
            return self.first;
        }
        let mut whole = Vec::with_capacity(self.bytes);
        while let Some(piece) = self.pop() {
            whole.extend_from_slice(&piece);
        }
        whole.into()
    }

    /// A copy of the whole body, in an allocation of exactly its size.
    pub fn copied(&self) -> Bytes {
        let mut whole = BytesMut::with_capacity(self.bytes);
        whole.extend_from_slice(&self.first);
        self.more.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.extend_from_slice(&self.tail);
        whole.freeze()
    }
}

/// The room of the buffers that a piece is taken to hold.
fn room(piece: &Bytes) -> usize {
    piece.len().next_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of these sizes, and their bytes in one.
    fn of(sizes: &[usize]) -> (Pieces, Vec<u8>) {
        let (mut pieces, mut whole) = (Pieces::default(), Vec::new());
        for (number, size) in sizes.iter().enumerate() {
            let piece = vec![u8::try_from(number % 251).unwrap_or_default(); *size];
            whole.extend_from_slice(&piece);
            pieces.push(piece.into());
        }
        (pieces, whole)
    }

    #[test]
    fn pieces_come_out_as_they_went_in() {
        for sizes in [
            &[][..],
            &[0],
            &[5],
            &[9000],
            &[1, 2, 3],
            &[1, 9000, 2, 3, 9000, 9000],
            &[9000, 1, 8191, 1, 8192],
            &[1; 20_000],
        ] {
            let (pieces, whole) = of(sizes);
            assert_eq!(pieces.bytes(), whole.len());
            assert!(pieces.held() >= pieces.bytes());
            assert!(pieces.copied() == whole && pieces.join() == whole, "{sizes:?}");
            let (mut pieces, _) = of(sizes);
            let rest = pieces.all_but_the_last();
            assert_eq!(pieces.bytes() > 0, !whole.is_empty(), "{sizes:?}");
            assert!([rest.join(), pieces.join()].concat() == whole, "{sizes:?}");
            let (mut pieces, _) = of(sizes);
            let mut popped = Vec::new();
            while let Some(piece) = pieces.pop() {
                popped.extend_from_slice(&piece);
            }
            assert!(popped == whole && (pieces.bytes(), pieces.held()) == (0, 0), "{sizes:?}");
        }
    }

    #[test]
    fn small_pieces_hold_little_more_than_their_bytes() {
        let (pieces, _) = of(&[1; 100_000]);
        assert!(pieces.held() < 100_000 + 3 * BLOCK, "{}", pieces.held());
        assert!(pieces.more.len() < 20);
    }
}
