//! Records as bytes: a MessagePack array with the format version in front, and what was added later behind it.
//!
//! Stored bytes are a promise to later versions of this program. So they have types of their own here, and
//! golden bytes guard them (`golden/`, one file a record). The rules for a change:
//!
//! - A field that older versions may ignore goes behind the array, as a value of its own, because a decoder refuses an
//!   array that is longer than it knows, and reads nothing behind it. Something in the array that older versions
//!   ignore says that it is there, so that a cut record is told. The version stays, the golden files stay as they are,
//!   and a new one shows the field.
//! - Any other change, such as a new state or another meaning, raises [`FORMAT`]. The golden files of every
//!   earlier version stay and must read; new ones are named by the new version. An older program refuses a
//!   record with a later version by its number instead of reading it wrongly.
//! - The data folder has a format of its own (`store/embedded/folder.rs`), for the layout of the tables.

use crate::answer::{Answer, AnswerSummary};
use crate::ids::{ExecutionId, Fingerprint, OperationId, PrincipalId, Recipe, SpaceNumber};
use crate::outcome::UnknownReason;
use crate::record::{Origin, Pointer, Probing, Record, State, Times};
use crate::time::{Timestamp, millis};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The format version that this program writes.
pub const FORMAT: u8 = 1;

/// Why stored bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum Corrupt {
    /// The bytes don't decode.
    #[error("a stored record doesn't decode: {0}")]
    Shape(#[from] rmp_serde::decode::Error),
    /// The bytes decode to a value that no record has.
    #[error("a stored record has an impossible {0}")]
    Value(&'static str),
    /// A later version of this program wrote them.
    #[error(
        "a stored record has format {0}, and this version reads up to {FORMAT}: use the newer oncegate that wrote it"
    )]
    Format(u8),
}

/// The record as bytes.
pub fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(record.weight());
    encode_into(record, &mut bytes);
    bytes
}

/// The record as bytes, behind what a store puts in front.
pub fn encode_into(record: &Record, bytes: &mut Vec<u8>) {
    const TAKEN: &str = "a Vec takes every write, and every type here is one that MessagePack has";
    let mut serializer = rmp_serde::Serializer::new(bytes);
    Stored::from(record).serialize(&mut serializer).expect(TAKEN);
    if let Some(why) = resolved_because(record) {
        why.serialize(&mut serializer).expect(TAKEN);
    }
}

/// The reason of the operator who told how it ended. What has not ended has none.
fn resolved_because(record: &Record) -> Option<&str> {
    let is_finished = matches!(record.state, State::Completed { .. } | State::Consumed { .. });
    record.resolved_because.as_deref().filter(|_| is_finished)
}

/// The record that `bytes` hold. Bodies and field values share the allocation of `bytes`.
pub fn decode(bytes: &Bytes) -> Result<Record, Corrupt> {
    match format(bytes) {
        Some(0) => return Err(Corrupt::Value("format")),
        Some(later) if later > FORMAT => return Err(Corrupt::Format(later)),
        _ => {}
    }
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(&**bytes);
    let stored = Stored::deserialize(&mut deserializer)?;
    let resolved_because = match (stored.state, stored.reason) {
        (1 | 2, RESOLVED) => Some(<&str>::deserialize(&mut deserializer)?.into()),
        _ => None,
    };
    Ok(Record { resolved_because, ..stored.into_record(bytes)? })
}

/// The version, which is the first element of the array, so that it can be read whatever follows. (With
/// a sixteenth field the array's own length takes more bytes.)
pub(crate) fn format(bytes: &[u8]) -> Option<u8> {
    match *bytes {
        [0x90..=0x9f, format @ ..0x80, ..]
        | [0xdc, _, _, format @ ..0x80, ..]
        | [0xdd, _, _, _, _, format @ ..0x80, ..] => Some(format),
        _ => None,
    }
}

/// In place of a reason: the operator's stands behind the array.
const RESOLVED: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    format: u8,
    recipe: u8,
    #[serde(with = "serde_bytes")]
    fingerprint: &'a [u8],
    #[serde(with = "serde_bytes")]
    execution: &'a [u8],
    attempts: u32,
    first_attempt: u64,
    resent: bool,
    /// Milliseconds: lease, retention, tombstone, unknown retention, memory.
    times: [u64; 5],
    #[serde(borrow)]
    origin: StoredOrigin<'a>,
    memo: Option<&'a str>,
    /// 0 executing, 1 completed, 2 consumed, 3 unknown, 4 pointer.
    state: u8,
    /// Lease end (a pointer's too), completion, or since when it is unknown.
    at: u64,
    /// The number of the reason why it is unknown; of a finished record [`RESOLVED`], or 0.
    reason: u8,
    answer: Option<StoredAnswer<'a>>,
    summary: Option<StoredSummary<'a>>,
    /// The number of tries, and when the next is due. Left out where there is none, as earlier versions did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probing: Option<(u32, Option<u64>)>,
    /// Only a pointer has this field; other records end before it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pointer: Option<StoredPointer<'a>>,
}

