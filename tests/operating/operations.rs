//! Operations by hand: listed, resolved, forgotten, by the admin interface and by `oncegate ops`
//! (design/admin.md); how what nobody resolves ends (design/life.md).

use crate::guests::{Guest, KEY_OF_FIRST_FIELD};
use crate::policies::bad_components::put;
use crate::support::*;
use crate::support::{self, client};
use serde_json::{Value, json};
use std::io::Write;

/// Takes `/lost…` and breaks off; answers everything else.
fn service() -> Upstream {
    Upstream::start(|call| match call.target.starts_with("/lost") {
        true => Script::reset(),
        false => Script::numbered(call),
    })
}

/// A request to the admin listener with a JSON body.
#[track_caller]
fn post(gateway: &Gateway, target: &str, body: &Value) -> Reply {
    let admin = gateway.admin.unwrap();
    let request = Request::new("POST", target)
        .field("Host", admin.to_string())
        .field("Content-Type", "application/json")
        .body(body.to_string());
    client::send(admin, &request)
}

/// A name that somebody else points here, and a page that somebody else has a browser show.
#[test]
fn the_admin_interface_answers_under_its_own_name_and_to_no_foreign_page() {
    let upstream = service();
    let gateway = Setup::new(&upstream.url()).server("admin_hosts = [\"gate.example\"]").start();
    let admin = gateway.admin.unwrap();
    let ask = |host: &str, origin: Option<&str>| {
        let request = Request::new("POST", "/v1/reload").field("Host", host).body("");
        let request = match origin {
            Some(origin) => request.field("Origin", origin),
            None => request,
        };
        let reply = client::send(admin, &request);
        (reply.status, reply.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    let own = admin.to_string();
    for (host, origin) in [
        (&*own, None),
        ("gate.example", None),
        (&*own, Some(format!("http://{own}"))),
        ("gate.example", Some("https://gate.example".to_owned())),
    ] {
        assert_eq!(ask(host, origin.as_deref()).0, 200, "{host} {origin:?}");
    }
    assert_eq!(ask("evil.example", None), (403, "foreign-host".to_owned()));
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        assert_eq!(ask(&own, Some(origin)), (403, "foreign-origin".to_owned()), "{origin}");
    }
    assert_eq!(client::send(admin, &Request::get("/livez").field("Host", "evil.example")).status, 200);
    let status = |fields: &[(&str, &str)]| {
        let request = Request::get("/v1/status");
        client::send(admin, &fields.iter().fold(request, |request, (name, value)| request.field(name, value)))
            .status
    };
    assert_eq!(status(&[("Host", &own), ("Host", "evil.example")]), 403);
    let two = [("Host", &*own), ("Origin", &*format!("http://{own}")), ("Origin", "http://evil.example")];
    assert_eq!(status(&two), 403);
    for (sites, expected) in [
        (&["same-origin"][..], 200),
        (&["none"], 200),
        (&["cross-site"], 403),
        (&["same-site"], 403),
        (&["Cross-Site"], 403),
        (&["same-origin", "cross-site"], 403),
        (&["none, cross-site"], 403),
        (&["other"], 403),
    ] {
        let mut fields = vec![("Host", &*own)];
        fields.extend(sites.iter().map(|site| ("Sec-Fetch-Site", *site)));
        assert_eq!(status(&fields), expected, "{sites:?}");
    }
    for (authority, host, expected) in [
        (&*own, &*own, 200),
        ("gate.example", &own, 200),
        ("evil.example", &own, 403),
        ("evil.example:80", "gate.example", 403),
        (&own, "evil.example", 403),
        ("gate.example@evil.example", &own, 403),
    ] {
        let request = Request::get(&format!("http://{authority}/v1/status")).field("Host", host);
        assert_eq!(client::send(admin, &request).status, expected, "{authority} {host}");
    }
}

/// Loses an operation; its id.
#[track_caller]
fn lose(gateway: &Gateway, key: &str) -> String {
    let lost = gateway.send(&Request::keyed("/lost", key));
    lost.assert_problem(502, "upstream-broken");
    lost.json()["operation"].as_str().unwrap().to_owned()
}

#[track_caller]
fn show(gateway: &Gateway, id: &str) -> Value {
    let shown = gateway.admin("GET", &format!("/v1/operations/{id}"));
    assert_eq!(shown.status, 200, "{}", shown.text());
    shown.json()
}

/// Asks for a change, and leaves while it is being written.
fn ask_and_leave(gateway: &Gateway, faults: &Faults, request: Request) {
    let admin = gateway.admin.unwrap();
    faults.hold_at(Point::Syncing, 1);
    let mut stream = std::net::TcpStream::connect(admin).unwrap();
    stream.write_all(&request.field("Host", admin.to_string()).bytes()).unwrap();
    faults.await_held();
    drop(stream);
    // By then the gateway has seen that the client is gone.
    for _ in 0..3 {
        assert_eq!(gateway.admin("GET", "/livez").status, 200);
    }
    faults.release();
}

#[test]
fn a_change_whose_client_leaves_is_made_whole() {
    let upstream = service();
    let (setup, faults) = Faults::over(&Setup::new(&upstream.url()));
    let gateway = setup.start();
    let first = gateway.send(&Request::keyed("/done", "k"));
    // The answer is at hand.
    gateway.send(&Request::keyed("/done", "k")).assert_replay_of(&first);
    let (id, version) = (first.operation(), gateway.version_of(first.operation()));
    let target = format!("/v1/operations/{id}?version={version}&reason=once+more");
    ask_and_leave(&gateway, &faults, Request::new("DELETE", &target));
    gateway.assert_logs(&["an operator had an operation forgotten", "once more"]);
    gateway.send(&Request::keyed("/done", "k")).assert_executed(201);
    let id = lose(&gateway, "l");
    let body = json!({"outcome": "not-applied", "reason": "the bank says", "version": show(&gateway, &id)["version"]});
    let resolve = Request::new("POST", &format!("/v1/operations/{id}/resolve"))
        .field("Content-Type", "application/json")
        .body(body.to_string());
    ask_and_leave(&gateway, &faults, resolve);
    gateway.assert_logs(&["an operator resolved an unknown outcome", "the bank says"]);
    gateway.send(&Request::keyed("/lost", "l")).assert_problem(502, "upstream-broken");
    assert_eq!(upstream.count(), 4);
}

/// The end of a command, with the gateway's admin listener named.
fn ops(gateway: &Gateway, arguments: &[&str]) -> support::gateway::Ended {
    // As `serve` prints it.
    let admin = format!("http://{}/", gateway.admin.unwrap());
    let mut all = vec!["ops"];
    all.extend(arguments);
    all.extend(["--admin", &admin]);
    support::gateway::run(&all, gateway.setup.folder())
}

#[test]
fn operations_are_listed_by_filter_and_in_pages() {
    for memory in [false, true] {
        let upstream = service();
        let setup = Setup::new(&upstream.url());
        let gateway = if memory { setup.memory() } else { setup }.start();
        let lost: std::collections::BTreeSet<String> =
            (0..3).map(|n| lose(&gateway, &format!("lost-{n}"))).collect();
        for n in 0..4 {
            gateway.send(&Request::keyed("/done", &format!("done-{n}"))).assert_executed(201);
        }
        let list = |query: &str| gateway.admin("GET", &format!("/v1/operations?{query}")).json();
        let ids = |page: &Value| {
            let operations = page["operations"].as_array().unwrap().clone();
            operations.iter().map(|one| one["operation"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&list("")).len(), 7);
        assert_eq!(ids(&list("state=unknown")).into_iter().collect::<std::collections::BTreeSet<_>>(), lost);
        // Of these no other record is read, in whatever pages and with whatever else is asked for.
        for (query, found, read) in [
            ("state=unknown", 3, 3),
            ("state=unknown&route=all&older_than=0s&limit=1000", 3, 3),
            ("state=unknown&route=another", 0, 3),
            ("state=unknown&limit=2", 2, 2),
            ("state=executing", 0, 0),
            ("state=completed", 4, 7),
        ] {
            let page = list(query);
            assert_eq!((ids(&page).len(), &page["scanned"]), (found, &json!(read)), "{query}: {page}");
        }
        assert_eq!(ids(&list("state=completed&route=all")).len(), 4);
        assert_eq!(ids(&list("route=another")), Vec::<String>::new());
        assert_eq!(ids(&list("older_than=1h")), Vec::<String>::new());
        assert_eq!(ids(&list("newer_than=1h")).len(), 7);
        eventually("all are older", || ids(&list("newer_than=1s")).is_empty().then_some(()));
        let (mut paged, mut query) = (Vec::new(), "state=unknown&limit=2".to_owned());
        loop {
            let page = list(&query);
            paged.extend(ids(&page));
            let Some(next) = page["next"].as_str() else { break };
            query = format!("state=unknown&limit=2&after={next}");
        }
        assert_eq!(paged, lost.iter().cloned().collect::<Vec<_>>(), "in the order of ids, each once");
        let bad = gateway.admin("GET", "/v1/operations?state=lost&limit=0");
        assert_eq!(bad.status, 400);
        let detail = bad.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("`state`") && detail.contains("`limit`"), "{detail}");
        // Nothing of what was sent or answered.
        let shown = show(&gateway, lost.first().unwrap());
        assert_eq!((&shown["state"], &shown["reason"]), (&json!("unknown"), &json!("broken")), "{shown}");
        assert!(!shown.to_string().contains("lost-"), "no keys: {shown}");
    }
}

#[test]
fn an_unknown_outcome_that_is_resolved_as_completed_is_replayed() {
    let upstream = service();
    let gateway = Setup::new(&upstream.url()).start();
    let id = lose(&gateway, "k");
    let version = show(&gateway, &id)["version"].clone();
    let target = format!("/v1/operations/{id}/resolve");
    let wanted = |version: &Value| {
        json!({
            "outcome": "completed", "version": version, "reason": "it is in the bank's list",
            "reply": { "status": 201, "headers": [["Content-Type", "text/plain"], ["Set-Cookie", "a=b"]],
                       "body_base64": "cGFpZA==" },
        })
    };
    // What can't be meant is refused by place, and what is stale by version.
    let bad = post(&gateway, &target, &json!({ "outcome": "completed", "reply": { "status": 7 } }));
    let detail = bad.json()["detail"].as_str().unwrap().to_owned();
    for place in ["/version", "/reason", "/reply/status"] {
        assert!(bad.status == 400 && detail.contains(place), "{detail}");
    }
    let untyped = gateway.admin("POST", &target);
    assert_eq!(untyped.status, 415, "{}", untyped.text());
    let stale = post(&gateway, &target, &wanted(&json!("1")));
    assert_eq!((stale.status, &stale.json()["code"]), (409, &json!("changed")), "{}", stale.text());
    gateway.send(&Request::keyed("/lost", "k")).assert_problem(409, "outcome-unknown");

    let resolved = post(&gateway, &target, &wanted(&version));
    assert_eq!(resolved.status, 200, "{}", resolved.text());
    assert_eq!(
        (&resolved.json()["state"], &resolved.json()["left_out"]),
        (&json!("completed"), &json!(["set-cookie"]))
    );
    let replay = gateway.send(&Request::keyed("/lost", "k"));
    assert_eq!((replay.status, replay.replayed(), replay.text()), (201, Some("true"), "paid".to_owned()));
    assert_eq!((replay.field("content-type"), replay.field("set-cookie")), (Some("text/plain"), None));
    let again = post(&gateway, &target, &wanted(&resolved.json()["version"]));
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("final")), "{}", again.text());
    assert_eq!(upstream.count(), 1);
    gateway.assert_logs(&["it is in the bank's list"]);
}

