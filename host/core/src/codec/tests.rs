//! Stored records are a promise to later versions: the bytes in `golden/` were written by version 0.1.0
//! and must read for ever. The rule for changing them is in `codec.rs`.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use proptest::prelude::*;

/// Records of each state, with and without the optional fields, and their bytes in format 1.
fn golden() -> [(&'static str, Record, &'static str); 14] {
    let plain = Record {
        fingerprint: Fingerprint { recipe: Recipe::Request, hash: [0x11; 32] },
        execution: ExecutionId([0x22; 16]),
        attempts: 1,
        first_attempt: Timestamp::from_millis(1_800_000_000_123),
        resent: false,
        times: Times {
            lease: Duration::from_secs(60),
            retention: Duration::from_secs(86_400),
            tombstone: Duration::ZERO,
            unknown_retention: Duration::from_secs(2_592_000),
            memory: Duration::from_millis(172_800_500),
        },
        origin: Origin {
            route: "charges".into(),
            policy: "payments".into(),
            key_schema: "idempotency-key/1".into(),
            key_epoch: 7,
            normalisation: 1,
            method: "POST".into(),
            authority: "api.example.com".into(),
            path: "/v1/charges".into(),
            principal: PrincipalId([0x33; 32]),
            first_sent: None,
        },
        memo: None,
        state: State::Executing { lease_until: Timestamp::from_millis(1_800_000_060_123) },
        probing: None,
        resolved_because: None,
    };
    let at = Timestamp::from_millis(1_800_000_001_000);
    let field = |name: &'static str, value: &'static [u8]| (Bytes::from(name), Bytes::from(value));
    let completed = Record {
        fingerprint: Fingerprint { recipe: Recipe::Document, hash: [0x44; 32] },
        origin: Origin { first_sent: Some(1_799_999_999), ..plain.origin.clone() },
        memo: Some("order é".into()),
        state: State::Completed {
            at,
            answer: Arc::new(Answer {
                status: 201,
                // Values are bytes, not text, and names repeat.
                fields: vec![field("link", b"</a>"), field("link", b"</b>"), field("x-raw", b"\xff\x00")],
                body: Bytes::from_static(b"{\"id\":\"ch_1\"}"),
                trailers: vec![field("digest", b"d")],
            }),
        },
        ..plain.clone()
    };
    let consumed = Record {
        fingerprint: Fingerprint { recipe: Recipe::Parts, hash: [0x55; 32] },
        state: State::Consumed {
            at,
            summary: AnswerSummary {
                status: Some(202),
                location: Some("/jobs/1".into()),
                ..AnswerSummary::default()
            },
        },
        ..plain.clone()
    };
    let unknown = Record {
        fingerprint: Fingerprint { recipe: Recipe::KeyOnly, hash: [0x66; 32] },
        attempts: 300,
        resent: true,
        state: State::Unknown { since: at, reason: UnknownReason::Crashed },
        ..plain.clone()
    };
    let probed = Record {
        probing: Some(Probing { tries: 3, next: Some(Timestamp::from_millis(1_800_000_002_500)) }),
        ..unknown.clone()
    };
    let pointer = Record {
        state: State::Pointer(Pointer {
            target: OperationId([0x77; 32]),
            target_space: SpaceNumber(3),
            target_fingerprint: Fingerprint { recipe: Recipe::Parts, hash: [0x88; 32] },
            lease_until: at,
            look_at: Timestamp::from_millis(1_800_000_003_000),
        }),
        ..plain.clone()
    };
    let again = Record {
        attempts: 2,
        resent: true,
        memo: Some("".into()),
        origin: Origin { first_sent: Some(0), ..plain.origin.clone() },
        probing: Some(Probing { tries: 0, next: Some(Timestamp::default()) }),
        ..plain.clone()
    };
    let bare = Record {
        fingerprint: completed.fingerprint,
        state: State::Completed { at, answer: Arc::new(Answer { status: 204, ..Answer::default() }) },
        ..plain.clone()
    };
    let told = Record {
        memo: completed.memo.clone(),
        state: State::Consumed {
            at,
            summary: AnswerSummary {
                status: Some(201),
                location: Some("/v1/charges/1".into()),
                content_location: Some("/v1/charges/1;v=1".into()),
                etag: Some("\"é\"".into()),
            },
        },
        ..consumed.clone()
    };
    let unseen =
        Record { state: State::Consumed { at, summary: AnswerSummary::default() }, ..consumed.clone() };
    let given_up = Record {
        state: State::Unknown { since: Timestamp::MAX, reason: UnknownReason::Unrecorded },
        memo: completed.memo.clone(),
        probing: Some(Probing { tries: u32::MAX, next: None }),
        ..unknown.clone()
    };
    let longest = Record {
        times: Times {
            lease: Duration::from_millis(100),
            retention: Duration::ZERO,
            tombstone: Duration::from_millis(u64::MAX),
            unknown_retention: Duration::from_millis(u64::MAX),
            memory: Duration::from_millis(u64::MAX),
        },
        origin: Origin { path: "/é/".repeat(200).into(), ..plain.origin.clone() },
        ..plain.clone()
    };
    let resolved = Record { resolved_because: Some("ch_1 at the bänk".into()), ..completed.clone() };
    let declared = Record { resolved_because: Some("".into()), ..unseen.clone() };
    [
        ("executing", plain, include_str!("golden/1-executing.hex")),
        ("completed", completed, include_str!("golden/1-completed.hex")),
        ("consumed", consumed, include_str!("golden/1-consumed.hex")),
        ("unknown", unknown, include_str!("golden/1-unknown.hex")),
        ("probed", probed, include_str!("golden/1-probed.hex")),
        ("pointer", pointer, include_str!("golden/1-pointer.hex")),
        ("executing again", again, include_str!("golden/1-executing-again.hex")),
        ("completed, bare", bare, include_str!("golden/1-completed-bare.hex")),
        ("consumed, all told", told, include_str!("golden/1-consumed-told.hex")),
        ("consumed, unseen", unseen, include_str!("golden/1-consumed-unseen.hex")),
        ("unknown, given up", given_up, include_str!("golden/1-unknown-given-up.hex")),
        ("long times and text", longest, include_str!("golden/1-longest.hex")),
        ("completed by an operator", resolved, include_str!("golden/1-completed-by-operator.hex")),
        ("consumed by an operator", declared, include_str!("golden/1-consumed-by-operator.hex")),
    ]
}

