//! Changes that would take the key of an operation that the ledger has a live record of, so that it ran
//! again: refused by name, at a reload and at a start, unless they are accepted aloud
//! (design/keys.md).

use crate::support::gateway::{Ended, replace, run};
use crate::support::*;
use serde_json::Value;

/// A gateway whose route `all` stands at `/v1`, with an answered operation.
fn started(upstream: &Upstream) -> (Gateway, Reply) {
    let gateway = Setup::new(&upstream.url()).path("/v1").start();
    let first = gateway.send(&charge());
    first.assert_executed(201);
    (gateway, first)
}

fn charge() -> Request {
    Request::keyed("/v1/charges", "k")
}

/// A further policy, and a route to it if there is a path.
fn other(path: &str) -> String {
    let route = format!(
        "[[routes]]\nname = \"theirs\"\npath = {path:?}\nupstream = \"origin\"\npolicy = \"others\"\n"
    );
    let policy = "[policies.others]\ncomponent = \"builtin:idempotency-key\"\n";
    if path.is_empty() { policy.to_owned() } else { format!("{route}{policy}") }
}

/// The same with the policy, or the route, under another name.
fn renamed(setup: &Setup, from: &str, to: &str) -> String {
    setup.text().replace(from, to)
}

/// Changes of what `started` runs with, each with what is said of it.
fn losing(setup: &Setup) -> Vec<(&'static str, String, Vec<&'static str>)> {
    let with = |setup: Setup| setup.text();
    vec![
        (
            "a route in front",
            with(setup.clone().extra(&other("/v1/charges"))),
            vec!["policy `keys` to policy `others`", "route `theirs`", "1 live record"],
        ),
        (
            "an unguarded route in front",
            with(setup.clone().extra(
                "[[routes]]\nname = \"plain\"\npath = \"/v1/charges\"\nmethods = [\"POST\"]\nupstream = \"origin\"",
            )),
            vec!["unguarded, by route `plain`", "1 live record"],
        ),
        ("a route moved away", with(setup.clone().path("/v2")), vec!["route `all`", "meet no route"]),
        (
            "a renamed policy",
            renamed(&setup.clone().policy("key_epoch = 0"), "policies.keys]", "policies.mine]")
                .replace("policy = \"keys\"", "policy = \"mine\""),
            vec!["policy `keys` to policy `mine`"],
        ),
        (
            "another principal",
            format!("[principal]\nfrom = \"authorization\"\n{}", setup.text()),
            vec!["route `all`", "principals from", "authorization", "1 live record"],
        ),
        (
            "a route's other principal",
            with(setup.clone().route("principal = { from = \"cookie:sid\", anonymous = \"share\" }")),
            vec!["principals from", "cookie:sid"],
        ),
    ]
}

#[track_caller]
fn put(gateway: &Gateway, text: &str) {
    replace(&gateway.setup.file(), text.as_bytes());
}

#[track_caller]
fn reload(gateway: &Gateway, body: &str) -> Reply {
    let admin = gateway.admin.expect("it has an admin listener");
    let request = Request::new("POST", "/v1/reload").field("Host", admin.to_string()).body(body);
    client::send(admin, &request)
}

fn serve(setup: &Setup, text: &str, flags: &[&str]) -> Result<Gateway, Ended> {
    replace(&setup.file(), text.as_bytes());
    let file = setup.file();
    let args = ["serve", "--config", file.to_str().expect("a plain path")];
    Gateway::start(&[&args[..], flags].concat(), setup.clone())
}

#[test]
fn a_reload_that_would_lose_a_live_record_is_refused_and_says_how_many_and_what_would_do() {
    let upstream = Upstream::numbering();
    let (gateway, first) = started(&upstream);
    for (what, text, words) in losing(&gateway.setup) {
        put(&gateway, &text);
        let reply = reload(&gateway, "");
        assert_eq!(reply.status, 422, "{what}: {}", reply.text());
        for word in words.iter().chain(&["--accept-duplicates", "oncegate ops list"]) {
            assert!(reply.text().contains(word), "{what}: {word:?} is not in {}", reply.text());
        }
        gateway.send(&charge()).assert_replay_of(&first);
    }
    assert_eq!(upstream.count(), 1);
    let refused = losing(&gateway.setup).len() as u64;
    put(&gateway, &gateway.setup.text());
    assert_eq!(reload(&gateway, "").status, 200);
    let counted = ["ok", "failed"]
        .map(|result| gateway.metric(&format!("oncegate_config_reloads_total{{result=\"{result}\"}}")));
    // A watched file may have been reloaded besides.
    assert!(counted[0] >= 1 && counted[1] >= refused, "{counted:?} of {refused}");
}