#[test]
fn an_unknown_outcome_that_did_not_happen_runs_again_and_one_that_is_consumed_does_not() {
    let upstream = service();
    let gateway = Setup::new(&upstream.url()).start();
    for (key, outcome) in [("free", "not-applied"), ("kept", "consumed")] {
        let id = lose(&gateway, key);
        let version = show(&gateway, &id)["version"].clone();
        let wanted = json!({ "outcome": outcome, "version": version, "reason": "looked" });
        assert_eq!(post(&gateway, &format!("/v1/operations/{id}/resolve"), &wanted).status, 200);
    }
    let before = upstream.count();
    gateway.send(&Request::keyed("/lost", "kept")).assert_problem(409, "consumed");
    assert_eq!(upstream.count(), before);
    lose(&gateway, "free");
    assert_eq!(upstream.count(), before + 1, "it ran again");
}

#[test]
fn what_is_forgotten_runs_again_and_only_what_is_finished_is_forgotten() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| match call.target.as_str() {
        "/lost" => Script::reset(),
        "/slow" => Script::numbered(call).after(&held),
        _ => Script::numbered(call),
    });
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/done", "k"));
    first.assert_executed(201);
    gateway.send(&Request::keyed("/done", "k")).assert_replay_of(&first);
    let forgotten = gateway.forget(first.operation());
    assert_eq!(
        (forgotten.status, &forgotten.json()["state"]),
        (200, &json!("absent")),
        "{}",
        forgotten.text()
    );
    // Not from any cache either.
    let second = gateway.send(&Request::keyed("/done", "k"));
    second.assert_executed(201);
    assert_ne!(second.body, first.body);
    assert_eq!(gateway.forget(&"0".repeat(64)).status, 404);
    assert_eq!(gateway.admin("DELETE", "/v1/operations/xyz").status, 400);

    let unresolved = gateway.forget(&lose(&gateway, "l"));
    assert_eq!((unresolved.status, &unresolved.json()["code"]), (409, &json!("unresolved")));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| gateway.send(&Request::keyed("/slow", "s")));
        let running = eventually("it executes", || {
            let page = gateway.admin("GET", "/v1/operations?state=executing").json();
            Some(page["operations"][0]["operation"].as_str()?.to_owned())
        });
        let refused = gateway.forget(&running);
        assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("executing")));
        gate.open();
        slow.join().unwrap().assert_executed(201);
    });
}

