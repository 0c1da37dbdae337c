//! An operator's word is about the attempt that he was shown, and about no other (design/admin.md).

use crate::support::*;
use crate::support::{self, gateway::Ended};
use serde_json::{Value, json};

/// A service that breaks off at everything, and a gateway before it.
fn losing() -> (Upstream, Gateway) {
    let upstream = Upstream::start(|_| Script::reset());
    let gateway = Setup::new(&upstream.url()).start();
    (upstream, gateway)
}

/// Loses an operation; its id.
#[track_caller]
fn lose(gateway: &Gateway, key: &str) -> String {
    let lost = gateway.send(&Request::keyed("/lost", key)).assert_problem(502, "upstream-broken");
    lost["operation"].as_str().unwrap().to_owned()
}

fn ops(gateway: &Gateway, arguments: &[&str]) -> Ended {
    let admin = gateway.admin.unwrap().to_string();
    support::gateway::run(&[&["ops"], arguments, &["--admin", &admin]].concat(), gateway.setup.folder())
}

const NOT_APPLIED: [&str; 4] = ["--outcome", "not-applied", "--reason", "not in the bank's list"];

/// The version in the line of `ops list` or in the lines of `ops show`.
#[track_caller]
fn version_in(told: &Ended) -> String {
    let words: Vec<&str> = told.stdout.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "version").unwrap_or_else(|| panic!("{told:?}"));
    words[at + 1].to_owned()
}

#[test]
fn an_operators_word_reaches_no_other_attempt() {
    let (upstream, gateway) = losing();
    let id = lose(&gateway, "k");
    let seen = version_in(&ops(&gateway, &["list"]));
    assert_eq!(seen, version_in(&ops(&gateway, &["show", &id])));
    // Another operator was quicker, and the retry was lost, too.
    assert_eq!(
        ops(&gateway, &[&["resolve", &id, "--version", &seen][..], &NOT_APPLIED].concat()).code,
        Some(0)
    );
    assert_eq!(lose(&gateway, "k"), id);
    for given in
        [&["resolve", &id, "--version", &seen][..], &["resolve", &id], &["resolve", &id, "-o", "json"]]
    {
        let refused = ops(&gateway, &[given, &NOT_APPLIED].concat());
        assert!(matches!(refused.code, Some(1 | 2)), "{given:?}: {refused:?}");
        gateway.send(&Request::keyed("/lost", "k")).assert_problem(409, "outcome-unknown");
    }
    assert_eq!(upstream.count(), 2);
}

/// The record keeps it, so that it is told after the log is gone.
#[test]
fn what_an_operator_told_is_shown() {
    let (_upstream, gateway) = losing();
    let resolve = |key: &str, how: &[&str]| {
        let id = lose(&gateway, key);
        let version = gateway.version_of(&id);
        let done = ops(&gateway, &[&["resolve", &id, "--version", &version], how].concat());
        assert_eq!(done.code, Some(0), "{done:?}");
        id
    };
    let charged = resolve("a", &["--outcome", "completed", "--status", "201", "--reason", "ch_1 \u{e4} 'x'"]);
    let consumed = resolve("b", &["--outcome", "consumed", "--reason", "the bank says so"]);
    let freed = resolve("c", &NOT_APPLIED);
    let nobodys = lose(&gateway, "d");
    let shown = |gateway: &Gateway, id: &str| gateway.admin("GET", &format!("/v1/operations/{id}")).json();
    let told = |gateway: &Gateway| {
        for (id, why) in [(&charged, "ch_1 \u{e4} 'x'"), (&consumed, "the bank says so")] {
            let document = shown(gateway, id);
            assert_eq!(document["resolved_because"], why, "{document}");
            assert_eq!(document["resolved_at"], document["completed"], "{document}");
            let text = ops(gateway, &["show", id]).stdout;
            assert!(
                text.contains(&format!("resolved because {why}\n")) && text.contains("resolved at "),
                "{text}"
            );
        }
        assert!(shown(gateway, &nobodys).get("resolved_because").is_none());
    };
    told(&gateway);
    assert_eq!(gateway.admin("GET", &format!("/v1/operations/{freed}")).status, 404);
    // A caller is told how it ended, and not in the operator's words.
    let lookup = gateway.send(&Request::get(&format!("/.oncegate/operations/{charged}")));
    assert!(lookup.status == 200 && !lookup.text().contains("ch_1"), "{}", lookup.text());
    let gateway = gateway.kill().start();
    told(&gateway);
    assert_eq!(gateway.forget(&charged).status, 200);
    assert_eq!(lose(&gateway, "a"), charged);
    assert!(shown(&gateway, &charged).get("resolved_because").is_none(), "another life of the key");
}

/// The digits with noughts behind them are an id, too.
#[test]
fn digits_before_noughts_find_their_operation() {
    let (_upstream, gateway) = losing();
    let ids = (0..).map(|n| lose(&gateway, &n.to_string()));
    let mut noughts = ids.filter(|id| id.ends_with('0'));
    for id in [noughts.next().unwrap(), noughts.next().unwrap()] {
        for digits in [id.trim_end_matches('0'), &id[..63], &id[..62], &id[..8]] {
            let shown = ops(&gateway, &["show", digits]);
            assert!(shown.code == Some(0) && shown.stdout.contains(&id), "{digits}: {shown:?}");
        }
    }
}

