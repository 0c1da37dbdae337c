//! my-policy: the client names its operation in a header.
//!
//! It makes the keys of builtin:idempotency-key, and says so: its key-schema is the same. As soon
//! as yours are made in another way, give them a name of your own.

mod key;

use oncegate_policy::{
    Guard, Operation, Plan, Policy, Settings, Verdict, authority, bypass, method, path, policy, refuse, text,
};

struct Keys {
    header: String,
    required: bool,
    strict: bool,
}

impl Policy for Keys {
    fn configure(settings: &str) -> Result<(Self, Plan), String> {
        let mut settings = Settings::parse(settings)?;
        let header = header(settings.texts("from")?)?;
        let keys = Self { header, required: settings.flag("required")?, strict: settings.flag("strict")? };
        settings.done()?;
        // All that goes into a key, and nothing else: records live on while this text is the same.
        let plan = Plan::new(format!("idempotency-key/2 from=header:{}", keys.header)).reads(&[&keys.header]);
        Ok((keys, plan))
    }

    fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
        let mut values = operation.values(&self.header);
        let absence = || format!("there is no idempotency key in the header {}", self.header);
        Ok(match (values.next(), values.next()) {
            (None, _) if self.required => refuse("key-missing", absence()),
            (None, _) => bypass(absence()),
            (Some(_), Some(_)) => refuse("key-malformed", format!("the header {} comes twice", self.header)),
            (Some(value), None) => match key::parse(value, self.strict) {
                Ok(key) => Guard::new([authority(), method(), path(), text(key)]).into(),
                Err(why) => refuse("key-malformed", format!("the header {}: {why}", self.header)),
            },
        })
    }
}

/// The header's name in `from`, which is `["header:NAME"]`.
fn header(from: Option<Vec<String>>) -> Result<String, String> {
    let wrong = "`from` must be [\"header:NAME\"], with one name of letters, digits, - and _";
    let Some(from) = from else { return Ok("idempotency-key".into()) };
    let [from] = &from[..] else { return Err(wrong.into()) };
    let name = from.strip_prefix("header:").unwrap_or_default().to_ascii_lowercase();
    let fits =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if fits { Ok(name) } else { Err(wrong.into()) }
}

policy!(Keys);