#[test]
fn the_command_shows_lists_resolves_and_forgets() {
    let upstream = service();
    let gateway = Setup::new(&upstream.url()).start();
    let ids: Vec<String> = (0..3).map(|n| lose(&gateway, &format!("k{n}"))).collect();
    let listed = ops(&gateway, &["list", "--state", "unknown"]);
    assert_eq!((listed.code, listed.stdout.lines().count()), (Some(0), 3), "{listed:?}");
    assert!(ids.iter().all(|id| listed.stdout.contains(id.as_str())), "{listed:?}");
    let begun: Vec<_> = listed.stdout.lines().filter_map(|line| line.split("  ").last()).collect();
    assert!(begun.is_sorted_by(|one, next| one >= next), "the newest first: {listed:?}");
    assert_eq!(ops(&gateway, &["list", "--since", "1h"]).stdout, listed.stdout);
    let some = ops(&gateway, &["list", "--limit", "2"]);
    assert!(some.stdout.contains("2 of more, and not the newest of all: --since"), "{some:?}");
    // The first digits will do.
    for digits in [8, 20, 63] {
        let shown = ops(&gateway, &["show", &ids[0][..digits]]);
        assert!(shown.code == Some(0) && shown.stdout.contains(&ids[0]), "{shown:?}");
    }
    for (other, words) in
        [("00000000", "no operation's id begins with 00000000"), ("ffffffff0", "no operation's id")]
    {
        let shown = ops(&gateway, &["show", other]);
        assert!(shown.code == Some(1) && shown.stderr.contains(words), "{shown:?}");
    }
    let shown = ops(&gateway, &["show", &ids[0], "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["state"], "unknown");

    // One, with an answer from a file.
    std::fs::write(gateway.setup.folder().join("answer.txt"), "paid").unwrap();
    let resolve = ["resolve", ids[0].as_str(), "--outcome", "completed", "--reason", "seen"];
    let answer = ["--status", "201", "--header", "Content-Type: text/plain", "--body-file", "answer.txt"];
    let stale = ops(&gateway, &[&resolve[..], &answer, &["--version", "1"]].concat());
    assert_eq!(stale.code, Some(1), "{stale:?}");
    assert!(stale.stderr.contains("has changed since it was shown"), "{stale:?}");
    let version = gateway.version_of(&ids[0]);
    let resolved = ops(&gateway, &[&resolve[..], &answer, &["--version", &version]].concat());
    assert_eq!(resolved.code, Some(0), "{resolved:?}");
    let replay = gateway.send(&Request::keyed("/lost", "k0"));
    assert_eq!(
        (replay.status, replay.text(), replay.field("content-type")),
        (201, "paid".into(), Some("text/plain"))
    );

    // All that a filter takes: shown first, done with --yes.
    let filter = ["resolve", "--route", "all", "--outcome", "not-applied", "--reason", "restored"];
    let would = ops(&gateway, &filter);
    assert_eq!(would.code, Some(1), "{would:?}");
    assert!(would.stdout.contains("2 operations; nothing is changed without --yes"), "{would:?}");
    let word = would.stdout.split_whitespace().last().unwrap();
    assert_eq!(show(&gateway, &ids[1])["state"], "unknown");
    let done = ops(&gateway, &[&filter[..], &["--yes", word]].concat());
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "2 done, 0 not done\n"), "{done:?}");
    assert_eq!(gateway.admin("GET", &format!("/v1/operations/{}", ids[1])).status, 404);

    let version = gateway.version_of(&ids[0]);
    let forgotten = ops(&gateway, &["forget", &ids[0], "--reason", "a test", "--version", &version]);
    assert_eq!(forgotten.code, Some(0), "{forgotten:?}");
    assert_eq!(ops(&gateway, &["show", &ids[0]]).code, Some(1));
    // What can't be meant.
    for usage in [
        &["forget", ids[0].as_str()][..],
        &["forget", "--reason", "which?"],
        &["forget", "--state", "unknown", "--reason", "never"],
        // As of variables that aren't set: no filter at all is not meant either.
        &["forget", "--route", "", "--reason", "which?", "--yes", "0"],
        &["forget", "--state", "", "--reason", "which?", "--yes", "0"],
        &["forget", "--older-than", "", "--reason", "which?", "--yes", "0"],
        &["list", "--state", "waiting"],
        &["list", "--older-than", "5"],
        &["list", "--since", "5"],
        &["show", "abc"],
        &["show", "0123456"],
        &["show", "0123456G"],
        &["resolve", "--route", "all", "--outcome", "completed", "--status", "200", "--reason", "all"],
        &["resolve", ids[0].as_str(), "--outcome", "completed", "--reason", "no answer"],
    ] {
        let refused = ops(&gateway, usage);
        assert_eq!(refused.code, Some(2), "{usage:?}: {refused:?}");
    }
}

