//! The document of key spaces as bytes: a MessagePack array with the format version in front, as
//! records are. A new field goes to the end and has a default.

use crate::codec::Corrupt;
use crate::keyspace_list::{
    GatewayId, KeySpaces, Known, Listed, Live, Maker, Refused, SpaceList, SpaceNumber, Stand,
};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version that this program writes.
const FORMAT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u8,
    policies: Vec<(String, StoredList)>,
    gateways: Vec<StoredLive>,
}

#[derive(Serialize, Deserialize)]
struct StoredList {
    version: u64,
    /// With since when each is closing, in milliseconds.
    spaces: Vec<(u32, StoredMaker, Option<u64>)>,
    known: Vec<(u32, String, u64)>,
    refused: Vec<(StoredMaker, String)>,
}

/// Key schema, key epoch, component, settings.
#[derive(Serialize, Deserialize)]
struct StoredMaker(String, u64, String, String);

#[derive(Serialize, Deserialize)]
struct StoredLive {
    #[serde(with = "serde_bytes")]
    id: Vec<u8>,
    lease_until: u64,
    /// By policy: version, derives, decides.
    stands: Vec<(String, u64, Vec<u32>, Vec<u32>)>,
    /// By policy: keeps. Left out where there is none, as versions before it did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keeps: Vec<(String, Vec<u32>)>,
}

pub fn encode(spaces: &KeySpaces) -> Vec<u8> {
    let numbers = |set: &std::collections::BTreeSet<SpaceNumber>| set.iter().map(|n| n.0).collect();
    let list = |list: &SpaceList| StoredList {
        version: list.version,
        spaces: (list.spaces.iter())
            .map(|one| {
                (one.number.0, StoredMaker::from(&one.maker), one.closing_since.map(Timestamp::as_millis))
            })
            .collect(),
        known: list.known.iter().map(|k| (k.number.0, k.key_schema.to_string(), k.key_epoch)).collect(),
        refused: (list.refused.iter())
            .map(|one| (StoredMaker::from(&one.maker), one.why.to_string()))
            .collect(),
    };
    let live = |live: &Live| StoredLive {
        id: live.id.0.to_vec(),
        lease_until: live.lease_until.as_millis(),
        stands: (live.stands.iter())
            .map(|(policy, stand)| {
                (policy.to_string(), stand.version, numbers(&stand.derives), numbers(&stand.decides))
            })
            .collect(),
        keeps: (live.stands.iter())
            .filter(|(_, stand)| !stand.keeps.is_empty())
            .map(|(policy, stand)| (policy.to_string(), numbers(&stand.keeps)))
            .collect(),
    };
    let stored = Stored {
        format: FORMAT,
        policies: spaces.policies.iter().map(|(name, one)| (name.to_string(), list(one))).collect(),
        gateways: spaces.gateways.iter().map(live).collect(),
    };
    rmp_serde::to_vec(&stored)
        .expect("a Vec takes every write, and every type here is one that MessagePack has")
}

pub fn decode(bytes: &[u8]) -> Result<KeySpaces, Corrupt> {
    if let Some(later) = crate::codec::format(bytes).filter(|format| *format > FORMAT) {
        return Err(Corrupt::Format(later));
    }
    let stored: Stored = rmp_serde::from_slice(bytes)?;
    let numbers = |all: Vec<u32>| all.into_iter().map(SpaceNumber).collect();
    let live = |live: StoredLive| -> Result<Live, Corrupt> {
        let stand = |(policy, version, derives, decides): (String, u64, Vec<u32>, Vec<u32>)| {
            let (derives, decides) = (numbers(derives), numbers(decides));
            (policy.into(), Stand { version, derives, decides, ..Stand::default() })
        };
        let mut stands: BTreeMap<Arc<str>, Stand> = live.stands.into_iter().map(stand).collect();
        for (policy, keeps) in live.keeps {
            if let Some(stand) = stands.get_mut(&*policy) {
                stand.keeps = numbers(keeps);
            }
        }
        Ok(Live {
            id: GatewayId(live.id.try_into().map_err(|_| Corrupt::Value("gateway id"))?),
            lease_until: Timestamp::from_millis(live.lease_until),
            stands,
        })
    };
    Ok(KeySpaces {
        policies: stored.policies.into_iter().map(|(name, list)| (name.into(), list.into())).collect(),
        gateways: stored.gateways.into_iter().map(live).collect::<Result<_, _>>()?,
    })
}

impl From<&Maker> for StoredMaker {
    fn from(maker: &Maker) -> Self {
        let text = |text: &std::sync::Arc<str>| text.to_string();
        Self(text(&maker.key_schema), maker.key_epoch, text(&maker.component), text(&maker.settings))
    }
}

impl From<StoredMaker> for Maker {
    fn from(StoredMaker(key_schema, key_epoch, component, settings): StoredMaker) -> Self {
        Self {
            key_schema: key_schema.into(),
            key_epoch,
            component: component.into(),
            settings: settings.into(),
        }
    }
}

impl From<StoredList> for SpaceList {
    fn from(list: StoredList) -> Self {
        Self {
            version: list.version,
            spaces: (list.spaces.into_iter())
                .map(|(number, maker, closing_since)| Listed {
                    number: SpaceNumber(number),
                    maker: maker.into(),
                    closing_since: closing_since.map(Timestamp::from_millis),
                })
                .collect(),
            known: (list.known.into_iter())
                .map(|(number, key_schema, key_epoch)| Known {
                    number: SpaceNumber(number),
                    key_schema: key_schema.into(),
                    key_epoch,
                })
                .collect(),
            refused: (list.refused.into_iter())
                .map(|(maker, why)| Refused { maker: maker.into(), why: why.into() })
                .collect(),
        }
    }
}
