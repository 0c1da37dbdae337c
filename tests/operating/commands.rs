//! Commands, exit codes, configuration files, the admin listener.

use crate::guests::{Guest, KEY_OF_FIRST_FIELD};
use crate::policies::bad_components::put;
use crate::support::gateway::{Ended, command, run};
use crate::support::*;
use std::net::TcpListener;

fn refused(setup: &Setup) -> Ended {
    setup.try_start().map(|_| ()).expect_err("it must not start")
}

#[test]
fn serve_needs_nothing_but_an_upstream() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let url = upstream.url();
    let args = ["serve", "--upstream", &url, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let gateway = Gateway::start(&args, setup).unwrap();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    first.assert_executed(201);
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
    assert!(gateway.setup.folder().join("oncegate-data").is_dir(), "the default data folder");
}

#[test]
fn flags_stand_for_the_common_keys() {
    let upstream = Upstream::numbering();
    let url = upstream.url();
    let args = [
        "serve",
        "--upstream",
        &url,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "off",
        "--workers",
        "1",
        "--store",
        "memory",
        "--settings",
        "{\"required\":true}",
    ];
    let gateway = Gateway::start(&args, Setup::new(&url)).unwrap();
    assert_eq!(gateway.admin, None);
    gateway.send(&Request::post("/charges")).assert_problem(400, "key-missing");
    assert!(!gateway.setup.folder().join("oncegate-data").exists(), "memory leaves no folder");
}

#[test]
pub(crate) fn unknown_flags_and_commands_are_usage_errors() {
    let setup = Setup::new("http://127.0.0.1:9");
    for args in
        [&["serve", "--upstraem", "x"][..], &["serv"], &["--nonsense"], &["serve", "--workers", "many"]]
    {
        let ended = run(args, setup.folder());
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
    }
}

#[test]
fn each_command_has_help_with_an_example() {
    let setup = Setup::new("http://127.0.0.1:9");
    for command in ["serve", "demo", "check", "reload", "ops"] {
        let ended = run(&[command, "--help"], setup.folder());
        assert_eq!(ended.code, Some(0), "{command}: {ended:?}");
        assert!(ended.stdout.contains(&format!("oncegate {command}")), "{command}: {}", ended.stdout);
    }
    assert_eq!(run(&["--version"], setup.folder()).code, Some(0));
}

/// The longest line of help whose reader says that it has so many columns.
fn widest(verb: &[&str], columns: Option<&str>) -> usize {
    let setup = Setup::new("http://127.0.0.1:9");
    let mut command = command(&[verb, &["--help"]].concat(), setup.folder());
    command.env_remove("COLUMNS").envs(columns.map(|columns| ("COLUMNS", columns)));
    let help = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let lines = help.lines().filter(|line| !line.starts_with("Usage:"));
    lines.map(|line| line.chars().count()).max().unwrap_or_default()
}

#[test]
fn help_is_as_wide_as_its_reader() {
    for verb in [&["serve"][..], &["check"], &["reload"], &["ops", "resolve"], &["policy", "run"]] {
        for unknown in [None, Some("x"), Some("0"), Some("-1"), Some("80")] {
            let widest = widest(verb, unknown);
            assert!((60..=80).contains(&widest), "{verb:?} {unknown:?}: {widest}");
        }
        assert!((90..=120).contains(&widest(verb, Some("120"))), "{verb:?}");
    }
}

#[test]
pub(crate) fn an_unknown_key_is_named_with_its_line_and_what_was_meant() {
    let setup =
        Setup::new("http://127.0.0.1:9").route("while_runing = \"reject\"").server("shutdown_grce = \"1s\"");
    setup.write();
    let text = setup.text();
    let line = |key: &str| text.lines().position(|line| line.contains(key)).unwrap() + 1;
    let words = [
        format!("oncegate.toml:{}", line("while_runing")),
        "while_running".to_owned(),
        format!("oncegate.toml:{}", line("shutdown_grce")),
        "shutdown_grace".to_owned(),
    ];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    refused(&setup).assert_refused(1, &words);
    let file = setup.file();
    run(&["check", "--config", file.to_str().unwrap()], setup.folder()).assert_refused(1, &words);
}

#[test]
fn check_says_that_a_good_file_is_good() {
    let setup = Setup::new("http://127.0.0.1:9");
    setup.write();
    let ended = run(&["check", "--config", setup.file().to_str().unwrap()], setup.folder());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!setup.data().exists(), "a check touches no ledger");
}

