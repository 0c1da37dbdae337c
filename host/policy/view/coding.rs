//! Content codings (RFC 9110 §8.4), removed from bodies that a policy is shown and from documents. The body
//! that goes upstream and the body that is kept stay as they came.
//!
//! This file knows nothing of requests and answers. Each step is bounded, so that a small body can't become a
//! large one in memory. A coding must end where the body ends, or two bodies could pass for one.

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use std::io::Read;

/// The most codings in a row: more are taken for an attack.
const CODINGS_MAX: usize = 8;
/// The most members of gzip and frames of zstd in a row: ten million bytes can be half a million empty ones.
const MEMBERS_MAX: usize = 4096;
/// RFC 9659: the window that a decoder of the content coding `zstd` takes at least.
const ZSTD_WINDOW: usize = 8 << 20;

/// Why codings can't be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodingFault {
    /// Without its codings the body is larger than the limit.
    Oversize,
    /// A coding is unknown, or its content is broken; the text says which.
    Malformed(String),
}

/// True if these fields say that the body is coded.
pub fn is_coded(fields: &HeaderMap) -> bool {
    fields.contains_key(CONTENT_ENCODING)
}

/// A body without the content codings that its fields name, of at most `limit` bytes. A body without codings
/// stays as it is.
pub fn removed(fields: &HeaderMap, body: &Bytes, limit: usize) -> Result<Bytes, CodingFault> {
    if body.is_empty() || !is_coded(fields) {
        return Ok(body.clone());
    }
    let mut codings = Vec::new();
    for value in fields.get_all(CONTENT_ENCODING) {
        let text = value
            .to_str()
            .map_err(|_| CodingFault::Malformed("`Content-Encoding` is no list of names".into()))?;
        codings.extend(text.split(',').map(str::trim).filter(|coding| !coding.is_empty()));
    }
    if codings.len() > CODINGS_MAX {
        return Err(CodingFault::Malformed(format!(
            "{} content codings are more than {CODINGS_MAX}",
            codings.len()
        )));
    }
    // The codings are named in the order in which they were applied. Between two codings, content that
    // doesn't compress is a little larger than in the end.
    let between = limit.saturating_add(limit / 64 + 1024);
    codings.iter().enumerate().rev().try_fold(body.clone(), |body, (at, coding)| {
        decode(coding, &body, if at == 0 { limit } else { between })
    })
}

/// Removes one coding, named without regard to case.
pub fn decode(coding: &str, body: &Bytes, limit: usize) -> Result<Bytes, CodingFault> {
    let name = coding.to_ascii_lowercase();
    let decoded = match name.as_str() {
        "identity" => return Ok(body.clone()),
        "gzip" | "x-gzip" => gunzip(body, limit),
        "deflate" => inflate(body, limit),
        "br" => unbrotli(body, limit),
        "zstd" => unzstd(body, limit),
        _ => {
            let name: String = coding.escape_debug().take(64).collect();
            return Err(CodingFault::Malformed(format!("the content coding `{name}` is unknown")));
        }
    };
    decoded.map(Bytes::from).map_err(|broken| match broken {
        BrokenCoding::Oversize => CodingFault::Oversize,
        BrokenCoding::Data(why) => {
            CodingFault::Malformed(format!("the content coding `{name}` is broken: {why}"))
        }
    })
}

enum BrokenCoding {
    Oversize,
    Data(String),
}

const TRUNCATED: &str = "it ends too early";
const TRAILING: &str = "something follows its end";
const MEMBERS: &str = "it has too many parts";

fn data(why: impl ToString) -> BrokenCoding {
    BrokenCoding::Data(why.to_string())
}

/// Reads everything that `from` gives, up to `limit`.
fn bounded(from: &mut impl Read, limit: usize) -> Result<Vec<u8>, BrokenCoding> {
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut out).map_err(data)?;
    if out.len() > limit { Err(BrokenCoding::Oversize) } else { Ok(out) }
}

/// Decodes member after member (RFC 1952 §2.2).
fn gunzip(body: &[u8], limit: usize) -> Result<Vec<u8>, BrokenCoding> {
    let mut out = Vec::new();
    let mut rest = body;
    for _ in 0..MEMBERS_MAX {
        out.append(&mut bounded(&mut GzDecoder::new(&mut rest), limit - out.len())?);
        if rest.is_empty() {
            return Ok(out);
        }
    }
    Err(data(MEMBERS))
}

/// `deflate` is the zlib format (RFC 9110 §8.4.1.2); some senders leave its frame out, and recipients
/// are used to that.
fn inflate(body: &[u8], limit: usize) -> Result<Vec<u8>, BrokenCoding> {
    let framed = matches!(body, [cmf, flg, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)) % 31 == 0);
    let mut inflater = Decompress::new(framed);
    let mut out = Vec::with_capacity(body.len().saturating_mul(2).min(limit).saturating_add(1));
    loop {
        if out.len() == out.capacity() {
            if out.len() > limit {
                return Err(BrokenCoding::Oversize);
            }
            out.reserve(out.len().min(limit + 1 - out.len()).max(1));
        }
        let before = (inflater.total_in(), inflater.total_out());
        let rest = &body[usize::try_from(before.0).unwrap_or(body.len())..];
        let status = inflater.decompress_vec(rest, &mut out, FlushDecompress::None).map_err(data)?;
        match status {
            Status::StreamEnd if out.len() > limit => return Err(BrokenCoding::Oversize),
            Status::StreamEnd if inflater.total_in() != body.len() as u64 => return Err(data(TRAILING)),
            Status::StreamEnd => return Ok(out),
            Status::Ok | Status::BufError if (inflater.total_in(), inflater.total_out()) == before => {
                return Err(data(TRUNCATED));
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

fn unbrotli(body: &[u8], limit: usize) -> Result<Vec<u8>, BrokenCoding> {
    const BUFFER: usize = 4096;
    let mut decoder = brotli_decompressor::Decompressor::new(body, BUFFER);
    let out = bounded(&mut decoder, limit)?;
    // At its end, another read fails if the decoder's buffer has bytes left.
    if decoder.read(&mut [0]).is_err() || !decoder.get_ref().is_empty() {
        return Err(data(TRAILING));
    }
    Ok(out)
}

/// Decodes frame after frame, and skips skippable frames (RFC 8878 §3.1).
fn unzstd(body: &[u8], limit: usize) -> Result<Vec<u8>, BrokenCoding> {
    let window = u64::try_from(limit.max(ZSTD_WINDOW)).unwrap_or(u64::MAX);
    let mut out = Vec::new();
    let mut rest = body;
    let mut frames = 0;
    while !rest.is_empty() {
        frames += 1;
        if frames > MEMBERS_MAX {
            return Err(data(MEMBERS));
        }
        let mut decoder = match StreamingDecoder::new_with_max_window_size(&mut rest, window) {
            Ok(decoder) => decoder,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                rest = rest.get(length as usize..).ok_or_else(|| data(TRUNCATED))?;
                continue;
            }
            Err(error) => return Err(data(error)),
        };
        out.append(&mut bounded(&mut decoder, limit - out.len())?);
        let frame = &decoder.decoder;
        let (expected, found) = (frame.get_checksum_from_data(), frame.get_calculated_checksum());
        if expected.is_some() && expected != found {
            return Err(data("its checksum is wrong"));
        }
    }
    Ok(out)
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
