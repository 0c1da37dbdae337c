//! Durations, sizes and names as text.

use std::time::Duration;

/// A duration with its unit: `50ms`, `0.1s`, `24h`, `30d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let nanos = scaled(text, |unit| {
        Some(match unit {
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60 * 1_000_000_000,
            "h" => 3_600 * 1_000_000_000,
            "d" => 86_400 * 1_000_000_000,
            _ => return None,
        })
    })?;
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

/// A size in bytes: `512B`, `64KiB`, `10MiB`, `1GB`.
pub(crate) fn parse_size(text: &str) -> Option<usize> {
    let bytes = scaled(text, |unit| {
        Some(match unit {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            "TB" => 1_000_000_000_000,
            "TiB" => 1 << 40,
            _ => return None,
        })
    })?;
    usize::try_from(bytes).ok()
}

/// A decimal number times its unit, exactly; none if the product is not whole.
fn scaled(text: &str, factor: impl Fn(&str) -> Option<u128>) -> Option<u128> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = factor(unit.trim_start())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let digits = whole.parse::<u128>().ok()? * scale + fraction.parse::<u128>().ok()?;
    let product = digits * factor;
    (product % scale == 0).then_some(product / scale)
}

/// A duration as the file writes durations.
pub(crate) fn write_duration(span: Duration) -> String {
    let millis = span.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis > 0 && millis.is_multiple_of(length) {
            return format!("{}{unit}", millis / length);
        }
    }
    match millis {
        0 => "0s".into(),
        n if n % 100 == 0 => format!("{}.{}s", n / 1000, n % 1000 / 100),
        n => format!("{n}ms"),
    }
}

/// A size as the file writes sizes.
pub(crate) fn write_size(bytes: usize) -> String {
    for (unit, length) in [("TiB", 1_usize << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes > 0 && bytes.is_multiple_of(length) {
            return format!("{}{unit}", bytes / length);
        }
    }
    bytes.to_string()
}

/// Whether the text is a token of RFC 9110 §5.6.2, as field names and methods are.
pub(crate) fn is_token(text: &str) -> bool {
    let mark = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(mark)
}

/// Whether the text is a name that can stand in URLs, labels and log lines as it is.
pub(crate) fn is_name(text: &str) -> bool {
    let mark = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(mark) && text.as_bytes()[0].is_ascii_alphanumeric()
}

/// Whether the text is a host: a name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn is_host(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let mark = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(mark) && !text.starts_with('.')
}

/// Bytes written as hexadecimal digits.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The name, out of several, that was most likely meant.
pub fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let wanted = plain(text);
    let near = |name: &'a str| {
        let candidate = plain(name);
        let distance = strsim::damerau_levenshtein(&wanted, &candidate);
        let allowed = (wanted.chars().count().max(candidate.chars().count()) / 3).max(1);
        // `policy` for `policies`: one word in another form.
        let same_stem = wanted.get(..5).is_some_and(|stem| candidate.starts_with(stem)) && distance <= 3;
        (distance <= allowed || same_stem).then_some((distance, name))
    };
    names.into_iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [
            ("50ms", 50),
            ("0.1s", 100),
            ("1.5h", 5_400_000),
            ("30d", 2_592_000_000),
            ("0s", 0),
            ("2 m", 120_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "5",
            "s",
            ".5s",
            "5.s",
            "-1s",
            "1e3s",
            "1h30m",
            "1week",
            "9999999999999999999s",
            "1_0s",
            "٣s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_whole_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("1.5MiB", 1_572_864),
            ("1GB", 1_000_000_000),
            ("2kB", 2000),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "64K", "1.5B", "-1", "0x10", "1.0000000001GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn written_durations_and_sizes_read_back() {
        for millis in [1, 99, 100, 1500, 60_000, 61_000, 86_400_000, 3_600_000] {
            let span = Duration::from_millis(millis);
            assert_eq!(parse_duration(&write_duration(span)), Some(span));
        }
        for bytes in [0, 1, 1023, 1024, 1 << 20, 3 << 30] {
            assert_eq!(parse_size(&write_size(bytes)), Some(bytes));
        }
    }

    #[test]
    fn a_typing_error_finds_the_nearest_name() {
        assert_eq!(nearest("listn", ["listen", "admin"]), Some("listen"));
        assert_eq!(nearest("Body-Bytes", ["body_kept", "body_bytes"]), Some("body_bytes"));
        assert_eq!(nearest("policy", ["principal", "policies"]), Some("policies"));
        assert_eq!(nearest("colour", ["listen", "admin"]), None);
    }
}