#[test]
pub(crate) fn a_file_that_is_no_toml_or_is_not_there_is_refused() {
    let setup = Setup::new("http://127.0.0.1:9").server("this is no toml");
    refused(&setup).assert_refused(1, &["oncegate.toml:"]);
    let ended = run(&["serve", "--config", "nowhere.toml"], setup.folder());
    ended.assert_refused(1, &["nowhere.toml"]);
}

#[test]
pub(crate) fn a_second_gateway_on_the_same_port_is_refused() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    for key in ["listen", "admin"] {
        let taken = if key == "listen" { gateway.address } else { gateway.admin.unwrap() };
        let line =
            if key == "listen" { format!("listen = [\"{taken}\"]") } else { format!("admin = \"{taken}\"") };
        let second = Setup::new(&upstream.url()).server(&line);
        refused(&second).assert_refused(1, &[&taken.to_string(), "in use"]);
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = port.local_addr().unwrap();
    let beside_a_stranger = Setup::new(&upstream.url()).server(&format!("listen = [\"{taken}\"]"));
    refused(&beside_a_stranger).assert_refused(1, &[&taken.to_string(), "in use"]);
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
}

#[test]
pub(crate) fn a_second_gateway_on_the_same_folder_is_refused() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    refused(&gateway.setup).assert_refused(1, &[gateway.setup.data().to_str().unwrap(), "another"]);
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
    let gateway = gateway.kill().start();
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
}

#[test]
pub(crate) fn a_damaged_data_folder_is_refused_in_words() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    let (setup, _) = gateway.terminate();
    let files = files_below(&setup.data());
    assert!(!files.is_empty());
    for file in files {
        let length = std::fs::metadata(&file).unwrap().len().max(64);
        std::fs::write(&file, vec![0xa5; usize::try_from(length).unwrap().min(1 << 20)]).unwrap();
    }
    refused(&setup).assert_refused(1, &[setup.data().to_str().unwrap()]);
    assert_eq!(upstream.count(), 1);
}

/// The database would cut off all that follows, and say nothing: those operations would run again.
#[test]
fn a_journal_that_rotted_in_its_midst_is_refused_in_words() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    for key in 0..20 {
        gateway.send(&Request::keyed("/charges", &key.to_string())).assert_executed(201);
    }
    let setup = gateway.kill();
    let files = files_below(&setup.data());
    let journal = files.iter().find(|file| file.extension().is_some_and(|end| end == "jnl")).unwrap();
    let sound = std::fs::read(journal).unwrap();
    let end = sound.iter().rposition(|byte| *byte != 0).unwrap();
    let mut rotten = sound.clone();
    rotten[end / 2..end / 2 + 64].fill(0xde);
    std::fs::write(journal, rotten).unwrap();
    refused(&setup).assert_refused(1, &[setup.data().to_str().unwrap(), "damaged", "journal", "restore"]);
    // It is left as it was found.
    std::fs::write(journal, sound).unwrap();
    let gateway = setup.start();
    for key in 0..20 {
        assert_eq!(gateway.send(&Request::keyed("/charges", &key.to_string())).replayed(), Some("true"));
    }
    assert_eq!(upstream.count(), 20);
}