#[derive(Serialize, Deserialize)]
struct StoredPointer<'a> {
    #[serde(with = "serde_bytes")]
    target: &'a [u8],
    target_space: u32,
    target_recipe: u8,
    #[serde(with = "serde_bytes")]
    target_fingerprint: &'a [u8],
    look_at: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredOrigin<'a> {
    route: &'a str,
    policy: &'a str,
    key_schema: &'a str,
    key_epoch: u64,
    normalisation: u16,
    method: &'a str,
    authority: &'a str,
    path: &'a str,
    #[serde(with = "serde_bytes")]
    principal: &'a [u8],
    first_sent: Option<u32>,
}

type StoredFields<'a> = Vec<(&'a serde_bytes::Bytes, &'a serde_bytes::Bytes)>;

#[derive(Serialize, Deserialize)]
struct StoredAnswer<'a> {
    status: u16,
    #[serde(borrow)]
    fields: StoredFields<'a>,
    #[serde(with = "serde_bytes")]
    body: &'a [u8],
    trailers: StoredFields<'a>,
}

#[derive(Serialize, Deserialize)]
struct StoredSummary<'a> {
    status: Option<u16>,
    location: Option<&'a str>,
    content_location: Option<&'a str>,
    etag: Option<&'a str>,
}

impl<'a> From<&'a Record> for Stored<'a> {
    fn from(record: &'a Record) -> Self {
        let told = if resolved_because(record).is_some() { RESOLVED } else { 0 };
        let (state, at, reason) = match &record.state {
            State::Executing { lease_until } => (0, *lease_until, 0),
            State::Completed { at, .. } => (1, *at, told),
            State::Consumed { at, .. } => (2, *at, told),
            State::Unknown { since, reason } => (3, *since, *reason as u8),
            State::Pointer(pointer) => (4, pointer.lease_until, 0),
        };
        let (answer, summary) = match &record.state {
            State::Completed { answer, .. } => (Some(StoredAnswer::from(&**answer)), None),
            State::Consumed { summary, .. } => (None, Some(StoredSummary::from(summary))),
            State::Executing { .. } | State::Unknown { .. } | State::Pointer(_) => (None, None),
        };
        let pointer = match &record.state {
            State::Pointer(pointer) => Some(StoredPointer::from(pointer)),
            _ => None,
        };
        let times = &record.times;
        Self {
            format: FORMAT,
            recipe: record.fingerprint.recipe as u8,
            fingerprint: &record.fingerprint.hash,
            execution: &record.execution.0,
            attempts: record.attempts,
            first_attempt: record.first_attempt.as_millis(),
            resent: record.resent,
            times: [times.lease, times.retention, times.tombstone, times.unknown_retention, times.memory]
                .map(millis),
            origin: StoredOrigin::from(&record.origin),
            memo: record.memo.as_deref(),
            state,
            at: at.as_millis(),
            reason,
            answer,
            summary,
            // Fields that are left out must be the last ones.
            probing: match (record.probing, &pointer) {
                (None, Some(_)) => Some((0, None)),
                (probing, _) => {
                    probing.map(|probing| (probing.tries, probing.next.map(Timestamp::as_millis)))
                }
            },
            pointer,
        }
    }
}

impl<'a> From<&'a Origin> for StoredOrigin<'a> {
    fn from(origin: &'a Origin) -> Self {
        Self {
            route: &origin.route,
            policy: &origin.policy,
            key_schema: &origin.key_schema,
            key_epoch: origin.key_epoch,
            normalisation: origin.normalisation,
            method: &origin.method,
            authority: &origin.authority,
            path: &origin.path,
            principal: &origin.principal.0,
            first_sent: origin.first_sent,
        }
    }
}

impl<'a> From<&'a Pointer> for StoredPointer<'a> {
    fn from(pointer: &'a Pointer) -> Self {
        Self {
            target: &pointer.target.0,
            target_space: pointer.target_space.0,
            target_recipe: pointer.target_fingerprint.recipe as u8,
            target_fingerprint: &pointer.target_fingerprint.hash,
            look_at: pointer.look_at.as_millis(),
        }
    }
}

