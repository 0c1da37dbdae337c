//! `[upstreams.NAME.probe]`: how an upstream is asked about unknown outcomes.

use super::fields::is_framing;
use super::reading::units::is_token;
use super::reading::{Item, PlainKey, Section, Unset, read_named};
use http::{HeaderName, HeaderValue};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// `[upstreams.NAME.probe]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeConfig {
    /// The number of tries for each unknown outcome. A try may have several questions.
    pub attempts: u32,
    /// The first pause between two tries; each further one is twice as long, cut at random.
    pub base: Duration,
    /// The longest pause between two tries.
    pub max: Duration,
    /// Fields of every question, credentials as a rule. Their values are marked as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The file that the fields were read from.
    pub headers_file: Option<PathBuf>,
    /// Methods that a question may have beside GET and HEAD.
    pub methods: Vec<String>,
}

/// Bounds of the pauses between two tries.
const PAUSE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(86_400);

const ATTEMPTS: PlainKey<u32> = PlainKey::new(
    "attempts",
    Unset::Value("12"),
    |item| item.whole(&(1..=1000), "a whole number from 1 to 1000").and_then(|n| u32::try_from(n).ok()),
    "Tries for each unknown outcome; then it waits for the operator.",
);
const BASE: PlainKey<Duration> = PlainKey::new(
    "base",
    Unset::Value("\"1s\""),
    |item| item.duration(&PAUSE),
    "The first pause between tries; each further one is twice as long, cut at random.",
);
const MAX: PlainKey<Duration> =
    PlainKey::new("max", Unset::Value("\"10m\""), |item| item.duration(&PAUSE), "The longest pause.");
const HEADERS_FILE: PlainKey<ProbeHeaders> = PlainKey::new(
    "headers_file",
    Unset::Nothing(""),
    headers,
    "Fields of every question, `Name: value` a line: the credentials.",
);
const METHODS: PlainKey<Vec<String>> = PlainKey::new(
    "methods",
    Unset::Value("[]"),
    |item| item.each(method),
    "Methods of questions beside GET and HEAD, where the upstream's reads are POSTs.",
);

/// Reads the section.
pub(super) fn read(mut section: Section<'_>) -> ProbeConfig {
    let attempts = section.get(&ATTEMPTS);
    let base = section.get(&BASE);
    // A first pause above the default longest pause is fine if no longest pause is configured.
    let max = section.find(&MAX).unwrap_or_else(|| base.max(section.default(&MAX)));
    let (headers_file, headers) = section.find(&HEADERS_FILE).unzip();
    let headers = headers.unwrap_or_default();
    let methods = section.get(&METHODS);
    let unsafe_methods: Vec<&str> =
        methods.iter().map(String::as_str).filter(|method| !matches!(*method, "GET" | "HEAD")).collect();
    if !unsafe_methods.is_empty() {
        section.reading.warn(format!(
            "`{}.methods`: questions may be sent as {}, again and again: only where those are reads",
            section.path,
            unsafe_methods.join(" or ")
        ));
    }
    if max < base {
        let set_by = section.set_by("max").unwrap_or(&section.set_by).clone();
        section.reading.fault(
            &set_by,
            &format!("{}.max", section.path),
            format!("`{0}.max` is shorter than `{0}.base`", section.path),
            "raise `max` or lower `base`",
        );
    }
    section.close();
    ProbeConfig { attempts, base, max, headers, headers_file, methods }
}

fn method(item: &Item<'_>) -> Option<String> {
    let parse = |text: &str| {
        let known = is_token(text) && text == text.to_uppercase();
        (known && !matches!(text, "OPTIONS" | "TRACE" | "CONNECT")).then(|| text.to_owned())
    };
    item.parsed(
        "a method by which this upstream reads, like \"POST\"; GET and HEAD are always allowed",
        parse,
    )
}

/// The file, and the fields in it.
type ProbeHeaders = (PathBuf, Vec<(HeaderName, HeaderValue)>);

/// Reads a file with a field on each line, `Name: value`. A field may be a credential, so no fault shows it.
fn headers(item: &Item<'_>) -> Option<ProbeHeaders> {
    let path = item.path("the path of a file with a field a line, like `Authorization: Bearer …`")?;
    let refuse = |words: String| {
        let problem = format!("`{}`: {}: {words}", item.path, path.display());
        item.fault(
            problem,
            "a field a line, `Name: value`; empty lines and lines that begin with # don't count",
        );
    };
    let bytes = read_named(&path).map_err(refuse).ok()?;
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".into())).ok()?;
    let mut fields = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match field(line) {
            Ok(field) => fields.push(field),
            Err(why) => refuse(format!("line {}: {why}", number + 1)),
        }
    }
    Some((path, fields))
}

fn field(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = line.split_once(':').ok_or("there is no colon in it")?;
    let name: HeaderName =
        name.trim().parse().map_err(|_| "what stands before the colon is no field's name")?;
    if is_framing(name.as_str()) {
        return Err(format!("`{name}` is the gateway's own to say"));
    }
    let mut value = HeaderValue::from_str(value.trim()).map_err(|_| "its value has a control character")?;
    value.set_sensitive(true);
    Ok((name, value))
}