#[test]
pub(crate) fn a_data_folder_that_is_a_file_is_refused_in_words() {
    let setup = Setup::new("http://127.0.0.1:9");
    std::fs::write(setup.data(), "not a folder").unwrap();
    refused(&setup).assert_refused(1, &[setup.data().to_str().unwrap()]);
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn the_demo_tells_its_story_with_real_requests_and_ends() {
    println!("{}", demo());
}

/// Runs `demo --once`; what was observed.
pub(crate) fn demo() -> String {
    let setup = Setup::new("http://127.0.0.1:9");
    let ended = run(&["demo", "--once"], setup.folder());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let story = ended.stdout;
    for word in ["once", "retr"] {
        assert!(story.to_lowercase().contains(word), "{word:?} is not in:\n{story}");
    }
    // The story has an order, whichever of two requests at once was read first.
    let told = |what: &str| story.find(what).unwrap_or_else(|| panic!("{what:?} is not in:\n{story}"));
    assert!(told("idempotent-replayed: false") < told("idempotent-replayed: true"), "{story}");
    assert_eq!(
        std::fs::read_dir(setup.folder()).unwrap().count(),
        0,
        "it leaves nothing where it was started"
    );
    format!("a story of {} lines, exit 0", story.lines().count())
}

#[test]
fn the_admin_listener_tells_health_status_policies_and_metrics() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
    for target in ["/livez", "/readyz"] {
        assert_eq!(gateway.admin("GET", target).status, 200, "{target}");
    }
    let metrics = gateway.admin("GET", "/metrics").text();
    for series in [
        "oncegate_requests_total{route=\"all\",result=\"executed\"} 1",
        "oncegate_requests_total{route=\"all\",result=\"replayed\"} 1",
        "oncegate_executions_total{route=\"all\",outcome=\"completed\"} 1",
        // The claim and the answer.
        "oncegate_store_seconds_count{op=\"swap\"} 2",
    ] {
        assert!(metrics.contains(series), "{series} is not in:\n{metrics}");
    }
    assert!(gateway.admin("GET", "/v1/status").json().is_object());
    let policies = gateway.admin("GET", "/v1/policies").text();
    assert!(policies.contains("\"keys\"") && policies.contains("idempotency-key/2"), "{policies}");
    let operation = gateway.admin("GET", &format!("/v1/operations/{}", first.operation()));
    assert_eq!((operation.status, &operation.json()["state"]), (200, &"completed".into()));
    assert_eq!(gateway.admin("GET", &format!("/v1/operations/{}", "0".repeat(64))).status, 404);
    assert_eq!(gateway.admin("GET", "/v1/nothing").status, 404);
    assert_eq!(gateway.admin("GET", "/v1/reload").status, 405, "changes are made by POST");
}

/// What no route takes is in no route's counters.
#[test]
fn requests_without_a_route_are_counted() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).path("/charges").server("access_log = \"text\"").start();
    let count = |problem: &str| {
        let series = format!("oncegate_requests_unrouted_total{{problem=\"{problem}\"}} ");
        let metrics = gateway.admin("GET", "/metrics").text();
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned));
        line.map_or(0, |count| count.parse().unwrap())
    };
    let ambiguous = "POST /charges HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let lookup = format!("/.oncegate/operations/{}", "0".repeat(64));
    for (request, problem, status) in [
        (Request::get("/nothing").bytes(), "no-route", 404),
        (Request::keyed("/", "k").bytes(), "no-route", 404),
        (Request::post("/charges//a").bytes(), "bad-request", 400),
        (Request::post("/charges").field("Host", "a b").bytes(), "bad-request", 400),
        (ambiguous.into(), "bad-request", 400),
        (Request::get("/charges#a").bytes(), "bad-request", 400),
        (Request::get(&lookup).bytes(), "not-found", 404),
    ] {
        let before = count(problem);
        assert_eq!(
            crate::support::client::send_raw(gateway.address, &request).unwrap().status,
            status,
            "{problem}"
        );
        assert_eq!(count(problem), before + 1, "{}", String::from_utf8_lossy(&request));
    }
    let lines =
        || gateway.stderr().lines().filter(|line| line.contains(" operation=- outcome=- problem=")).count();
    eventually("each has its line", || (lines() == 7).then_some(()));
    // What is no head has no line.
    let large = Request::get("/charges").field("X-Large", vec![b'x'; 200_000]).bytes();
    for (bytes, status) in [
        (b"nonsense\r\n\r\n".to_vec(), 400),
        (b"GET / HTTP/1.1\r\nno field\r\n\r\n".to_vec(), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), 400),
        (large, 431),
    ] {
        let before = count("bad-request");
        let reply = crate::support::client::send_raw(gateway.address, &bytes).unwrap();
        assert_eq!((reply.status, reply.body.len()), (status, 0));
        eventually("it is counted", || (count("bad-request") == before + 1).then_some(()));
    }
    assert_eq!(gateway.send(&Request::post("/charges")).status, 201);
    assert_eq!(count("none"), 0);
}

#[test]
fn the_admin_listener_answers_strangers_hosts_with_health_alone() {
    let gateway = Setup::new("http://127.0.0.1:9").start();
    let ask = |target: &str| {
        let request = Request::get(target).field("Host", "rebound.example");
        crate::support::client::send(gateway.admin.unwrap(), &request).status
    };
    for target in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(ask(target), 200, "{target}");
    }
    for target in ["/v1/status", "/v1/policies", "/v1/operations/0"] {
        assert!(matches!(ask(target), 403 | 421), "{target}");
    }
}

