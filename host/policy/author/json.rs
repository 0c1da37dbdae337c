//! JSON that is written anew: with other spaces, with members in another order, with one value
//! changed. Numbers stay as they were written.

use json_event_parser::{JsonEvent, SliceJsonParser};

/// The deepest document that is read: no sample needs a deeper one.
const DEPTH_MAX: usize = 64;

/// A JSON document. Scalars are kept as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    Scalar(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a document; none if it isn't JSON.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut events = SliceJsonParser::new(bytes);
        let first = events.parse_next().ok()?;
        let document = value(&mut events, first, DEPTH_MAX)?;
        matches!(events.parse_next().ok()?, JsonEvent::Eof).then_some(document)
    }

    /// Writes the document with `space` between all tokens.
    pub(super) fn write(&self, space: &str) -> String {
        let list = |open: char, items: Vec<String>, close: char| {
            format!("{open}{space}{}{space}{close}", items.join(&format!("{space},{space}")))
        };
        match self {
            Self::Scalar(text) => text.clone(),
            Self::Array(items) => list('[', items.iter().map(|item| item.write(space)).collect(), ']'),
            Self::Object(members) => {
                let member = |(name, value): &(String, Self)| {
                    format!("{}{space}:{space}{}", serde_json::Value::from(name.as_str()), value.write(space))
                };
                list('{', members.iter().map(member).collect(), '}')
            }
        }
    }

    /// Turns the order of members around, at every depth. True if there was an order to turn.
    pub(super) fn turn_members(&mut self) -> bool {
        match self {
            Self::Scalar(_) => false,
            Self::Array(items) => items.iter_mut().fold(false, |turned, item| item.turn_members() | turned),
            Self::Object(members) => {
                members.reverse();
                let several = members.len() > 1;
                members.iter_mut().fold(several, |turned, (_, value)| value.turn_members() || turned)
            }
        }
    }

    /// The value at a JSON pointer.
    pub(super) fn at(&mut self, pointer: &str) -> Option<&mut Self> {
        let mut here = self;
        for token in pointer.split('/').skip(1) {
            let token = token.replace("~1", "/").replace("~0", "~");
            here = match here {
                Self::Scalar(_) => return None,
                Self::Array(items) => items.get_mut(token.parse::<usize>().ok()?)?,
                Self::Object(members) => {
                    members.iter_mut().find(|(name, _)| *name == token).map(|(_, v)| v)?
                }
            };
        }
        Some(here)
    }
}

fn value<'a>(events: &mut SliceJsonParser<'a>, first: JsonEvent<'a>, room: usize) -> Option<Json> {
    let room = room.checked_sub(1)?;
    Some(match first {
        JsonEvent::String(text) => Json::Scalar(serde_json::Value::from(&*text).to_string()),
        JsonEvent::Number(number) => Json::Scalar(number.into_owned()),
        JsonEvent::Boolean(truth) => Json::Scalar(truth.to_string()),
        JsonEvent::Null => Json::Scalar("null".into()),
        JsonEvent::StartArray => {
            let mut items = Vec::new();
            loop {
                match events.parse_next().ok()? {
                    JsonEvent::EndArray => break Json::Array(items),
                    first => items.push(value(events, first, room)?),
                }
            }
        }
        JsonEvent::StartObject => {
            let mut members = Vec::new();
            loop {
                match events.parse_next().ok()? {
                    JsonEvent::EndObject => break Json::Object(members),
                    JsonEvent::ObjectKey(name) => {
                        let first = events.parse_next().ok()?;
                        members.push((name.into_owned(), value(events, first, room)?));
                    }
                    _ => return None,
                }
            }
        }
        JsonEvent::EndArray | JsonEvent::EndObject | JsonEvent::ObjectKey(_) | JsonEvent::Eof => return None,
    })
}
