use super::*;
use http::HeaderValue;
use std::io::Write;

const PLAIN: &[u8] = br#"{"amount":1000}"#;
const BROTLI: &[u8] = b"\x0b\x07\x80{\"amount\":1000}\x03";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x04\x58\x79\x00\x00{\"amount\":1000}\x49\x0b\x72\x16";
const SKIPPED: &[u8] = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc";
const ENOUGH: usize = 1 << 20;

fn fields(codings: &[&'static str]) -> HeaderMap {
    codings.iter().map(|coding| (CONTENT_ENCODING, HeaderValue::from_static(coding))).collect()
}

fn plainly(codings: &[&'static str], body: &[u8], limit: usize) -> Result<Bytes, CodingFault> {
    removed(&fields(codings), &Bytes::copy_from_slice(body), limit)
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes it")
}

fn raw_deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes it")
}

#[test]
fn each_coding_and_several_in_a_row() {
    let twice = [gzip(&PLAIN[..5]), gzip(&PLAIN[5..])].concat();
    let frames = [SKIPPED, ZSTD, SKIPPED].concat();
    let cases: [(&[&'static str], &[u8]); 13] = [
        (&[], PLAIN),
        (&["identity"], PLAIN),
        (&[""], PLAIN),
        (&["gzip"], &gzip(PLAIN)),
        (&["X-GZip"], &gzip(PLAIN)),
        (&["gzip"], &twice),
        (&["deflate"], &zlib(PLAIN)),
        (&["deflate"], &raw_deflate(PLAIN)),
        (&["br"], BROTLI),
        (&["zstd"], ZSTD),
        (&["zstd"], &frames),
        (&["br, gzip"], &gzip(BROTLI)),
        (&["zstd", "deflate,identity", "gzip"], &gzip(&zlib(ZSTD))),
    ];
    for (codings, body) in cases {
        assert_eq!(plainly(codings, body, PLAIN.len()), Ok(Bytes::from_static(PLAIN)), "{codings:?}");
    }
}

#[test]
fn broken_truncated_and_trailing_bytes_are_malformed() {
    let coded: [(&'static str, Vec<u8>); 5] = [
        ("gzip", gzip(PLAIN)),
        ("deflate", zlib(PLAIN)),
        ("deflate", raw_deflate(PLAIN)),
        ("br", BROTLI.to_vec()),
        ("zstd", ZSTD.to_vec()),
    ];
    for (coding, body) in coded {
        let malformed = |body: &[u8], what: &str| {
            let found = plainly(&[coding], body, ENOUGH);
            assert!(matches!(found, Err(CodingFault::Malformed(_))), "{coding} {what}: {found:?}");
        };
        malformed(&body[..body.len() - 1], "cut by a byte");
        malformed(&body[..body.len() / 2], "cut in half");
        malformed(&[&body[..], b"x"].concat(), "with a byte behind it");
        malformed(PLAIN, "not coded at all");
    }
    let mut wrong = ZSTD.to_vec();
    *wrong.last_mut().expect("it isn't empty") ^= 1;
    assert!(
        matches!(plainly(&["zstd"], &wrong, ENOUGH), Err(CodingFault::Malformed(why)) if why.contains("checksum"))
    );
}

#[test]
fn unknown_and_too_many_codings_are_malformed() {
    assert_eq!(
        plainly(&["gzip, rot13"], PLAIN, ENOUGH),
        Err(CodingFault::Malformed("the content coding `rot13` is unknown".into()))
    );
    let many = "gzip,gzip,gzip,gzip,gzip,gzip,gzip,gzip,gzip";
    assert!(matches!(plainly(&[many], PLAIN, ENOUGH), Err(CodingFault::Malformed(_))));
}

#[test]
fn what_unfolds_beyond_the_limit_is_oversize() {
    let zeros = vec![0; 8 << 20];
    for (coding, body) in
        [("gzip", gzip(&zeros)), ("deflate", zlib(&zeros)), ("deflate", raw_deflate(&zeros))]
    {
        assert!(body.len() < 100_000);
        assert_eq!(plainly(&[coding], &body, zeros.len() - 1), Err(CodingFault::Oversize), "{coding}");
        let whole = plainly(&[coding], &body, zeros.len()).expect("it fits");
        assert!(whole == zeros, "{coding}");
    }
    for (coding, body) in [("br", BROTLI), ("zstd", ZSTD)] {
        assert_eq!(plainly(&[coding], body, PLAIN.len() - 1), Err(CodingFault::Oversize), "{coding}");
    }
    assert_eq!(
        plainly(&["gzip, gzip"], &gzip(&gzip(&zeros)), 1000),
        Err(CodingFault::Oversize),
        "at any step"
    );
}

/// Nothing comes out of it, so no limit on what does would end it.
#[test]
fn empty_members_and_frames_are_bounded() {
    let member = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0";
    let frame = b"\x28\xb5\x2f\xfd\x20\0\x01\0\0";
    let skipped = b"\x50\x2a\x4d\x18\0\0\0\0";
    for (coding, part) in [("gzip", &member[..]), ("zstd", frame), ("zstd", skipped)] {
        let decoded = |count: usize| decode(coding, &part.repeat(count).into(), 100);
        assert_eq!(decoded(4096), Ok(Bytes::new()), "{coding}");
        let more = decoded(4097);
        assert!(
            matches!(&more, Err(CodingFault::Malformed(why)) if why.contains("too many parts")),
            "{more:?}"
        );
    }
}
