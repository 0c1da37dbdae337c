use super::*;

fn header(value: &str) -> Result<Option<String>, String> {
    of_header([value].into_iter(), false)
}

#[test]
fn a_key_is_the_same_quoted_and_bare() {
    for (sent, key) in [
        (r#""abc_123""#, "abc_123"),
        ("abc_123", "abc_123"),
        ("8e03978e-40d5-43dd-bc93-6f7a0b0a3b0e", "8e03978e-40d5-43dd-bc93-6f7a0b0a3b0e"),
        (r#""8e03978e-40d5-43dd-bc93-6f7a0b0a3b0e""#, "8e03978e-40d5-43dd-bc93-6f7a0b0a3b0e"),
        (r#""a\"b\\c""#, r#"a"b\c"#),
        (r#""a b""#, "a b"),
        (r#""a,b""#, "a,b"),
        (r#""a;b""#, "a;b"),
        ("  abc\t", "abc"),
        ("123", "123"),
        ("-1.50", "-1.50"),
        ("?1", "?1"),
        (":aGk=:", ":aGk=:"),
        ("order/12:3=4", "order/12:3=4"),
        (r"a\b", r"a\b"),
    ] {
        assert_eq!(header(sent), Ok(Some(key.into())), "{sent}");
    }
}

#[test]
fn parameters_are_ignored() {
    for sent in [r#""abc";v=1"#, r#""abc"; v=1;w"#,  r#""abc";v"#, r#""abc"; v="x y"; w"#] {
        assert_eq!(header(sent), Ok(Some("abc".into())), "{sent}");
    }
}

#[test]
fn what_is_no_key_is_refused_with_its_fault() {
    for (sent, fault) in [
        ("", "empty"),
        ("  ", "empty"),
        (r#""""#, "empty"),
        (r#""";a=1"#, "empty"),
        (";a=1", "semicolon"),
        ("abc;v=1", "semicolon"),
        ("abc; v=1", "a semicolon"),
        ("order;1", "a semicolon"),
        (r#""a", "b""#, "a list"),
        (r#""a","#, "a list"),
        ("a, b", "list"),
        ("a,b", "list"),
        ("(a)", "list"),
        (r#"("a" "b")"#, "list"),
        (r#""abc"#, "unterminated"),
        (r#""abc" x"#, "trailing"),
        (r#""abc"x"#, "trailing"),
        (r#""a\x""#, "escape"),
        ("\"a\tb\"", "invalid string character"),
        ("\"a\u{7f}b\"", "invalid string character"),
        ("\"caf\u{e9}\"", "invalid string character"),
        ("a b", "a space"),
        ("a\tb", "control character 0x09"),
        ("a\u{1}b", "control character 0x01"),
        ("caf\u{e9}", "not ASCII"),
        (r#"a"b"#, "double quote"),
        ("a;b c", "semicolon"),
        ("a;", "semicolon"),
        ("a;B=1", "semicolon"),
    ] {
        let error = header(sent).expect_err(sent);
        assert!(error.contains(fault), "{sent}: {error}");
        assert!(error.contains("send"), "{sent}: {error} says what would do");
    }
}

#[test]
fn a_repeated_field_is_refused_even_with_one_key() {
    assert!(of_header(["a", "a"].into_iter(), false).is_err());
    assert_eq!(of_header([].into_iter(), false), Ok(None));
}

#[test]
fn strict_takes_quoted_keys_only() {
    assert!(of_header(["abc"].into_iter(), true).is_err());
    assert_eq!(of_header([r#""abc""#].into_iter(), true), Ok(Some("abc".into())));
}

#[test]
fn a_query_holds_one_key() {
    assert_eq!(of_query(Some("a=1&id=x%2By+z"), "id"), Ok(Some("x+y z".into())));
    assert_eq!(of_query(Some("i%64=x"), "id"), Ok(Some("x".into())));
    assert_eq!(of_query(Some("a=1"), "id"), Ok(None));
    assert_eq!(of_query(None, "id"), Ok(None));
    for query in ["id=", "id", "id=a&id=a", "id=%ff", "id=a%00"] {
        assert!(of_query(Some(query), "id").is_err(), "{query}");
    }
}

#[test]
fn a_document_holds_a_string_or_a_number() {
    assert_eq!(of_json("null"), Ok(None));
    assert_eq!(of_json("12"), Ok(Some("12".into())));
    assert_eq!(of_json("-1"), Ok(Some("-1".into())));
    for json in ["true", "false", "{}", "[\"a\"]"] {
        assert!(of_json(json).is_err(), "{json}");
    }
}

#[test]
fn only_documents_can_be_malformed() {
    for kind in
        [None, Some("application/json; charset=utf-8"), Some("application/ld+JSON"), Some("text/plain")]
    {
        assert!(is_document(kind), "{kind:?}");
    }
    assert!(!is_document(Some("image/png")));
}

#[test]
fn length_and_pattern_bound_a_key() {
    let settings = crate::settings::parse(r#"{"min":2,"max":4,"pattern":"[a-z]+|[0-9]+"}"#).unwrap();
    assert!(judge("ab".into(), &settings).is_ok());
    assert!(judge("1234".into(), &settings).is_ok());
    for key in ["a", "abcde", "a1", "ab\n"] {
        assert!(judge(key.into(), &settings).is_err(), "{key}");
    }
}

#[test]
fn keys_tell_when_they_were_made() {
    let at = |kind, key| made_at(kind, key).ok();
    // The example of RFC 9562, appendix A.6: 2022-02-22T19:22:22Z.
    assert_eq!(at(KeyTime::Uuidv7, "017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), Some(1_645_557_742));
    assert_eq!(at(KeyTime::Uuidv7, "017f22e2-79b0-4cc3-98c4-dc0c0c07398f"), None);
    assert_eq!(at(KeyTime::Uuidv7, "017f22e2-79b0-7cc3-c8c4-dc0c0c07398f"), None);
    assert_eq!(at(KeyTime::Uuidv7, "017f22e279b07cc398c4dc0c0c07398f"), None);
    assert_eq!(at(KeyTime::Uuidv7, "ffffffff-ffff-7fff-bfff-ffffffffffff"), None);
    // The example of the ULID specification: 2016-07-30T23:54:10.259Z.
    assert_eq!(at(KeyTime::Ulid, "01ARZ3NDEKTSV4RRFFQ69G5FAV"), Some(1_469_922_850));
    assert_eq!(at(KeyTime::Ulid, "01arz3ndektsv4rrffq69g5fav"), Some(1_469_922_850));
    assert_eq!(at(KeyTime::Ulid, "81ARZ3NDEKTSV4RRFFQ69G5FAV"), None);
    assert_eq!(at(KeyTime::Ulid, "01ARZ3NDEKTSV4RRFFQ69G5FAU"), None);
    assert_eq!(at(KeyTime::Ulid, "7ZZZZZZZZZTSV4RRFFQ69G5FAV"), None);
}

#[test]
fn keys_that_tell_their_time_have_one_form() {
    let judged = |kind, key: &str| {
        let settings = crate::settings::parse(&format!(r#"{{"key_time":"{kind}"}}"#)).unwrap();
        judge(key.into(), &settings).map(|key| key.text)
    };
    let uuid = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
    for written in [uuid, &uuid.to_ascii_uppercase(), "017F22e2-79B0-7cc3-98C4-dc0c0C07398f"] {
        assert_eq!(judged("uuidv7", written).as_deref(), Ok(uuid));
    }
    let ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for written in [ulid, &ulid.to_ascii_lowercase(), "01arz3ndekTSV4RRFFQ69G5FAV"] {
        assert_eq!(judged("ulid", written).as_deref(), Ok(ulid));
    }
}
