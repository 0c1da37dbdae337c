use super::*;

fn schema(settings: &str) -> String {
    parse(settings).unwrap().key_schema(|text| format!("{}", text.len()))
}

#[test]
fn the_schema_names_what_goes_into_keys_and_nothing_else() {
    assert_eq!(schema("{}"), "idempotency-key/2 from=header:idempotency-key");
    assert_eq!(schema(r#"{"from":["header:Idempotency-Key"]}"#), schema("{}"));
    assert_eq!(
        schema(r#"{"strict":true,"required":true,"pattern":"a+","min":2,"max":9}"#),
        schema("{}")
    );
    let timed = schema(r#"{"key_time":"ulid"}"#);
    assert_eq!(timed, "idempotency-key/2 from=header:idempotency-key key_time=ulid");
    assert_ne!(schema(r#"{"key_time":"uuidv7"}"#), timed);
    assert_eq!(
        schema(r#"{"from":["query:a,b c","body:/id"],"methods":["PUT","POST","PUT"]}"#),
        "idempotency-key/2 from=query:a%2Cb%20c,body:/id methods=POST,PUT"
    );
    let long = format!(r#"{{"from":["query:{}"]}}"#, "x".repeat(300));
    assert_eq!(schema(&long), "idempotency-key/2 sha256=329");
}

#[test]
fn the_order_of_sources_matters() {
    assert_ne!(schema(r#"{"from":["query:a","body:/a"]}"#), schema(r#"{"from":["body:/a","query:a"]}"#));
}

#[test]
fn the_plan_declares_what_the_sources_need() {
    let settings = parse(r#"{"from":["body:/a","header:X-Id","query:q","query:r","body:/b/0"]}"#).unwrap();
    assert_eq!(settings.fields(), [":query", "x-id", "content-type"]);
    assert_eq!(settings.pointers(), ["/a", "/b/0"]);
    assert!(parse(r#"{"from":"query:q"}"#).unwrap().pointers().is_empty());
}

#[test]
fn wrong_settings_are_named() {
    for (settings, fault) in [
        (r#"{"form":["query:a"]}"#, "did you mean `from`"),
        (r#"{"keytime":"ulid"}"#, "did you mean `key_time`"),
        (r#"{"header":"x"}"#, "there are from, required"),
        (r#"{"from":[]}"#, "names 0 places"),
        (r#"{"from":[1]}"#, "must be a list"),
        (r#"{"from":[["query:a"]]}"#, "must be a list"),
        (r#"{"from":["idempotency-key"]}"#, "none of header:NAME"),
        (r#"{"from":["cookie:x"]}"#, "kind is none"),
        (r#"{"from":["header:a b"]}"#, "no name of a header"),
        (r#"{"from":["header:Authorization"]}"#, "who asks"),
        (r#"{"from":["query:"]}"#, "without a name"),
        (r#"{"from":["body:id"]}"#, "no JSON pointer"),
        (r#"{"from":["body:/a~2"]}"#, "no JSON pointer"),
        (r#"{"from":["query:a","query:a"]}"#, "twice"),
        (r#"{"required":"yes"}"#, "`required` must be true or false"),
        (r#"{"methods":["HEAD"]}"#, "never guarded"),
        (r#"{"methods":["P OST"]}"#, "never guarded"),
        (r#"{"pattern":"("}"#, "no regular expression"),
        (r#"{"pattern":"a)|(b"}"#, "no regular expression"),
        (r#"{"min":0}"#, "`min` must be"),
        (r#"{"max":1.5}"#, "`max` must be"),
        (r#"{"max":1e9}"#, "`max` must be"),
        (r#"{"min":300}"#, "no key can have"),
        (r#"{"key_time":"uuid"}"#, "\"uuidv7\" or \"ulid\""),
        (r#"{"strict":true,"from":["query:a"]}"#, "`strict` is about headers"),
        (r#"[]"#, "must be a JSON object"),
        (r#"{"max":{"a":[1,{"b":2}]}}"#, "`max` must be"),
        (r#"{"#, "no JSON"),
        (r#"{} {}"#, "no JSON"),
    ] {
        let error = parse(settings).expect_err(settings);
        assert!(error.contains(fault), "{settings}: {error}");
    }
}
