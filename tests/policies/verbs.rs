//! `oncegate policy` says of settings, requests and names what a gateway says of them (plugins/README.md).

use crate::guests::{Guest, append_section};
use crate::policies::kit::Shop;

/// One whose `configure` takes anything.
fn with_schema() -> Vec<u8> {
    let mut component = Guest::default().component();
    let schema = r#"{ "type": "object", "additionalProperties": false, "properties": { "n": { "type": "integer" } } }"#;
    append_section(&mut component, "oncegate:settings", schema.as_bytes());
    component
}

#[test]
fn each_verb_refuses_settings_that_no_gateway_loads() {
    let shop = Shop::new();
    std::fs::write(shop.path().join("own.wasm"), with_schema()).unwrap();
    for (settings, words) in [
        ("{ x = 1 }", "`settings.x` is no setting of this component"),
        ("{ n = \"one\" }", "settings.n"),
        ("{ n = 1, m = 2 }", "`settings.m` is no setting"),
    ] {
        for verb in ["test", "run", "inspect", "bench"] {
            let ended = shop.policy(&[verb, "own.wasm", "--settings", settings]);
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert_eq!(ended.code, Some(1), "{verb} {settings}: {said}");
            assert!(said.contains(words), "{verb} {settings}: {said}");
        }
    }
    for verb in ["test", "run", "inspect"] {
        shop.fine(&[verb, "own.wasm", "--settings", "{ n = 1 }"]);
    }
}

#[test]
fn a_request_that_the_gateway_refuses_reaches_no_policy() {
    fn run<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["run", "builtin:idempotency-key", "-H", "Idempotency-Key: k"][..], more].concat()
    }
    let shop = Shop::new();
    for (flags, word) in [
        (&["--path", "charges"][..], "CONNECT"),
        (&["--path", "/a/../b"], "more than one way"),
        (&["--path", "//x"], "more than one way"),
        (&["--path", "/a/./b?c"], "more than one way"),
        (&["--path", "/a#b"], "fragment"),
        (&["--path", "/a?b#c"], "fragment"),
        (&["--method", "post"], "write `POST`"),
        (&["-H", "Host: a", "-H", "Host: b"], "exactly one `Host`"),
        (&["-H", "Content-Length: 5", "--body", "abc"], "`Content-Length`"),
    ] {
        shop.refused(&run(flags), 1, &["the gateway refuses this request", word]);
    }
    for fine in [
        &["--path", "/a?b=//c/../d"][..],
        &["-H", "Content-Length: 3", "--body", "abc"],
        &["--method", "PUT"],
    ] {
        let said = shop.fine(&run(fine));
        assert!(said.contains("guard, with the fingerprint"), "{said}");
    }
}

#[test]
fn names_that_are_nearly_right_are_helped() {
    let shop = Shop::new();
    for (given, file) in [("javascript", "policy.js"), ("golang", "go.mod"), ("py", "policy.py")] {
        shop.fine(&["new", "--lang", given, given]);
        assert!(shop.path().join(given).join(file).exists(), "{given}");
    }
    let unknown = shop.policy(&["inspect", "builtin:nope"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("the COMPONENT is \"builtin:nope\""), "{unknown:?}");
    assert!(!unknown.stderr.contains("--policy"), "{unknown:?}");
    // What `policy build` leaves beside the component.
    std::fs::write(shop.path().join("module.wasm"), b"\0asm\x01\0\0\0").unwrap();
    shop.refused(&["inspect", "module.wasm"], 1, &["`oncegate policy build`"]);
}

#[test]
fn a_failed_build_leaves_what_stood_there() {
    let shop = Shop::new();
    std::fs::write(shop.path().join("core.wasm"), Guest::default().component()).unwrap();
    let build = ["build", "--core", "core.wasm", "--out", "own.wasm"];
    shop.fine(&build);
    let good = std::fs::read(shop.path().join("own.wasm")).unwrap();
    for (file, text) in [
        ("settings.schema.json", "{"),
        ("vectors.json", "{"),
        ("vectors.json", "[]"),
        ("vectors.json", r#"{ "version": 9 }"#),
    ] {
        std::fs::write(shop.path().join(file), text).unwrap();
        let ended = shop.policy(&build);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(1), "{file} {text}: {said}");
        assert!(said.contains("own.wasm is as it was"), "{file} {text}: {said}");
        assert_eq!(std::fs::read(shop.path().join("own.wasm")).unwrap(), good, "{file} {text}");
        assert!(!shop.path().join("own.wasm.new").exists(), "{file} {text}");
        std::fs::remove_file(shop.path().join(file)).unwrap();
    }
    shop.fine(&build);
}