fn hex(bytes: &[u8]) -> String {
    let lines =
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    lines.map(|line| line + "\n").collect()
}

fn unhex(text: &str) -> Bytes {
    let digits: Vec<_> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect::<Vec<_>>().into()
}

#[test]
fn every_state_reads_as_it_always_did() {
    for (name, record, bytes) in golden() {
        assert_eq!(hex(&encode(&record)), bytes, "{name} is written");
        assert_eq!(decode(&unhex(bytes)).unwrap(), record, "{name} is read");
    }
}

/// They decoded one value and looked at nothing behind it.
#[test]
fn earlier_versions_read_what_an_operator_told() {
    for (name, record, bytes) in &golden()[12..] {
        let bytes = unhex(bytes);
        let stored: Stored<'_> = rmp_serde::from_slice(&bytes).unwrap();
        let read = stored.into_record(&bytes).unwrap();
        assert_eq!(read, Record { resolved_because: None, ..record.clone() }, "{name}");
    }
}

/// What has not ended was told by nobody.
#[test]
fn only_a_finished_record_has_an_operators_reason() {
    for (name, record, bytes) in golden() {
        let told = Record { resolved_because: Some("told".into()), ..record.clone() };
        let is_finished = matches!(record.state, State::Completed { .. } | State::Consumed { .. });
        let read = decode(&encode(&told).into()).unwrap();
        assert_eq!(read.resolved_because.is_some(), is_finished, "{name}");
        assert!(is_finished || hex(&encode(&told)) == bytes, "{name}");
    }
}

#[test]
fn a_cut_record_is_an_error() {
    for (name, _, bytes) in golden() {
        let bytes = unhex(bytes);
        for length in 0..bytes.len() {
            assert!(decode(&bytes.slice(..length)).is_err(), "{name} cut at {length}");
        }
    }
}

/// A record of a later version is refused by its number, whatever bytes follow the number.
#[test]
fn a_later_format_is_named() {
    for format in [FORMAT + 1, 0x7f] {
        let mut bytes = unhex(golden()[0].2).to_vec();
        bytes[1] = format;
        for cut in [bytes.len(), 10, 2] {
            let error = decode(&Bytes::copy_from_slice(&bytes[..cut])).unwrap_err();
            assert!(matches!(error, Corrupt::Format(found) if found == format), "{error}");
        }
        // Another version may have more fields, and then a longer head.
        for head in [&[0xdc, 0, 17][..], &[0xdd, 0, 0, 0, 17]] {
            let longer = [head, &bytes[1..]].concat();
            assert!(matches!(decode(&longer.into()), Err(Corrupt::Format(found)) if found == format));
        }
    }
    let mut bytes = unhex(golden()[0].2).to_vec();
    bytes[1] = 0;
    assert!(matches!(decode(&bytes.into()), Err(Corrupt::Value("format"))));
}

