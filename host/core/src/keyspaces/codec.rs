//! The document of key spaces as bytes: a MessagePack array with the format version in front, like a record.
//! A new field goes to the end and has a default.

use crate::codec::Corrupt;
use crate::ids::{GatewayId, SpaceNumber};
use crate::keyspaces::list::{
    Deriver, DeriverRefusal, KeySpaces, KnownSpace, Member, Membership, Space, SpaceList,
};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version that this program writes.
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct StoredSpaces {
    format: u8,
    policies: Vec<(String, StoredSpaceList)>,
    gateways: Vec<StoredMember>,
}

#[derive(Serialize, Deserialize)]
struct StoredSpaceList {
    version: u64,
    /// Number, deriver, and since when the space is closing, in milliseconds.
    spaces: Vec<(u32, StoredDeriver, Option<u64>)>,
    known: Vec<(u32, String, u64)>,
    refused: Vec<(StoredDeriver, String)>,
}

/// Key schema, key epoch, component, settings.
#[derive(Serialize, Deserialize)]
struct StoredDeriver(String, u64, String, String);

#[derive(Serialize, Deserialize)]
struct StoredMember {
    #[serde(with = "serde_bytes")]
    id: Vec<u8>,
    lease_until: u64,
    /// By policy: version, derives, decides.
    memberships: Vec<(String, u64, Vec<u32>, Vec<u32>)>,
    /// By policy: pins. Left out where there is none, as earlier versions did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pins: Vec<(String, Vec<u32>)>,
}

/// The document as bytes.
pub fn encode(spaces: &KeySpaces) -> Vec<u8> {
    let numbers = |set: &std::collections::BTreeSet<SpaceNumber>| set.iter().map(|n| n.0).collect();
    let list = |list: &SpaceList| StoredSpaceList {
        version: list.version,
        spaces: (list.spaces.iter())
            .map(|one| {
                (one.number.0, StoredDeriver::from(&one.deriver), one.closing_since.map(Timestamp::as_millis))
            })
            .collect(),
        known: list.known.iter().map(|k| (k.number.0, k.key_schema.to_string(), k.key_epoch)).collect(),
        refused: (list.refused.iter())
            .map(|one| (StoredDeriver::from(&one.deriver), one.why.to_string()))
            .collect(),
    };
    let member = |member: &Member| StoredMember {
        id: member.id.0.to_vec(),
        lease_until: member.lease_until.as_millis(),
        memberships: (member.memberships.iter())
            .map(|(policy, membership)| {
                (
                    policy.to_string(),
                    membership.version,
                    numbers(&membership.derives),
                    numbers(&membership.decides),
                )
            })
            .collect(),
        pins: (member.memberships.iter())
            .filter(|(_, membership)| !membership.pins.is_empty())
            .map(|(policy, membership)| (policy.to_string(), numbers(&membership.pins)))
            .collect(),
    };
    let stored = StoredSpaces {
        format: FORMAT,
        policies: spaces.policies.iter().map(|(name, one)| (name.to_string(), list(one))).collect(),
        gateways: spaces.members.iter().map(member).collect(),
    };
    rmp_serde::to_vec(&stored)
        .expect("a Vec takes every write, and every type here is one that MessagePack has")
}

/// The document that `bytes` hold.
pub fn decode(bytes: &[u8]) -> Result<KeySpaces, Corrupt> {
    if let Some(later) = crate::codec::format(bytes).filter(|format| *format > FORMAT) {
        return Err(Corrupt::Format(later));
    }
    let stored: StoredSpaces = rmp_serde::from_slice(bytes)?;
    let numbers = |all: Vec<u32>| all.into_iter().map(SpaceNumber).collect();
    let member = |member: StoredMember| -> Result<Member, Corrupt> {
        let membership = |(policy, version, derives, decides): (String, u64, Vec<u32>, Vec<u32>)| {
            let (derives, decides) = (numbers(derives), numbers(decides));
            (policy.into(), Membership { version, derives, decides, ..Membership::default() })
        };
        let mut memberships: BTreeMap<Arc<str>, Membership> =
            member.memberships.into_iter().map(membership).collect();
        for (policy, pins) in member.pins {
            if let Some(membership) = memberships.get_mut(&*policy) {
                membership.pins = numbers(pins);
            }
        }
        Ok(Member {
            id: GatewayId(member.id.try_into().map_err(|_| Corrupt::Value("gateway id"))?),
            lease_until: Timestamp::from_millis(member.lease_until),
            memberships,
        })
    };
    Ok(KeySpaces {
        policies: stored.policies.into_iter().map(|(name, list)| (name.into(), list.into())).collect(),
        members: stored.gateways.into_iter().map(member).collect::<Result<_, _>>()?,
    })
}

impl From<&Deriver> for StoredDeriver {
    fn from(deriver: &Deriver) -> Self {
        let text = |text: &std::sync::Arc<str>| text.to_string();
        Self(text(&deriver.key_schema), deriver.key_epoch, text(&deriver.component), text(&deriver.settings))
    }
}

impl From<StoredDeriver> for Deriver {
    fn from(StoredDeriver(key_schema, key_epoch, component, settings): StoredDeriver) -> Self {
        Self {
            key_schema: key_schema.into(),
            key_epoch,
            component: component.into(),
            settings: settings.into(),
        }
    }
}

impl From<StoredSpaceList> for SpaceList {
    fn from(list: StoredSpaceList) -> Self {
        Self {
            version: list.version,
            spaces: (list.spaces.into_iter())
                .map(|(number, deriver, closing_since)| Space {
                    number: SpaceNumber(number),
                    deriver: deriver.into(),
                    closing_since: closing_since.map(Timestamp::from_millis),
                })
                .collect(),
            known: (list.known.into_iter())
                .map(|(number, key_schema, key_epoch)| KnownSpace {
                    number: SpaceNumber(number),
                    key_schema: key_schema.into(),
                    key_epoch,
                })
                .collect(),
            refused: (list.refused.into_iter())
                .map(|(deriver, why)| DeriverRefusal { deriver: deriver.into(), why: why.into() })
                .collect(),
        }
    }
}