#[test]
fn neither_keys_nor_credentials_nor_bodies_reach_log_and_metrics() {
    let upstream = Upstream::start(|_| Script::answer(200, "answer-secret"));
    let gateway = Setup::new(&upstream.url()).server("access_log = \"json\"").start();
    let request = Request::keyed("/charges", "key-secret")
        .field("Authorization", "Bearer cred-secret")
        .field("X-API-Key", "api-secret")
        .body("body-secret");
    let first = gateway.send(&request);
    gateway.send(&request).assert_replay_of(&first);
    gateway.send(&request.clone().body("other-secret")).assert_problem(422, "key-reused");
    let id = first.operation().to_owned();
    let log =
        eventually("the access log is written", || Some(gateway.stderr()).filter(|log| log.contains(&id)));
    let policies = gateway.admin("GET", "/v1/policies").text();
    for text in [log, gateway.admin("GET", "/metrics").text(), policies] {
        assert!(!text.contains("-secret"), "{text}");
    }
}

#[test]
fn a_policys_labels_reach_metrics_and_log() {
    let upstream = Upstream::numbering();
    // A label `tier` in the guard, whose value is the key.
    let labelled = Guest {
        decide: format!(
            "{KEY_OF_FIRST_FIELD}
             (i32.store offset=84 (i32.const 1024) (i32.const 2048)) (i32.store offset=88 (i32.const 1024) (i32.const 1))
             (i32.store (i32.const 2048) (i32.const 2100)) (i32.store (i32.const 2052) (i32.const 4))
             (i32.store (i32.const 2100) (i32.const 0x72656974))
             (i32.store (i32.const 2056) (i32.load offset=8 (local.get $fields)))
             (i32.store (i32.const 2060) (i32.load offset=12 (local.get $fields)))"
        ),
        ..Guest::default()
    };
    let setup = Setup::new(&upstream.url());
    let file = put(&setup, "policy.wasm", &labelled.component());
    let setup = setup.component(file);
    for (log, line) in [
        ("text", " reason=- label.tier=\"one\" "),
        ("text", " reason=- label.tier=\"a \\\"b\\\"\" "),
        ("json", "\"labels\":{\"tier\":\"two\"}"),
    ] {
        let key =
            ["one", "a \"b\"", "two"].into_iter().find(|key| line.contains(&format!("{key:?}"))).unwrap();
        let gateway = setup.clone().server(&format!("access_log = {log:?}")).start();
        gateway.send(&Request::post("/charges").field("Idempotency-Key", key)).assert_executed(201);
        eventually("the access log has it", || gateway.stderr().contains(line).then_some(()));
    }
    let gateway = setup.start();
    for tier in 0..40 {
        let key = format!("tier{tier}");
        gateway.send(&Request::post("/charges").field("Idempotency-Key", &key)).assert_executed(201);
    }
    let metrics = gateway.admin("GET", "/metrics").text();
    let count = |value: &str| {
        let series =
            format!("oncegate_policy_labels_total{{policy=\"keys\",label=\"tier\",value=\"{value}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned))
    };
    assert_eq!((count("tier0").as_deref(), count("tier31").as_deref()), (Some("1"), Some("1")), "{metrics}");
    assert_eq!((count("tier32"), count("other").as_deref()), (None, Some("8")), "{metrics}");
}

#[test]
fn a_misspelt_log_level_is_a_usage_error() {
    let setup = Setup::new("http://127.0.0.1:9");
    for level in ["debgu", "oncegate=info,inof", "verbose"] {
        let ended = run(&["serve", "--upstream", "http://127.0.0.1:9", "--log", level], setup.folder());
        ended.assert_refused(2, &["is no level"]);
    }
    refused(&setup.env("ONCEGATE_LOG", "warnn")).assert_refused(2, &["did you mean \"warn\"?"]);
}

/// Kubernetes sets them in every pod that has a Service named `oncegate` beside it.
#[test]
fn variables_of_a_service_stop_no_start() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url()).env("ONCEGATE_COLOUR", "red");
    let injected = [
        ("ONCEGATE_SERVICE_HOST", "10.0.0.1"),
        ("ONCEGATE_SERVICE_PORT_HTTP", "8080"),
        ("ONCEGATE_PORT", "tcp://10.0.0.1:8080"),
        ("ONCEGATE_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ];
    let gateway = injected.iter().fold(setup, |setup, (name, value)| setup.env(name, value)).start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    gateway.assert_logs(&["ONCEGATE_COLOUR in the environment changes nothing"]);
    assert!(!gateway.stderr().contains("ONCEGATE_PORT"), "{}", gateway.stderr());
    for (name, meant) in
        [("ONCEGATE_LOGS", "ONCEGATE_LOG"), ("ONCEGATE_SERVER_LISTEN", "ONCEGATE_SERVER__LISTEN")]
    {
        refused(&Setup::new("http://127.0.0.1:9").env(name, "x")).assert_refused(1, &[name, meant]);
    }
}

#[test]
fn a_policys_fault_shows_its_line() {
    let new = || Setup::new("http://127.0.0.1:9");
    for (setup, words) in [
        (new().component("missing.wasm"), ["there is no such file", "help: name a .wasm file"]),
        (new().component("."), ["is a folder", "help: name a .wasm file"]),
        (new().component("oncegate.toml"), ["policy `keys`", "help: build it with `oncegate policy build`"]),
        (new().route("when_unknown = \"probe\""), ["doesn't export", "help: `oncegate policy inspect"]),
    ] {
        setup.write();
        let line = setup.text().lines().position(|line| line.starts_with("component =")).unwrap() + 1;
        let place = format!("oncegate.toml:{line}:");
        let words = [words[0], words[1], &place];
        let file = setup.file();
        run(&["check", "--config", file.to_str().unwrap()], setup.folder()).assert_refused(1, &words);
        refused(&setup).assert_refused(1, &words);
    }
}

#[test]
fn a_commands_change_reaches_no_service() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    let id = "0".repeat(64);
    for address in [gateway.address.to_string(), upstream.url()] {
        for args in [
            &["ops", "list"][..],
            &["ops", "forget", &id, "--reason", "r"],
            &["ops", "resolve", &id, "--outcome", "consumed", "--reason", "r"],
            &["reload"],
        ] {
            let ended = run(&[args, &["--admin", &address]].concat(), gateway.setup.folder());
            ended.assert_refused(1, &["is not the admin listener of a gateway"]);
        }
    }
    assert!(upstream.calls().iter().all(|call| (&*call.method, &*call.target) == ("GET", "/livez")));
    let admin = gateway.admin.unwrap().to_string();
    let ended = run(&["ops", "list", "--admin", &admin], gateway.setup.folder());
    assert_eq!((ended.code, &*ended.stdout), (Some(0), "the ledger has no operations\n"), "{ended:?}");
}