#[test]
fn a_start_that_would_lose_a_live_record_is_refused_alike() {
    let upstream = Upstream::numbering();
    let (gateway, first) = started(&upstream);
    let setup = gateway.kill();
    let mut changes = losing(&setup);
    changes.push((
        "another deployment",
        setup.clone().ledger("deployment = \"blue\"").text(),
        vec!["ledger.deployment", "\"blue\"", "1 live record"],
    ));
    for (what, text, words) in changes {
        let words: Vec<&str> = words.into_iter().chain(["--accept-duplicates"]).collect();
        match serve(&setup, &text, &[]) {
            Err(ended) => ended.assert_refused(1, &words),
            Ok(_) => panic!("{what}: it started"),
        }
    }
    let gateway = serve(&setup, &setup.text(), &[]).expect("as it was it starts");
    gateway.send(&charge()).assert_replay_of(&first);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn what_takes_no_records_key_is_taken_over() {
    let upstream = Upstream::numbering();
    let (gateway, first) = started(&upstream);
    let setup = gateway.setup.clone();
    let in_front = "[[routes]]\nname = \"refunds\"\npath = \"/v1/refunds\"\nupstream = \"origin\"\npolicy = \"others\"\n";
    let plain =
        "[[routes]]\nname = \"plain\"\npath = \"/v1/charges\"\nmethods = [\"GET\"]\nupstream = \"origin\"\n";
    for (what, text) in [
        ("a route where there was none", setup.clone().extra(&other("/v2")).text()),
        ("a route that no live record meets", setup.clone().extra(in_front).extra(&other("")).text()),
        ("an unguarded route for other methods", setup.clone().extra(plain).text()),
        ("a route with another name", renamed(&setup, "name = \"all\"", "name = \"charges\"")),
        ("a wider route", setup.clone().path("/").text()),
        ("as it was", setup.text()),
    ] {
        put(&gateway, &text);
        let reply = reload(&gateway, "");
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        gateway.send(&charge()).assert_replay_of(&first);
        // Whatever its route is named now, its caller may ask what became of it.
        let lookup = Request::get(&format!("/.oncegate/operations/{}", first.operation()));
        assert_eq!(gateway.send(&lookup).status, 200, "{what}");
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn without_live_records_everything_may_change() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url()).path("/v1").ledger("retention = \"1s\"\ntombstone = \"0s\"");
    let gateway = setup.start();
    gateway.send(&charge()).assert_executed(201);
    let (_, text, _) = losing(&setup).remove(0);
    put(&gateway, &text);
    // The answer is forgotten meanwhile.
    eventually("nothing stands in the way", || (reload(&gateway, "").status == 200).then_some(()));
    let setup = gateway.kill();
    for (what, text, _) in losing(&setup) {
        let gateway = serve(&setup, &text, &[]).unwrap_or_else(|ended| panic!("{what}: {ended:?}"));
        gateway.kill();
    }
}

#[test]
fn a_change_that_is_accepted_says_what_it_gives_up() {
    let upstream = Upstream::numbering();
    let (gateway, first) = started(&upstream);
    let text = gateway.setup.clone().extra(&other("/v1/charges")).text();
    put(&gateway, &text);
    for body in ["{\"accept\": true}", "true", "{"] {
        let reply = reload(&gateway, body);
        assert_eq!(reply.status, 400, "{body}: {}", reply.text());
        assert!(reply.text().contains("accept_duplicates"), "{}", reply.text());
    }
    assert_eq!(reload(&gateway, "{\"accept_duplicates\": false}").status, 422);
    let admin = gateway.admin.expect("it has one").to_string();
    let ended = run(&["reload", "--admin", &admin, "--accept-duplicates"], gateway.setup.folder());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let words = ["may run again", "1 live record"];
    assert!(words.iter().all(|word| ended.stdout.contains(word)), "{}", ended.stdout);
    gateway.assert_logs(&words);
    gateway.send(&charge()).assert_executed(201);
    assert_eq!(upstream.count(), 2);
    // The way back would lose the second one, and finds the first again.
    put(&gateway, &gateway.setup.text());
    assert_eq!(reload(&gateway, "").status, 422);
    let reply = reload(&gateway, "{\"accept_duplicates\": true}");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let warnings: &Value = &reply.json()["warnings"];
    assert!(warnings.to_string().contains("policy `others` to policy `keys`"), "{warnings}");
    gateway.send(&charge()).assert_replay_of(&first);
    // It holds for one reload.
    put(&gateway, &text);
    assert_eq!(reload(&gateway, "").status, 422);
}

#[test]
fn a_start_that_is_accepted_says_what_it_gives_up() {
    let upstream = Upstream::numbering();
    let (gateway, _) = started(&upstream);
    let setup = gateway.kill();
    let text = setup.clone().ledger("deployment = \"blue\"").text();
    let gateway = serve(&setup, &text, &["--accept-duplicates"]).expect("it was accepted");
    gateway.assert_logs(&["may run again", "ledger.deployment"]);
    gateway.send(&charge()).assert_executed(201);
    gateway.kill();
    let gateway = serve(&setup, &text, &[]).expect("it was accepted once and for all");
    assert_eq!(gateway.send(&charge()).field("idempotent-replayed"), Some("true"));
    assert_eq!(upstream.count(), 2);
}

#[test]
fn what_executes_holds_a_change_up_until_it_has_ended() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = Upstream::start(move |call| Script::numbered(call).after(&held));
    let gateway = Setup::new(&upstream.url()).path("/v1").start();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| gateway.send(&charge()));
        upstream.await_calls(|calls| calls.len() == 1);
        put(&gateway, &gateway.setup.clone().extra(&other("/v1/charges")).text());
        let reply = reload(&gateway, "");
        assert_eq!(reply.status, 422, "{}", reply.text());
        gate.open();
        first.join().expect("it ends").assert_executed(201);
    });
    assert_eq!(upstream.count(), 1);
}

