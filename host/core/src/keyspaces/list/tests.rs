#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use super::*;
use crate::keyspaces::codec;
use proptest::prelude::*;
use std::time::Duration;

const POLICY: &str = "payments";
const LEASE: Duration = Duration::from_secs(30);

fn deriver(epoch: u64) -> Deriver {
    Deriver {
        key_schema: "s/1".into(),
        key_epoch: epoch,
        component: "c0ffee".into(),
        settings: "5e77".into(),
    }
}

fn gateway(number: u8) -> GatewayId {
    GatewayId([number; 16])
}

/// A ledger with the spaces of these epochs on its list, and this gateway deciding by the last.
fn with(epochs: &[u64], one: u8, now: Timestamp) -> (KeySpaces, Vec<SpaceNumber>) {
    let mut spaces = KeySpaces::default();
    let list = spaces.policies.entry(POLICY.into()).or_default();
    let numbers: Vec<_> = epochs.iter().map(|epoch| list.enter(&deriver(*epoch)).unwrap()).collect();
    spaces.renew(gateway(one), now.plus(LEASE));
    spaces.set_membership(gateway(one), &POLICY.into(), numbers.last().copied().into_iter().collect());
    spaces.review(now);
    (spaces, numbers)
}

#[test]
fn only_a_fifth_space_waits() {
    let (mut spaces, numbers) = with(&[0, 1, 2, 3], 1, Timestamp::default());
    let list = spaces.policies.get_mut(POLICY).unwrap();
    assert_eq!(list.enter(&deriver(4)), Err(Closed::Full));
    for (epoch, number) in numbers.iter().enumerate() {
        assert_eq!(list.enter(&deriver(epoch as u64)), Ok(*number));
    }
    assert_eq!(list.version, 4);
}

/// A request that only an older generation guards has its key in none of the newer spaces.
#[test]
fn a_pinned_space_stays() {
    let now = Timestamp::from_secs(100);
    let (mut spaces, numbers) = with(&[0, 1], 1, now);
    let version = spaces.list(POLICY).unwrap().version;
    assert!(!spaces.pin(gateway(1), POLICY, (numbers[0], version - 1), now), "of another list");
    assert!(!spaces.pin(gateway(2), POLICY, (numbers[0], version), now), "nobody knows it");
    assert!(!spaces.pin(gateway(1), POLICY, (SpaceNumber(7), version), now), "it isn't there");
    assert!(!spaces.pin(gateway(1), POLICY, (numbers[0], version), now.plus(LEASE)), "too late");
    assert!(spaces.pin(gateway(1), POLICY, (numbers[0], version), now));
    assert_eq!(spaces.blockers(POLICY, numbers[0], now), [Blocker::Decides(gateway(1))]);
    assert_eq!(codec::decode(&codec::encode(&spaces)).unwrap(), spaces);
    spaces.review(now);
    assert!(!spaces.remove_space(POLICY, numbers[0], now, now));
    spaces.set_membership(gateway(1), &POLICY.into(), [numbers[1]].into());
    spaces.review(now);
    assert!(spaces.remove_space(POLICY, numbers[0], now, now));
}

#[test]
fn a_space_comes_back_under_its_number() {
    let now = Timestamp::from_secs(100);
    let (mut spaces, numbers) = with(&[0, 1], 1, now);
    assert_eq!(spaces.blockers(POLICY, numbers[0], now), [Blocker::Records(now)]);
    assert!(spaces.remove_space(POLICY, numbers[0], now, now));
    let list = spaces.policies.get_mut(POLICY).unwrap();
    assert_eq!(list.enter(&deriver(7)).unwrap(), SpaceNumber(2), "numbers are never given twice");
    assert_eq!(list.enter(&deriver(0)).unwrap(), numbers[0]);
    let order: Vec<_> = list.spaces.iter().map(|space| space.number.0).collect();
    assert_eq!(order, [0, 1, 2], "lowest first");
}

