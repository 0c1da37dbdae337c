//! Settings: a JSON object, read with as little code as possible.

use std::fmt::Write as _;

/// Deeper settings are refused.
const DEPTH_MAX: usize = 32;

/// The settings that `configure` is given. Each setting is taken by its name. A setting that is left over at
/// the end is unknown to the policy, and its operator hears of it.
#[derive(Debug)]
pub struct Settings {
    members: Vec<(String, Value)>,
    known: Vec<&'static str>,
}

/// A value in the settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Flag(bool),
    /// A number, as it is written.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object.
    Object(Vec<(String, Value)>),
}

impl Settings {
    /// Reads the settings.
    pub fn parse(json: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: json };
        match reader.value(0) {
            Some(Value::Object(members)) if reader.rest.trim_start().is_empty() => {
                Ok(Self { members, known: Vec::new() })
            }
            _ => Err("the settings are no JSON object".into()),
        }
    }

    /// The setting of this name, if it is there.
    pub fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        let at = self.members.iter().position(|(member, _)| member == name)?;
        Some(self.members.swap_remove(at).1)
    }

    /// A setting that is true or false; false if it isn't there.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, String> {
        self.flag_or(name, false)
    }

    /// A setting that is true or false; `unset` if it isn't there.
    pub fn flag_or(&mut self, name: &'static str, unset: bool) -> Result<bool, String> {
        match self.take(name) {
            None => Ok(unset),
            Some(Value::Flag(flag)) => Ok(flag),
            Some(_) => Err(format!("`{name}` must be true or false")),
        }
    }

    /// A setting that is a text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{name}` must be a text")),
        }
    }

    /// A setting that is a list of texts; one text is as good as a list of one.
    pub fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>, String> {
        let wrong = || format!("`{name}` must be a list of texts");
        let text = |value| if let Value::Text(text) = value { Ok(text) } else { Err(wrong()) };
        match self.take(name) {
            None => Ok(None),
            Some(Value::List(values)) => values.into_iter().map(text).collect::<Result<_, _>>().map(Some),
            Some(value) => Ok(Some(vec![text(value)?])),
        }
    }

    /// Checks that all settings were taken: another one is a mistake.
    pub fn done(self) -> Result<(), String> {
        let Some((name, _)) = self.members.first() else { return Ok(()) };
        let mut said = format!("there is no setting {name:?}: there are ");
        for (at, known) in self.known.iter().enumerate() {
            // Writing to a string doesn't fail.
            let _ = write!(said, "{}{known}", if at == 0 { "" } else { ", " });
        }
        Err(said)
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Takes `token`, after spaces.
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        match rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        for (word, value) in
            [("null", Value::Null), ("true", Value::Flag(true)), ("false", Value::Flag(false))]
        {
            if self.take(word) {
                return Some(value);
            }
        }
        if self.take("\"") {
            return self.text().map(Value::Text);
        }
        if self.take("[") {
            let mut items = Vec::new();
            if self.take("]") {
                return Some(Value::List(items));
            }
            loop {
                items.push(self.value(depth + 1)?);
                if !self.take(",") {
                    return self.take("]").then_some(Value::List(items));
                }
            }
        }
        if self.take("{") {
            let mut members = Vec::new();
            if self.take("}") {
                return Some(Value::Object(members));
            }
            loop {
                let name = if self.take("\"") { self.text()? } else { return None };
                let value = if self.take(":") { self.value(depth + 1)? } else { return None };
                members.push((name, value));
                if !self.take(",") {
                    return self.take("}").then_some(Value::Object(members));
                }
            }
        }
        let rest = self.rest.trim_start();
        let end =
            rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let (number, rest) = rest.split_at(end);
        self.rest = rest;
        (!number.is_empty()).then(|| Value::Number(number.into()))
    }

    /// A string whose opening quote was taken.
    fn text(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            let at = self.rest.find(['"', '\\'])?;
            text.push_str(&self.rest[..at]);
            let quote = self.rest.as_bytes()[at] == b'"';
            self.rest = &self.rest[at + 1..];
            if quote {
                return Some(text);
            }
            let escape = self.rest.chars().next()?;
            self.rest = &self.rest[escape.len_utf8()..];
            text.push(match escape {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => self.unicode()?,
                '"' | '\\' | '/' => escape,
                _ => return None,
            });
        }
    }

    /// The character after `\u`, which may be written as two.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex4()?;
        if let Some(c) = char::from_u32(first) {
            return Some(c);
        }
        self.rest = self.rest.strip_prefix("\\u")?;
        let second = self.hex4()?;
        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
        char::from_u32(0x1_0000 + (first.checked_sub(0xd800)? << 10) + low)
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        self.rest = &self.rest[4..];
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_taken_by_name_and_what_is_left_is_a_mistake() {
        let mut settings = Settings::parse(
            r#" { "from" : ["a\"\u00e9\ud83d\ude00"], "strict":true, "n": -1.5e3, "x": {"y": [null, []]} } "#,
        )
        .expect("JSON");
        assert_eq!(settings.texts("from"), Ok(Some(vec!["a\"é😀".into()])));
        assert_eq!(settings.flag("strict"), Ok(true));
        assert_eq!(settings.flag("required"), Ok(false));
        assert_eq!(settings.take("n"), Some(Value::Number("-1.5e3".into())));
        let said = settings.done().expect_err("`x` is left");
        assert!(said.contains("\"x\"") && said.contains("from, strict, required, n"), "{said}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "[]", "{", "{\"a\"}", "{\"a\":1,}", "{} x", "{\"a\":\"\\q\"}", "{\"a\":\"\\ud800\"}"]
        {
            assert!(Settings::parse(text).is_err(), "{text:?}");
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100), "]".repeat(100));
        assert!(Settings::parse(&deep).is_err());
    }

    #[test]
    fn a_wrong_type_names_the_setting() {
        let mut settings = Settings::parse(r#"{"a":1,"b":"x","c":[1]}"#).expect("JSON");
        assert_eq!(settings.flag("a"), Err("`a` must be true or false".into()));
        assert_eq!(settings.texts("b"), Ok(Some(vec!["x".into()])));
        assert_eq!(settings.texts("c"), Err("`c` must be a list of texts".into()));
    }
}
