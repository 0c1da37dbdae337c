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