#[test]
fn without_version_the_whole_command_is_told() {
    let (upstream, gateway) = losing();
    let id = lose(&gateway, "k");
    let told = ops(&gateway, &[&["resolve", &id][..], &NOT_APPLIED].concat());
    let version = gateway.version_of(&id);
    assert_eq!((told.code, &*told.stdout), (Some(2), ""), "{told:?}");
    for word in ["nothing is changed", "unknown (broken)", "POST /lost", &format!("version {version}")] {
        assert!(told.stderr.contains(word), "{word}: {told:?}");
    }
    let command = told.stderr.lines().last().unwrap().trim();
    let admin = gateway.admin.unwrap();
    let expected = format!(
        "oncegate ops resolve --outcome not-applied --reason 'not in the bank'\\''s list' --admin {admin} --version {version} {id}"
    );
    assert_eq!(command, expected);
    let typed = command.replacen("oncegate", support::gateway::BINARY, 1);
    let done = std::process::Command::new("sh").args(["-c", &typed]).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    lose(&gateway, "k");
    assert_eq!(upstream.count(), 2);
    gateway.assert_logs(&["not in the bank's list"]);
    // What can't be done is said so, without a command.
    let finished = ops(&gateway, &["forget", &id, "--reason", "r"]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("unknown") && !finished.stderr.contains("type"), "{finished:?}");
    assert_eq!(ops(&gateway, &["forget", &"0".repeat(64), "--reason", "r"]).code, Some(1));
}

#[test]
fn a_filters_second_run_changes_what_the_first_showed() {
    let (upstream, gateway) = losing();
    let filter = [&["resolve", "--route", "all"][..], &NOT_APPLIED].concat();
    let word_of = |shown: &Ended| shown.stdout.split_whitespace().last().unwrap().to_owned();
    let first = lose(&gateway, "a");
    let shown = ops(&gateway, &filter);
    assert!(shown.stdout.contains("1 operations; nothing is changed without --yes "), "{shown:?}");
    let word = word_of(&shown);
    let with = |word: &str| ops(&gateway, &[&filter[..], &["--yes", word]].concat());
    // One more; another attempt of the same; none of them but another.
    lose(&gateway, "b");
    let stale = with(&word);
    assert!(stale.code == Some(1) && stale.stdout.contains("look again. 2 operations"), "{stale:?}");
    let both = word_of(&stale);
    let version = gateway.version_of(&first);
    assert_eq!(
        ops(&gateway, &[&["resolve", &first, "--version", &version][..], &NOT_APPLIED].concat()).code,
        Some(0)
    );
    assert_eq!(with(&both).code, Some(1));
    assert_eq!(lose(&gateway, "a"), first);
    for old in [&word, &both, "yes"] {
        assert_eq!(with(old).code, Some(1), "{old}");
    }
    assert_eq!(upstream.count(), 3);
    let json = ops(&gateway, &[&filter[..], &["-o", "json"]].concat());
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["would"].as_array().unwrap().len(), 2);
    let done = with(json["yes"].as_str().unwrap());
    assert_eq!((done.code, &*done.stdout), (Some(0), "2 done, 0 not done\n"), "{done:?}");
    // Without the word it means nothing.
    assert_eq!(ops(&gateway, &[&filter[..], &["--yes"]].concat()).code, Some(2));
}

#[test]
fn forgetting_needs_version_and_reason() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/done", "k"));
    first.assert_executed(201);
    gateway.send(&Request::keyed("/done", "k")).assert_replay_of(&first);
    let (id, version) = (first.operation(), gateway.version_of(first.operation()));
    for (query, words) in [
        (String::new(), &["`version` is missing", "`reason` is missing"][..]),
        (format!("?version={version}"), &["`reason` is missing"]),
        ("?reason=once".to_owned(), &["`version` is missing"]),
        (format!("?version={version}&reason="), &["`reason`: say why"]),
        ("?version=x&reason=once".to_owned(), &["`version` can't be \"x\""]),
        ("?version=&reason=once".to_owned(), &["`version` can't be"]),
        (format!("?version={version}&reason=once&version={version}"), &["`version` is there twice"]),
        (format!("?version=x&reason=once&version={version}"), &["`version` is there twice"]),
        (format!("?reason=&version={version}&reason=once"), &["`reason` is there twice"]),
        (format!("?version={version}&reason=once&force"), &["`force` is no parameter here"]),
    ] {
        let refused = gateway.admin("DELETE", &format!("/v1/operations/{id}{query}"));
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(refused.status, 400, "{query}: {detail}");
        assert!(words.iter().all(|word| detail.contains(word)), "{query}: {detail}");
    }
    let stale = gateway.admin("DELETE", &format!("/v1/operations/{id}?version=0&reason=once"));
    assert_eq!((stale.status, &stale.json()["code"]), (409, &json!("changed")), "{}", stale.text());
    gateway.send(&Request::keyed("/done", "k")).assert_replay_of(&first);
    assert_eq!(gateway.forget(id).status, 200);
}

#[test]
fn a_reason_without_words_is_usage() {
    let (_upstream, gateway) = losing();
    let id = lose(&gateway, "k");
    let version = gateway.version_of(&id);
    for reason in ["", "  ", "two\nlines"] {
        for verb in [&["resolve", "--outcome", "consumed"][..], &["forget"]] {
            let refused = ops(&gateway, &[verb, &[&id, "--version", &version, "--reason", reason]].concat());
            assert_eq!(refused.code, Some(2), "{refused:?}");
            assert!(
                refused.stderr.contains("--reason") && !refused.stderr.contains("/reason"),
                "{refused:?}"
            );
        }
    }
}