#[test]
fn what_nobody_resolves_ends_as_a_tombstone_and_never_runs_again() {
    let upstream = service();
    let gateway = Setup::new(&upstream.url()).route("unknown_retention = \"1s\"").start();
    let id = lose(&gateway, "k");
    gateway.send(&Request::keyed("/lost", "k")).assert_problem(409, "outcome-unknown");
    eventually("it expires", || (gateway.send(&Request::keyed("/lost", "k")).status == 410).then_some(()));
    gateway.send(&Request::keyed("/lost", "k")).assert_problem(410, "expired");
    assert_eq!(show(&gateway, &id)["state"], "expired");
    assert_eq!(upstream.count(), 1);
    // It tells that it was; it is not to be resolved any more, and may be forgotten.
    assert_eq!(gateway.forget(&id).status, 200);
}

#[test]
fn an_operation_is_sent_again_only_where_that_is_said_to_do_no_harm() {
    let upstream = Upstream::start(|call| match call.number {
        0 => Script::reset(),
        _ => Script::answer(201, call.field("oncegate-attempt").unwrap_or_default()),
    });
    let setup = Setup::new(&upstream.url()).route("when_unknown = \"resend\"");
    let refused = setup.clone().try_start().err().expect("nothing says that a POST may be repeated");
    refused.assert_refused(1, &["routes.all.when_unknown", "dedupes", "accept_repeats"]);
    let gateway = setup.origin("accept_repeats = true").start();
    gateway.send(&Request::keyed("/", "k")).assert_problem(502, "upstream-broken");
    let again = sent_again(&gateway, &Request::keyed("/", "k"));
    again.assert_executed(201);
    assert_eq!(again.text(), "2", "the second attempt");
    gateway.send(&Request::keyed("/", "k")).assert_replay_of(&again);
    assert_eq!(upstream.count(), 2);
}

