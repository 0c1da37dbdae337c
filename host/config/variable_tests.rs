//! Tests on variables, listeners and paths, row by row.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::tests::{env, of_upstream};
use super::{Source, load};

#[test]
fn settings_of_variables_have_their_kind() {
    for (text, expected) in [
        ("true", serde_json::json!(true)),
        ("10", 10.into()),
        ("1.5", 1.5.into()),
        ("\"10\"", "10".into()),
        ("header:x-key", "header:x-key".into()),
        ("a,b", "a,b".into()),
        ("[\"a\", 1]", serde_json::json!(["a", 1])),
        ("2020-01-01", "2020-01-01".into()),
        ("", "".into()),
        ("nan", "nan".into()),
    ] {
        let mut source = of_upstream("http://127.0.0.1:1");
        source.env = env(&[("ONCEGATE_POLICIES__DEFAULT__SETTINGS__X", text)]);
        let config = load(&source).unwrap_or_else(|faults| panic!("{text}: {faults}"));
        assert_eq!(config.policies["default"].settings["x"], expected, "{text}");
    }
}

#[test]
fn answers_of_variables_are_written_as_names() {
    let mut source = of_upstream("http://127.0.0.1:1");
    for name in ["IN_FLIGHT", "IN-FLIGHT", "OUTCOME_UNKNOWN"] {
        source.env = env(&[(&format!("ONCEGATE_ROUTES__DEFAULT__ANSWERS__{name}"), "503")]);
        let config = load(&source).unwrap_or_else(|faults| panic!("{name}: {faults}"));
        let code = name.to_lowercase().replace('_', "-");
        assert_eq!(config.routes[0].answers.get(&code), Some(&503), "{name}");
    }
}

#[test]
fn two_underscores_behind_the_prefix_are_told() {
    let mut source = of_upstream("http://127.0.0.1:1");
    for (name, meant) in [
        ("ONCEGATE__SERVER__LISTEN", "`ONCEGATE_SERVER__LISTEN`"),
        ("ONCEGATE___SERVER__LISTEN", "`ONCEGATE_SERVER__LISTEN`"),
        ("ONCEGATE__SERVER", "`ONCEGATE_SERVER`"),
        ("ONCEGATE__ROUTES__DEFAULT__WAIT", "`ONCEGATE_ROUTES__DEFAULT__WAIT`"),
    ] {
        source.env = env(&[(name, "1s")]);
        let faults = load(&source).unwrap_err();
        assert!(faults.0.len() == 1 && faults.0[0].help.contains(meant), "{name}: {faults}");
    }
}

#[test]
fn a_listener_where_the_admin_listener_is_is_refused() {
    for (listen, admin, refused) in [
        ("127.0.0.1:8081", None, true),
        ("0.0.0.0:8081", None, true),
        ("0.0.0.0:9000", Some("127.0.0.1:9000"), true),
        ("127.0.0.1:9000", Some("127.0.0.1:9000"), true),
        ("127.0.0.1:8081", Some("off"), false),
        ("127.0.0.1:8081", Some("127.0.0.1:9000"), false),
        ("127.0.0.2:8081", None, false),
        ("127.0.0.1:0", Some("127.0.0.1:0"), false),
    ] {
        let mut source = of_upstream("http://127.0.0.1:1");
        source.flags.listen = vec![listen.to_owned()];
        source.flags.admin = admin.map(str::to_owned);
        source.env = env(&[("ONCEGATE_PRINCIPAL__ANONYMOUS", "share")]);
        assert_eq!(load(&source).is_err(), refused, "{listen} {admin:?}: {:?}", load(&source).err());
    }
}

#[test]
fn paths_that_no_request_may_have_are_refused() {
    for (path, refused) in [
        ("/s/{id}", true),
        ("/a\\b", true),
        ("/a%2fb", true),
        ("/a%5Cb", true),
        ("/a%00", true),
        ("/a|b", true),
        ("/a%", true),
        ("/a%20b", false),
        ("/a;b=(c)", false),
        ("/", false),
    ] {
        for (rules, takes_all) in [("strict", false), ("merge", false), ("as-received", true)] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("oncegate.toml");
            let text = format!(
                "[server]\npaths = {rules:?}\n[upstreams.a]\nurls = [\"http://127.0.0.1:1\"]\n[[routes]]\nname = \"r\"\nupstream = \"a\"\npath = '{}'\n",
                path.replace("\\\\", "\\")
            );
            std::fs::write(&file, text).unwrap();
            let source = Source { file: Some(file), ..Source::default() };
            let is_refused = refused && (!takes_all || path.contains('{'));
            assert_eq!(load(&source).is_err(), is_refused, "{rules} {path}: {:?}", load(&source).err());
        }
    }
}