impl<'a> From<&'a Answer> for StoredAnswer<'a> {
    fn from(answer: &'a Answer) -> Self {
        Self {
            status: answer.status,
            fields: borrow_fields(&answer.fields),
            body: &answer.body,
            trailers: borrow_fields(&answer.trailers),
        }
    }
}

impl<'a> From<&'a AnswerSummary> for StoredSummary<'a> {
    fn from(summary: &'a AnswerSummary) -> Self {
        Self {
            status: summary.status,
            location: summary.location.as_deref(),
            content_location: summary.content_location.as_deref(),
            etag: summary.etag.as_deref(),
        }
    }
}

fn borrow_fields(fields: &[(Bytes, Bytes)]) -> StoredFields<'_> {
    fields.iter().map(|(n, v)| (serde_bytes::Bytes::new(n), serde_bytes::Bytes::new(v))).collect()
}

impl Stored<'_> {
    fn into_record(self, bytes: &Bytes) -> Result<Record, Corrupt> {
        let at = Timestamp::from_millis(self.at);
        let state = match (self.state, self.answer, self.summary) {
            (4, None, None) => {
                let pointer = self.pointer.ok_or(Corrupt::Value("pointer"))?;
                State::Pointer(pointer.into_pointer(at)?)
            }
            _ if self.pointer.is_some() => return Err(Corrupt::Value("pointer")),
            (0, None, None) => State::Executing { lease_until: at },
            (1, Some(answer), None) => State::Completed { at, answer: Arc::new(answer.into_answer(bytes)) },
            (2, None, Some(summary)) => State::Consumed { at, summary: summary.into_summary() },
            (3, None, None) => State::Unknown {
                since: at,
                reason: UnknownReason::from_number(self.reason).ok_or(Corrupt::Value("reason"))?,
            },
            _ => return Err(Corrupt::Value("state")),
        };
        let [lease, retention, tombstone, unknown_retention, memory] = self.times.map(Duration::from_millis);
        Ok(Record {
            fingerprint: Fingerprint {
                recipe: Recipe::from_number(self.recipe).ok_or(Corrupt::Value("recipe"))?,
                hash: fixed(self.fingerprint, "fingerprint")?,
            },
            execution: ExecutionId(fixed(self.execution, "execution id")?),
            attempts: self.attempts,
            first_attempt: Timestamp::from_millis(self.first_attempt),
            resent: self.resent,
            times: Times { lease, retention, tombstone, unknown_retention, memory },
            origin: self.origin.into_origin()?,
            memo: self.memo.map(Arc::from),
            probing: self
                .probing
                .filter(|_| !matches!(state, State::Pointer(_)))
                .map(|(tries, next)| Probing { tries, next: next.map(Timestamp::from_millis) }),
            resolved_because: None,
            state,
        })
    }
}

impl StoredOrigin<'_> {
    fn into_origin(self) -> Result<Origin, Corrupt> {
        Ok(Origin {
            route: self.route.into(),
            policy: self.policy.into(),
            key_schema: self.key_schema.into(),
            key_epoch: self.key_epoch,
            normalisation: self.normalisation,
            method: self.method.into(),
            authority: self.authority.into(),
            path: self.path.into(),
            principal: PrincipalId(fixed(self.principal, "principal")?),
            first_sent: self.first_sent,
        })
    }
}

impl StoredPointer<'_> {
    fn into_pointer(self, lease_until: Timestamp) -> Result<Pointer, Corrupt> {
        Ok(Pointer {
            target: OperationId(fixed(self.target, "pointer's target")?),
            target_space: SpaceNumber(self.target_space),
            target_fingerprint: Fingerprint {
                recipe: Recipe::from_number(self.target_recipe).ok_or(Corrupt::Value("recipe"))?,
                hash: fixed(self.target_fingerprint, "fingerprint")?,
            },
            lease_until,
            look_at: Timestamp::from_millis(self.look_at),
        })
    }
}

impl StoredAnswer<'_> {
    fn into_answer(self, bytes: &Bytes) -> Answer {
        let own = |fields: StoredFields<'_>| {
            fields.into_iter().map(|(n, v)| (bytes.slice_ref(n), bytes.slice_ref(v))).collect()
        };
        Answer {
            status: self.status,
            fields: own(self.fields),
            body: bytes.slice_ref(self.body),
            trailers: own(self.trailers),
        }
    }
}

impl StoredSummary<'_> {
    fn into_summary(self) -> AnswerSummary {
        AnswerSummary {
            status: self.status,
            location: self.location.map(Arc::from),
            content_location: self.content_location.map(Arc::from),
            etag: self.etag.map(Arc::from),
        }
    }
}

fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], Corrupt> {
    bytes.try_into().map_err(|_| Corrupt::Value(what))
}

#[cfg(test)]
mod tests;