/// A GET is guarded because it acts, so HTTP's word that it is harmless doesn't count.
#[test]
fn a_policys_resend_counts_for_put_and_delete_alone() {
    let upstream = Upstream::start(|call| match call.field("oncegate-attempt") {
        Some("1") => Script::reset(),
        _ => Script::answer(201, "again"),
    });
    let methods = ["GET", "POST", "PATCH", "PUT", "DELETE"];
    let resends = Guest {
        methods: methods.map(String::from).into(),
        // `when-unknown` of the guard, `resend`.
        decide: format!("{KEY_OF_FIRST_FIELD} (i32.store8 offset=37 (i32.const 1024) (i32.const 3))"),
        ..Guest::default()
    };
    let setup = Setup::new(&upstream.url()).route(&format!("methods = {methods:?}"));
    let file = put(&setup, "policy.wasm", &resends.component());
    let gateway = setup.component(file).start();
    for method in methods {
        let request = || Request::new(method, "/").field("Idempotency-Key", method);
        gateway.send(&request()).assert_problem(502, "upstream-broken");
        match method {
            "PUT" | "DELETE" => sent_again(&gateway, &request()).assert_executed(201),
            _ => _ = gateway.send(&request()).assert_problem(409, "outcome-unknown"),
        }
    }
    assert_eq!(upstream.count(), 7);
}

