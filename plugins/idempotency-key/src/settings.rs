//! What the operator wants, read from the settings' JSON. Knows neither the interface nor requests.

use json_event_parser::{JsonEvent, SliceJsonParser};
use regex_lite::Regex;

/// The policy's settings.
#[derive(Debug)]
pub struct Settings {
    /// Where keys are, in the order in which they are looked for.
    pub from: Vec<Source>,
    /// Turn away what has no key.
    pub required: bool,
    /// A header must be quoted.
    pub strict: bool,
    /// Sorted; empty: all but the safe ones.
    pub methods: Vec<String>,
    pub pattern: Option<Pattern>,
    /// Bounds of a key's length in bytes.
    pub min: usize,
    pub max: usize,
    pub key_time: Option<KeyTime>,
}

/// A place where a key may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A header, by its lower-case name.
    Header(String),
    /// A parameter of the query.
    Query(String),
    /// A place in the body, by JSON pointer.
    Body(String),
}

/// A regular expression that a key must match from end to end.
#[derive(Debug)]
pub struct Pattern {
    /// As the operator wrote it.
    pub source: String,
    pub whole: Regex,
}

/// A kind of key that tells when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTime {
    Uuidv7,
    Ulid,
}

const NAMES: [&str; 8] = ["from", "required", "strict", "methods", "pattern", "min", "max", "key_time"];
const DEFAULT_HEADER: &str = "idempotency-key";
const DEFAULT_MAX: usize = 255;
/// More than this isn't a name any more.
const MOST_BYTES: usize = 4096;
/// Of `policy.wit`.
const MOST_SOURCES: usize = 32;
const MOST_METHODS: usize = 32;
const MOST_SCHEMA: usize = 256;

impl Default for Settings {
    fn default() -> Self {
        Self {
            from: vec![Source::Header(DEFAULT_HEADER.into())],
            required: false,
            strict: false,
            methods: vec![],
            pattern: None,
            min: 1,
            max: DEFAULT_MAX,
            key_time: None,
        }
    }
}

impl Settings {
    /// Names what goes into keys and which requests have one. Not among it are the settings that
    /// only turn a request away which would otherwise be guarded (`strict`, `pattern`, `min`,
    /// `max`) or not be (`required`).
    pub fn key_schema(&self, sha256: impl FnOnce(&[u8]) -> String) -> String {
        let mut schema = String::from("idempotency-key/2 from=");
        schema.push_str(&self.from.iter().map(Source::written).collect::<Vec<_>>().join(","));
        if !self.methods.is_empty() {
            schema.push_str(" methods=");
            schema.push_str(&self.methods.join(","));
        }
        match self.key_time {
            None => {}
            Some(KeyTime::Uuidv7) => schema.push_str(" key_time=uuidv7"),
            Some(KeyTime::Ulid) => schema.push_str(" key_time=ulid"),
        }
        if schema.len() <= MOST_SCHEMA {
            return schema;
        }
        format!("idempotency-key/2 sha256={}", sha256(schema.as_bytes()))
    }

    /// What the plan declares, pseudo-fields first.
    pub fn fields(&self) -> Vec<String> {
        let mut fields = vec![];
        if self.from.iter().any(|source| matches!(source, Source::Query(_))) {
            fields.push(":query".into());
        }
        fields.extend(self.from.iter().filter_map(|source| match source {
            Source::Header(name) => Some(name.clone()),
            Source::Query(_) | Source::Body(_) => None,
        }));
        if self.from.iter().any(|source| matches!(source, Source::Body(_)))
            && !fields.iter().any(|field| field == "content-type")
        {
            fields.push("content-type".into());
        }
        fields
    }

    /// The places in the body, in the order of the sources.
    pub fn pointers(&self) -> Vec<String> {
        let pointer = |source: &Source| match source {
            Source::Body(pointer) => Some(pointer.clone()),
            Source::Header(_) | Source::Query(_) => None,
        };
        self.from.iter().filter_map(pointer).collect()
    }

    /// What to say where there is no key.
    pub fn absence(&self) -> String {
        let places: Vec<String> = self.from.iter().take(4).map(Source::spoken).collect();
        let more = if self.from.len() > 4 { " or elsewhere" } else { "" };
        format!("there is no idempotency key in {}{more}", places.join(" or "))
    }
}

