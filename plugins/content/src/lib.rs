//! `builtin:content`: no key at all. Two requests with the same method, target and document are one
//! operation within a window, which ends with the answer's retention: for services whose callers
//! send an order twice because a button was pressed twice.

use oncegate_policy::*;

/// Of `policy.wit`.
const POINTERS_MAX: usize = 64;

struct Content {
    shape: Shape,
    query: bool,
    again: Option<String>,
    window: u32,
}

impl Policy for Content {
    fn configure(settings: &str) -> Result<(Self, Plan), String> {
        let mut settings = Settings::parse(settings)?;
        let keep = pointers(&mut settings, "keep")?;
        let drop = pointers(&mut settings, "drop")?;
        if keep.len() + drop.len() > POINTERS_MAX {
            return Err(format!("`keep` and `drop` may have {POINTERS_MAX} pointers together"));
        }
        let query = settings.flag_or("query", true)?;
        let again = again(&mut settings)?;
        let window = window(&mut settings)?;
        settings.done()?;
        let plan = Plan::new(key_schema(&keep, &drop, query, again.as_deref()));
        let plan = match &again {
            Some(name) => plan.reads(&[name]),
            None => plan,
        };
        Ok((Self { shape: Shape { keep, drop }, query, again, window }, plan))
    }

    fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
        let mut key = vec![method(), authority(), path()];
        if self.query {
            key.push(Part::Of(Attribute::Query));
        }
        key.push(Part::Document(self.shape.clone()));
        if let Some(name) = &self.again {
            // Whoever means it twice says so, with a word of its own for each time.
            let mut words = operation.values(name);
            key.push(words.next().map_or(Part::Missing, text));
            if words.next().is_some() {
                return Ok(refuse("key-malformed", format!("{name} is there more than once: send one word")));
            }
        }
        let guard = Guard {
            fingerprint: Fingerprint::KeyOnly,
            retention_seconds: Some(self.window),
            tombstone_seconds: Some(0),
            ..Guard::new(key)
        };
        Ok(guard.into())
    }
}

fn pointers(settings: &mut Settings, name: &'static str) -> Result<Vec<String>, String> {
    let mut pointers = settings.texts(name)?.unwrap_or_default();
    if let Some(wrong) = pointers.iter().find(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
        return Err(format!("`{name}` has {wrong:?}, which is no JSON pointer: write \"/{wrong}\""));
    }
    pointers.sort();
    pointers.dedup();
    Ok(pointers)
}

fn again(settings: &mut Settings) -> Result<Option<String>, String> {
    let Some(name) = settings.text("again")? else { return Ok(None) };
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("`again` must be the name of a header, found {name:?}"));
    }
    Ok(Some(name.to_ascii_lowercase()))
}

/// In seconds; a minute where nothing is said: two equal orders in one minute are one.
fn window(settings: &mut Settings) -> Result<u32, String> {
    match settings.take("window") {
        None => Ok(60),
        Some(Value::Number(number)) => match number.parse() {
            Ok(seconds @ 1..) => Ok(seconds),
            _ => Err(format!("`window` must be whole seconds, at least 1, found {number}")),
        },
        Some(_) => Err("`window` must be a number of seconds".into()),
    }
}

/// Everything that makes the key. Hashed where it is long: the host takes 256 characters.
fn key_schema(keep: &[String], drop: &[String], query: bool, again: Option<&str>) -> String {
    let list = |pointers: &[String]| format!("{pointers:?}");
    let shape = format!("keep={} drop={} query={query} again={again:?}", list(keep), list(drop));
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("content/2 sha256={}", hex(digest::sha256(shape.as_bytes())))
}

policy!(Content);