/// The answer to a request that resends. What comes within the millisecond in which the outcome became unknown
/// is still told so: only what was unknown before a request came is sent again for it.
fn sent_again(gateway: &Gateway, request: &Request) -> Reply {
    eventually("it is sent again", || {
        let answer = gateway.send(request);
        if answer.status == 201 {
            return Some(answer);
        }
        answer.assert_problem(409, "outcome-unknown");
        None
    })
}

/// A disk may rot in one place.
#[test]
fn a_record_that_cannot_be_read_hides_no_other() {
    let upstream = Upstream::start(|_| Script::answer(201, vec![b'x'; 1 << 20]));
    let gateway = Setup::new(&upstream.url()).start();
    for key in 0..14 {
        gateway.send(&Request::keyed("/charges", &key.to_string())).assert_executed(201);
    }
    // Large answers lie in files of their own, once the database has written them out of its memory.
    let keyspaces = gateway.setup.data().join("db/keyspaces");
    let entries = |folder: &std::path::Path| {
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path())
    };
    let large = support::eventually("answers in a file", || {
        entries(&keyspaces).flat_map(|folder| entries(&folder.join("blobs")).collect::<Vec<_>>()).next()
    });
    let (setup, code) = gateway.terminate();
    assert_eq!(code, Some(0));
    let sound = std::fs::read(&large).unwrap();
    let mut rotten = sound.clone();
    rotten[sound.len() / 2] ^= 0x55;
    std::fs::write(&large, rotten).unwrap();
    let gateway = setup.start();
    let page = gateway.admin("GET", "/v1/operations").json();
    let count = |name: &str| page[name].as_array().map(Vec::len);
    assert_eq!((count("operations"), count("unreadable")), (Some(13), Some(1)), "{page}");
    let bad = page["unreadable"][0].as_str().unwrap().to_owned();
    let listed = ops(&gateway, &["list"]);
    assert_eq!((listed.code, listed.stdout.lines().count()), (Some(0), 14), "{listed:?}");
    assert!(listed.stdout.contains(&format!("{bad}  can't be read")), "{listed:?}");
    let would = ops(&gateway, &["forget", "--route", "all", "--reason", "a test"]);
    assert!(would.stdout.contains("13 operations") && would.stdout.contains(&bad), "{would:?}");
    // What would change its key is refused with its id, unless it is given up.
    let text = format!("[principal]\nfrom = \"authorization\"\n{}", setup.text());
    support::gateway::replace(&setup.file(), text.as_bytes());
    let admin = format!("http://{}/", gateway.admin.unwrap());
    let reload = |flags: &[&str]| {
        support::gateway::run(&[&["reload", "--admin", &admin], flags].concat(), setup.folder())
    };
    let refused = reload(&[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&bad) && refused.stderr.contains("--accept-duplicates"), "{refused:?}");
    assert!(refused.stderr.contains("(13 live records)"), "{refused:?}");
    let given_up = reload(&["--accept-duplicates"]);
    assert_eq!(given_up.code, Some(0), "{given_up:?}");
}