#[test]
fn a_deciding_or_lagging_gateway_blocks_a_space() {
    let now = Timestamp::from_secs(100);
    let (mut spaces, numbers) = with(&[0], 1, now);
    spaces.renew(gateway(2), now.plus(LEASE));
    spaces.set_membership(gateway(2), &POLICY.into(), [numbers[0]].into());
    let new = spaces.policies.get_mut(POLICY).unwrap().enter(&deriver(1)).unwrap();
    // The first gateway goes over; the second has not read the list yet, and decides by the old space.
    spaces.set_membership(gateway(1), &POLICY.into(), [new].into());
    spaces.review(now);
    assert_eq!(spaces.blockers(POLICY, numbers[0], now), [Blocker::Decides(gateway(2))]);
    // A request in flight still decides by the old space.
    spaces.set_membership(gateway(2), &POLICY.into(), [new, numbers[0]].into());
    assert!(!spaces.remove_space(POLICY, numbers[0], now, now));
    spaces.set_membership(gateway(2), &POLICY.into(), [new].into());
    spaces.review(now);
    assert!(spaces.remove_space(POLICY, numbers[0], now, now));

    // A member that doesn't derive the other spaces yet holds a space open, too, until its lease is over.
    let (mut spaces, numbers) = with(&[0, 1, 2], 1, now);
    let behind = Membership {
        version: 2,
        derives: [numbers[0], numbers[1]].into(),
        decides: [numbers[1]].into(),
        ..Membership::default()
    };
    let memberships = [(Arc::from(POLICY), behind)].into();
    spaces.members.push(Member { id: gateway(2), lease_until: now.plus(LEASE), memberships });
    spaces.review(now);
    assert_eq!(spaces.blockers(POLICY, numbers[0], now), [Blocker::Behind(gateway(2))]);
    let later = now.plus(LEASE);
    spaces.renew(gateway(1), later.plus(LEASE));
    assert_eq!(spaces.blockers(POLICY, numbers[0], later), [Blocker::Records(later)]);
}

#[test]
fn only_records_claimed_before_closing_block_a_space() {
    let now = Timestamp::from_secs(100);
    let (mut spaces, numbers) = with(&[0, 1], 1, now);
    let later = now.plus(Duration::from_secs(5));
    spaces.review(later);
    assert_eq!(spaces.blockers(POLICY, numbers[0], later), [Blocker::Records(now)], "since it began");
    // A gateway goes back to the space meanwhile: earlier findings don't count.
    spaces.set_membership(gateway(1), &POLICY.into(), [numbers[0]].into());
    spaces.review(later);
    spaces.set_membership(gateway(1), &POLICY.into(), [numbers[1]].into());
    spaces.review(later);
    assert!(!spaces.remove_space(POLICY, numbers[0], now, later));
    assert!(spaces.remove_space(POLICY, numbers[0], later, later));
    assert_eq!(spaces.blockers(POLICY, numbers[1], later), [Blocker::Only]);
    assert!(
        !spaces.remove_space(POLICY, numbers[1], later, later),
        "the last one stays while somebody decides by it"
    );
    spaces.remove_member(gateway(1));
    spaces.review(later);
    assert_eq!(spaces.blockers(POLICY, numbers[1], later), [Blocker::Records(later)]);
    assert!(spaces.remove_space(POLICY, numbers[1], later, later));
    assert_eq!(spaces.policies[POLICY].clone().enter(&deriver(1)), Ok(numbers[1]), "and comes back");
}

#[test]
fn a_refusal_is_of_component_and_settings() {
    let mut list = SpaceList::default();
    list.enter(&deriver(0)).unwrap();
    let other = Deriver { component: "bad".into(), ..deriver(0) };
    list.refuse(&other, "POST /v1/charges got another key");
    assert_eq!(list.enter(&other), Err(Closed::Refused("POST /v1/charges got another key".into())));
    assert!(list.enter(&deriver(0)).is_ok());
    assert!(list.enter(&Deriver { key_epoch: 1, ..other.clone() }).is_ok(), "an epoch says that keys change");
    assert_eq!(list.stay(&other), Ok(SpaceNumber(0)), "one that is active goes on");
    list.enter(&deriver(0)).unwrap();
    list.refuse(&deriver(0), "it is active");
    assert!(list.enter(&deriver(0)).is_ok(), "what is active is never refused");
    assert!(list.enter(&other).is_err(), "what was refused stays so");
    for n in 0..2 * REFUSALS_MAX {
        list.refuse(&Deriver { component: n.to_string().into(), ..deriver(0) }, "no");
    }
    assert_eq!(list.refused.len(), REFUSALS_MAX);
}