/// The change comes while the first operations of the route do: either it is made before them, and they
/// run by the new policy, or it is refused. Never does one run by both.
#[test]
fn a_change_in_the_midst_of_first_requests_runs_nothing_twice() {
    println!("{}", race(12));
}

/// So many routes, each moved to another policy while its first requests come; what was observed.
pub(crate) fn race(rounds: usize) -> String {
    const CLIENTS: usize = 4;
    let mut dice = Dice::thrown("lostkeys");
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).extra(&other("")).start();
    let route = |n: usize| {
        format!("[[routes]]\nname = \"r{n}\"\npath = \"/r{n}\"\nupstream = \"origin\"\npolicy = \"others\"\n")
    };
    let (mut routes, mut made, mut turned_away) = (String::new(), 0, 0);
    for n in 0..rounds {
        let text = format!("{}{}{}", gateway.setup.text(), routes, route(n));
        put(&gateway, &text);
        let outcome = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let gateway = &gateway;
                    let before = dice.roll(80);
                    scope.spawn(move || {
                        // So that it comes before, amid or after the change.
                        (0..before).for_each(|_| _ = gateway.send(&Request::get("/")));
                        let request = Request::keyed(&format!("/r{n}/charges"), &format!("{n}-{client}"));
                        let mut refused = 0;
                        // As a client does that is told to ask again.
                        let first = eventually("it is executed", || {
                            let reply = gateway.send(&request);
                            let done = reply.status == 201;
                            refused += usize::from(!done);
                            assert!(done || reply.status == 503, "{reply:?}");
                            done.then_some(reply)
                        });
                        (request, first, refused)
                    })
                })
                .collect();
            let reply = reload(&gateway, "");
            assert!(matches!(reply.status, 200 | 422), "{}", reply.text());
            let clients: Vec<_> = clients.into_iter().map(|client| client.join().expect("it ends")).collect();
            (reply.status, clients)
        });
        if outcome.0 == 200 {
            routes += &route(n);
            made += 1;
        }
        for (request, first, refused) in outcome.1 {
            turned_away += refused;
            let again = gateway.send(&request);
            assert_eq!((again.status, &again.body), (first.status, &first.body), "{again:?}");
        }
    }
    let counts = upstream.count_by_key();
    let counts: Vec<_> = counts.into_iter().filter(|(key, _)| key.contains('-')).collect();
    assert_eq!(counts.len(), rounds * CLIENTS);
    assert!(counts.iter().all(|(_, count)| *count == 1), "executed more than once: {counts:?}");
    format!(
        "{rounds} changes amid {} first requests: {made} made, the others refused; {turned_away} requests turned away \
         once, none executed twice",
        rounds * CLIENTS
    )
}