impl Source {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`from` names {text:?}, {why}");
        let (kind, name) = text
            .split_once(':')
            .ok_or_else(|| wrong("which is none of header:NAME, query:NAME and body:/POINTER"))?;
        match kind {
            "header" => {
                let name = name.to_ascii_lowercase();
                if !is_token(&name) {
                    return Err(wrong("which is no name of a header"));
                }
                if matches!(name.as_str(), "authorization" | "proxy-authorization" | "cookie") {
                    return Err(wrong("which says who asks; that is part of every key already"));
                }
                Ok(Self::Header(name))
            }
            "query" if name.is_empty() => Err(wrong("without a name: write query:requestId")),
            "query" => Ok(Self::Query(name.into())),
            "body" if !name.starts_with('/') || !is_pointer(name) => {
                Err(wrong("which is no JSON pointer: write body:/idempotency_key"))
            }
            "body" => Ok(Self::Body(name.into())),
            _ => Err(wrong("whose kind is none of header, query and body")),
        }
    }

    /// As an operator would write it, in the characters that a key-schema may have.
    fn written(&self) -> String {
        let (kind, name) = match self {
            Self::Header(name) => ("header:", name),
            Self::Query(name) => ("query:", name),
            Self::Body(pointer) => ("body:", pointer),
        };
        let mut text = String::from(kind);
        for byte in name.bytes() {
            // A comma or a space would end it.
            if byte.is_ascii_graphic() && !matches!(byte, b',' | b'%') {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
        text
    }

    /// As a caller is told.
    pub fn spoken(&self) -> String {
        let clip = |name: &str| name.chars().take(40).collect::<String>();
        match self {
            Self::Header(name) => format!("the header {}", clip(name)),
            Self::Query(name) => format!("the query parameter {}", clip(name)),
            Self::Body(pointer) => format!("{} of the body", clip(pointer)),
        }
    }
}

/// Reads the settings. An `Err` names the setting and says what would do.
pub fn parse(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    for (name, value) in members(text)? {
        match name.as_str() {
            "from" => settings.from = sources(value)?,
            "required" => settings.required = value.truth("required")?,
            "strict" => settings.strict = value.truth("strict")?,
            "methods" => settings.methods = methods(value)?,
            "pattern" => settings.pattern = Some(pattern(value)?),
            "min" => settings.min = value.length("min")?,
            "max" => settings.max = value.length("max")?,
            "key_time" => settings.key_time = Some(key_time(value)?),
            _ => return Err(unknown(&name)),
        }
    }
    if settings.min > settings.max {
        return Err(format!(
            "`min` is {} and `max` {}: no key can have such a length",
            settings.min, settings.max
        ));
    }
    if settings.strict && !settings.from.iter().any(|source| matches!(source, Source::Header(_))) {
        return Err("`strict` is about headers, and `from` names none".into());
    }
    Ok(settings)
}

fn unknown(name: &str) -> String {
    let near = NAMES
        .iter()
        .map(|known| (strsim::levenshtein(name, known), known))
        .filter(|(distance, _)| *distance <= 2)
        .min();
    match near {
        Some((_, known)) => format!("there is no setting {name:?}: did you mean `{known}`?"),
        None => format!("there is no setting {name:?}: there are {}", NAMES.join(", ")),
    }
}

fn sources(value: Value) -> Result<Vec<Source>, String> {
    let texts = value.texts("from", "a list such as [\"header:idempotency-key\", \"body:/id\"]")?;
    let sources = texts.iter().map(|text| Source::parse(text)).collect::<Result<Vec<_>, _>>()?;
    if sources.is_empty() || sources.len() > MOST_SOURCES {
        return Err(format!("`from` names {} places: name 1 to {MOST_SOURCES}", sources.len()));
    }
    if let Some((_, twice)) = sources.iter().enumerate().find(|(at, source)| sources[..*at].contains(source))
    {
        return Err(format!("`from` names {} twice", twice.written()));
    }
    Ok(sources)
}

fn methods(value: Value) -> Result<Vec<String>, String> {
    let mut methods = value.texts("methods", "a list such as [\"POST\", \"PATCH\"]")?;
    methods.sort_unstable();
    methods.dedup();
    if methods.len() > MOST_METHODS {
        return Err(format!("`methods` names {}: name at most {MOST_METHODS}", methods.len()));
    }
    match methods
        .iter()
        .find(|method| !is_token(method) || ["HEAD", "OPTIONS", "TRACE"].contains(&method.as_str()))
    {
        Some(method) => Err(format!("`methods` names {method:?}, which is never guarded")),
        None => Ok(methods),
    }
}

fn pattern(value: Value) -> Result<Pattern, String> {
    let source = value.text("pattern", "a regular expression")?;
    // Alone first: `a)|(b` is none, but would be one inside of the parentheses.
    let whole = Regex::new(&source)
        .and_then(|_| Regex::new(&format!("^(?:{source})$")))
        .map_err(|error| format!("`pattern` is no regular expression: {error}"))?;
    Ok(Pattern { source, whole })
}

fn key_time(value: Value) -> Result<KeyTime, String> {
    match value.text("key_time", "\"uuidv7\" or \"ulid\"")?.as_str() {
        "uuidv7" => Ok(KeyTime::Uuidv7),
        "ulid" => Ok(KeyTime::Ulid),
        other => Err(format!("`key_time` is {other:?}: write \"uuidv7\" or \"ulid\"")),
    }
}

/// As much of JSON as settings have.
#[derive(Debug)]
enum Value {
    Text(String),
    Texts(Vec<String>),
    Number(String),
    Truth(bool),
    /// Null, an object, an array of anything but texts.
    Other,
}

impl Value {
    fn truth(self, name: &str) -> Result<bool, String> {
        match self {
            Self::Truth(truth) => Ok(truth),
            _ => Err(format!("`{name}` must be true or false")),
        }
    }

    fn text(self, name: &str, what: &str) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(format!("`{name}` must be {what}")),
        }
    }

    /// One text is as good as a list of one.
    fn texts(self, name: &str, what: &str) -> Result<Vec<String>, String> {
        match self {
            Self::Text(text) => Ok(vec![text]),
            Self::Texts(texts) => Ok(texts),
            _ => Err(format!("`{name}` must be {what}")),
        }
    }

    fn length(self, name: &str) -> Result<usize, String> {
        match self {
            Self::Number(number) => number.parse().ok().filter(|length| (1..=MOST_BYTES).contains(length)),
            _ => None,
        }
        .ok_or_else(|| format!("`{name}` must be a whole number of bytes from 1 to {MOST_BYTES}"))
    }
}

