//! What commands write, and what they say where it can't be written (design/commands.md).

use crate::support::*;
use crate::support::{self, gateway::command};
use std::fs::File;
use std::process::Stdio;

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let id = gateway.send(&Request::keyed("/charges", "k")).operation().to_owned();
    let admin = gateway.admin.unwrap().to_string();
    let asking =
        |words: &[&str]| [words, &["--admin", &admin]].concat().into_iter().map(str::to_owned).collect();
    let plain = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let runs: Vec<Vec<String>> = vec![
        asking(&["ops", "list", "-o", "json"]),
        asking(&["ops", "show", &id]),
        asking(&["reload"]),
        plain(&["check", "--upstream", "http://127.0.0.1:9", "--store", "memory"]),
        plain(&["man", "serve"]),
        plain(&["completions", "bash"]),
        plain(&["policy", "inspect", "builtin:idempotency-key"]),
        plain(&["--help"]),
        plain(&["--version"]),
    ];
    for words in runs {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = command(&words, gateway.setup.folder()).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("the output can't be written: "), "{words:?}: {said}");
        // Who has read enough, as `head` has, is no failure.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = command(&words, gateway.setup.folder()).stdout(Stdio::from(writer)).output().unwrap();
        assert_eq!((ended.status.code(), &*ended.stderr), (Some(0), &b""[..]), "{words:?}");
    }
}

/// The help's own example reads `faults`, whether or not there are any.
#[test]
fn a_check_without_faults_lists_none() {
    let setup = Setup::new("http://127.0.0.1:9");
    let check = |words: &[&str]| {
        let ended = support::gateway::run(&[&["check", "-o", "json"], words].concat(), setup.folder());
        serde_json::from_str::<serde_json::Value>(&ended.stdout).unwrap()
    };
    let good = check(&["--upstream", "http://127.0.0.1:9", "--store", "memory"]);
    assert_eq!((&good["ok"], &good["faults"]), (&true.into(), &serde_json::json!([])), "{good}");
    let bad = check(&["--upstream", "ftp://127.0.0.1"]);
    assert_eq!((&bad["ok"], bad["faults"].as_array().unwrap().len()), (&false.into(), 1), "{bad}");
}

/// Who names a configuration means its gateway, and not one that is elsewhere.
#[test]
fn commands_ask_the_gateway_of_the_configuration() {
    let setup = Setup::new("http://127.0.0.1:9").server("admin_token_file = \"token\"");
    std::fs::write(setup.folder().join("token"), "a-token-of-some-length").unwrap();
    let gateway = setup.start();
    let (folder, admin) = (setup.folder(), gateway.admin.unwrap().to_string());
    let put = |name: &str, server: &str| {
        let rest = "[upstreams.a]\nurls = [\"http://127.0.0.1:9\"]\n[[routes]]\nname = \"a\"\npath = \"/\"\nupstream = \"a\"\n";
        std::fs::write(folder.join(name), format!("[server]\n{server}\n{rest}")).unwrap();
    };
    let token = "admin_token_file = \"token\"";
    put("own.toml", &format!("admin = {admin:?}\n{token}"));
    put("off.toml", "admin = \"off\"");
    put("other.toml", "admin = \"127.0.0.1:9\"");
    put("bad.toml", "admin = 7");
    let list = |variable: Option<&str>, words: &[&str]| {
        let mut list = command(&[&["ops", "list"], words].concat(), folder);
        variable.iter().for_each(|file| _ = list.env("ONCEGATE_CONFIG", file));
        let ended = list.output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let own = ["--admin", &*admin, "--token-file", "token"];
    for (variable, words, code, said) in [
        (Some("own.toml"), &[][..], 0, "the ledger has no operations"),
        (None, &["--config", "own.toml"], 0, "the ledger has no operations"),
        (Some("other.toml"), &["--config", "own.toml"], 0, "the ledger has no operations"),
        (Some("other.toml"), &own, 0, "the ledger has no operations"),
        (Some("other.toml"), &[], 1, "127.0.0.1:9"),
        (Some("off.toml"), &[], 1, "the admin listener is off"),
        (Some("bad.toml"), &[], 1, "--admin ADDRESS"),
        (Some("none.toml"), &[], 1, "--admin ADDRESS"),
    ] {
        let (ended, words_said) = list(variable, words);
        assert_eq!(ended, Some(code), "{variable:?} {words:?}: {words_said}");
        assert!(words_said.contains(said), "{variable:?} {words:?}: {words_said}");
    }
}

#[test]
fn what_is_not_found_is_not_called_an_operation() {
    let gateway = Setup::new("http://127.0.0.1:9").memory().start();
    for (method, target) in [
        ("GET", "/nothing".to_owned()),
        ("GET", "/v1/nothing".to_owned()),
        ("POST", "/v1/policies/none/reload".to_owned()),
        ("GET", format!("/v1/operations/{}", "0".repeat(64))),
    ] {
        let answer = gateway.admin(method, &target);
        assert_eq!(
            (answer.status, &answer.json()["title"]),
            (404, &"There is nothing of this name".into()),
            "{target}"
        );
    }
    assert_eq!(gateway.admin("GET", "/v1/status").json()["ledger"]["durability"], "none");
}