#[test]
fn a_token_that_lacks_or_is_wrong_is_told() {
    let setup = Setup::new("http://127.0.0.1:9").server("admin_token_file = \"token\"");
    std::fs::write(setup.folder().join("token"), "a-token-of-some-length").unwrap();
    std::fs::write(setup.folder().join("other"), "another-token-of-length").unwrap();
    let gateway = setup.start();
    let admin = gateway.admin.unwrap().to_string();
    let ask = |more: &[&str]| run(&[&["ops", "list", "--admin", &admin][..], more].concat(), setup.folder());
    ask(&[]).assert_refused(1, &["the request has none", "--token-file"]);
    ask(&["--token-file", "other"]).assert_refused(1, &["is not that of", "--token-file"]);
    assert_eq!(ask(&["--token-file", "token"]).code, Some(0));
}

#[test]
fn the_log_names_what_was_freed() {
    let upstream = Upstream::start(|_| Script::answer(422, "no"));
    let setup = Setup::new(&upstream.url()).server("access_log = \"text\"").env("ONCEGATE_LOG", "debug");
    let rule = "outcomes = [{ status = 422, means = \"not-applied\" }]";
    let gateway = setup.route(rule).start();
    let reply = gateway.send(&Request::keyed("/charges", "k"));
    gateway.assert_logs(&["not applied: the key is freed", reply.operation()]);
    assert_eq!(gateway.send(&Request::post("/charges")).status, 422);
    gateway.assert_logs(&["reason=\""]);
    let lists =
        gateway.admin("GET", "/v1/nothing").json()["detail"].as_str().unwrap().contains("/v1/operations");
    assert!(lists, "the pages that there are");
}