#[test]
fn an_answer_shares_the_memory_it_was_read_from() {
    let bytes = unhex(golden()[1].2);
    let State::Completed { answer, .. } = decode(&bytes).unwrap().state else { panic!() };
    let within = |part: &Bytes| bytes.as_ptr_range().contains(&part.as_ptr());
    assert!(within(&answer.body) && answer.fields.iter().all(|(name, value)| within(name) && within(value)));
}

fn text() -> impl Strategy<Value = Arc<str>> {
    ".{0,20}".prop_map(Arc::from)
}

fn fields() -> impl Strategy<Value = Vec<(Bytes, Bytes)>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
    prop::collection::vec((bytes(), bytes()), 0..4)
}

fn state() -> impl Strategy<Value = State> {
    let at = || any::<u64>().prop_map(Timestamp::from_millis);
    let body = prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let answer = (any::<u16>(), fields(), body, fields())
        .prop_map(|(status, fields, body, trailers)| Arc::new(Answer { status, fields, body, trailers }));
    let option = || prop::option::of(text());
    let summary = (prop::option::of(any::<u16>()), option(), option(), option()).prop_map(
        |(status, location, content_location, etag)| AnswerSummary {
            status,
            location,
            content_location,
            etag,
        },
    );
    let reason = (1_u8..=8).prop_map(|number| UnknownReason::from_number(number).unwrap());
    prop_oneof![
        at().prop_map(|lease_until| State::Executing { lease_until }),
        (at(), answer).prop_map(|(at, answer)| State::Completed { at, answer }),
        (at(), summary).prop_map(|(at, summary)| State::Consumed { at, summary }),
        (at(), reason).prop_map(|(since, reason)| State::Unknown { since, reason }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let origin =
        (text(), text(), text(), text(), text(), text(), any::<(u64, u16, [u8; 32])>(), any::<Option<u32>>())
            .prop_map(
                |(
                    route,
                    policy,
                    key_schema,
                    method,
                    authority,
                    path,
                    (epoch, rules, principal),
                    first_sent,
                )| {
                    Origin {
                        route,
                        policy,
                        key_schema,
                        key_epoch: epoch,
                        normalisation: rules,
                        method,
                        authority,
                        path,
                        principal: PrincipalId(principal),
                        first_sent,
                    }
                },
            );
    let recipe = (1_u8..=4).prop_map(|number| Recipe::from_number(number).unwrap());
    let numbers = any::<([u8; 32], [u8; 16], u32, u64, bool, [u64; 5])>();
    let probing = prop::option::of(any::<(u32, Option<u64>)>()).prop_map(|probing| {
        probing.map(|(tries, next)| Probing { tries, next: next.map(Timestamp::from_millis) })
    });
    let told = prop::option::of(text());
    (recipe, numbers, origin, prop::option::of(text()), state(), probing, told).prop_map(
        |(
            recipe,
            (hash, execution, attempts, first_attempt, resent, times),
            origin,
            memo,
            state,
            probing,
            told,
        )| {
            let is_finished = matches!(state, State::Completed { .. } | State::Consumed { .. });
            let [lease, retention, tombstone, unknown_retention, memory] = times.map(Duration::from_millis);
            Record {
                fingerprint: Fingerprint { recipe, hash },
                execution: ExecutionId(execution),
                attempts,
                first_attempt: Timestamp::from_millis(first_attempt),
                resent,
                times: Times { lease, retention, tombstone, unknown_retention, memory },
                origin,
                memo,
                state,
                probing,
                resolved_because: told.filter(|_| is_finished),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_record_reads_back_as_written(record in record()) {
        prop_assert_eq!(decode(&encode(&record).into()).unwrap(), record);
    }

    #[test]
    fn what_was_in_front_stays(record in record(), front in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut bytes = front.clone();
        encode_into(&record, &mut bytes);
        prop_assert_eq!(&bytes[..front.len()], &front);
        prop_assert_eq!(&bytes[front.len()..], encode(&record));
    }

    /// Decoding arbitrary bytes gives an error or a record, and never panics.
    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes.into());
    }

    #[test]
    fn a_garbled_record_never_panics(which in 0_usize..14, garbled in prop::collection::vec(any::<(usize, u8)>(), 1..6)) {
        let mut bytes = unhex(golden()[which].2).to_vec();
        for (place, byte) in garbled {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        let _ = decode(&bytes.into());
    }
}