type Events<'a> = SliceJsonParser<'a>;

fn next<'a>(events: &mut Events<'a>) -> Result<JsonEvent<'a>, String> {
    events.parse_next().map_err(|error| format!("the settings are no JSON: {error}"))
}

/// The members of the settings' object, in order.
fn members(text: &str) -> Result<Vec<(String, Value)>, String> {
    let mut events = Events::new(text.as_bytes());
    let mut members = vec![];
    if !matches!(next(&mut events)?, JsonEvent::StartObject) {
        return Err("the settings must be a JSON object".into());
    }
    while let JsonEvent::ObjectKey(name) = next(&mut events)? {
        let name = name.into_owned();
        let first = next(&mut events)?;
        members.push((name, value(&mut events, first)?));
    }
    next(&mut events)?;
    Ok(members)
}

/// The value that begins with `first`.
fn value<'a>(events: &mut Events<'a>, first: JsonEvent<'a>) -> Result<Value, String> {
    Ok(match first {
        JsonEvent::String(text) => Value::Text(text.into_owned()),
        JsonEvent::Number(number) => Value::Number(number.into_owned()),
        JsonEvent::Boolean(truth) => Value::Truth(truth),
        JsonEvent::StartArray => {
            let mut texts = Some(vec![]);
            loop {
                match next(events)? {
                    JsonEvent::EndArray => break,
                    first => match value(events, first)? {
                        Value::Text(text) => texts.iter_mut().for_each(|texts| texts.push(text.clone())),
                        _ => texts = None,
                    },
                }
            }
            texts.map_or(Value::Other, Value::Texts)
        }
        JsonEvent::StartObject => {
            while let JsonEvent::ObjectKey(_) = next(events)? {
                let first = next(events)?;
                value(events, first)?;
            }
            Value::Other
        }
        _ => Value::Other,
    })
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// RFC 6901: a tilde is followed by 0 or 1.
fn is_pointer(text: &str) -> bool {
    text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