#[test]
fn a_refusal_holds_while_its_space_is_listed() {
    let now = Timestamp::from_secs(100);
    let (mut spaces, numbers) = with(&[0, 1], 1, now);
    let other = Deriver { component: "bad".into(), ..deriver(0) };
    let list = spaces.policies.get_mut(POLICY).unwrap();
    list.refuse(&other, "no");
    assert!(list.enter(&other).is_err());
    assert!(spaces.remove_space(POLICY, numbers[0], now, now));
    let list = spaces.policies.get_mut(POLICY).unwrap();
    assert_eq!(list.enter(&other), Ok(numbers[0]), "no record has a key of the space any more");
}

/// What a gateway can do to the document.
#[derive(Clone, Debug)]
enum Act {
    Enter { gateway: u8, epoch: u64 },
    Read { gateway: u8 },
    Leave,
    Pass { secs: u64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0_u8..3, 0_u64..6).prop_map(|(gateway, epoch)| Act::Enter { gateway, epoch }),
        (0_u8..3).prop_map(|gateway| Act::Read { gateway }),
        Just(Act::Leave),
        (1_u64..20).prop_map(|secs| Act::Pass { secs }),
    ]
}

proptest! {
    /// Properties of any sequence of acts. Numbers keep their meaning. A list has at most four spaces, in
    /// order. Each member decides by a space on the list. Any two members derive a common space by which one
    /// of them decides.
    #[test]
    fn live_gateways_always_have_a_space_in_common(acts in prop::collection::vec(act(), 1..60)) {
        let mut spaces = KeySpaces::default();
        let mut now = Timestamp::from_secs(1);
        let mut meaning: BTreeMap<SpaceNumber, u64> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Enter { gateway: one, epoch } => {
                    let list = spaces.policies.entry(POLICY.into()).or_default();
                    if let Ok(number) = list.enter(&deriver(epoch)) {
                        prop_assert_eq!(*meaning.entry(number).or_insert(epoch), epoch);
                        spaces.renew(gateway(one), now.plus(LEASE));
                        spaces.set_membership(gateway(one), &POLICY.into(), [number].into());
                    }
                }
                Act::Read { gateway: one } => {
                    let mine = spaces.members.iter().find(|member| member.id == gateway(one));
                    let Some(membership) = mine.and_then(|member| member.memberships.get(POLICY)).cloned() else { continue };
                    // A gateway that was found dead meanwhile begins anew, with `enter`.
                    spaces.renew(gateway(one), now.plus(LEASE));
                    spaces.set_membership(gateway(one), &POLICY.into(), membership.decides);
                }
                Act::Leave => {
                    let Some(list) = spaces.list(POLICY) else { continue };
                    for space in list.spaces.clone() {
                        if let Some(since) = space.closing_since {
                            spaces.remove_space(POLICY, space.number, since, now);
                        }
                    }
                }
                Act::Pass { secs } => now = now.plus(Duration::from_secs(secs)),
            }
            spaces.review(now);
            prop_assert_eq!(codec::decode(&codec::encode(&spaces)).unwrap(), spaces.clone());
            let Some(list) = spaces.list(POLICY) else { continue };
            prop_assert!(list.spaces.len() <= SPACES_MAX);
            prop_assert!(list.spaces.is_sorted_by(|a, b| a.number < b.number));
            let memberships: Vec<_> = spaces.members.iter().filter_map(|member| member.memberships.get(POLICY)).collect();
            for membership in &memberships {
                prop_assert!(!membership.decides.is_empty() && membership.decides.is_subset(&list.numbers()));
                for other in &memberships {
                    let common = membership.decides.is_subset(&other.derives) || other.decides.is_subset(&membership.derives);
                    prop_assert!(common, "{membership:?} {other:?}");
                }
            }
        }
    }
}

/// These bytes were written by version 0.1.0 and must read for ever.
#[test]
fn the_list_reads_as_it_always_did() {
    let (mut spaces, _) = with(&[0, 1], 1, Timestamp::from_secs(100));
    spaces.policies.get_mut(POLICY).unwrap().refuse(&deriver(9), "no");
    let hex: String = codec::encode(&spaces).iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = include_str!("../../codec/golden/1-keyspaces.hex").replace('\n', "");
    assert_eq!(hex, golden);
    let later = [&[0x93, 2][..], &codec::encode(&spaces)[2..]].concat();
    let error = codec::decode(&later).unwrap_err();
    assert!(matches!(error, crate::codec::Corrupt::Format(2)), "{error}");
}
