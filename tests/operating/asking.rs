//! Commands find a running gateway, and its token, by its configuration (design/commands.md).

use crate::support::gateway::{command, run};
use crate::support::*;

const TOKEN: &str = "a-token-of-some-length";

/// A gateway that asks for a token, and the address of its admin listener.
fn started() -> (Gateway, String) {
    let setup = Setup::new("http://127.0.0.1:9").memory().server("admin_token_file = \"token\"");
    std::fs::write(setup.folder().join("token"), TOKEN).unwrap();
    let gateway = setup.start();
    let admin = gateway.admin.unwrap().to_string();
    (gateway, admin)
}

fn write(gateway: &Gateway, text: &str) {
    std::fs::write(gateway.setup.folder().join("asking.toml"), text).unwrap();
}

/// A gateway goes on with its old configuration when the file has a fault, and is asked just then.
#[test]
fn faults_elsewhere_hide_no_gateway() {
    let (gateway, admin) = started();
    let own = format!("[server]\nadmin = \"{admin}\"\nadmin_token_file = \"token\"\n");
    for fault in [
        "[[routes]]\nname = \"r\"\npath = \"/\"\nupstream = \"a\"\nretention = \"3h\"\n",
        "[ledger]\nsecret_file = \"no/such\"\n",
        "listen = [\"nowhere\"]\n",
        "[server.limits]\nbody_bytes = true\n",
        "[nonsense]\nx = 1\n",
        "[[routes]]\nx=\n",
    ] {
        write(&gateway, &format!("{own}{fault}"));
        for verb in [&["ops", "list"][..], &["reload"]] {
            let ended = run(&[verb, &["--config", "asking.toml"]].concat(), gateway.setup.folder());
            assert_eq!(ended.code, Some(0), "{fault}: {ended:?}");
        }
    }
    for about_it in [
        "[server]\nadmin = \"nowhere\"\n",
        &format!("[server]\nadmin = \"{admin}\"\nadmin_token_file = \"none\"\n"),
        "server = 3\n",
        "x=\n",
    ] {
        write(&gateway, about_it);
        let ended = run(&["ops", "list", "--config", "asking.toml"], gateway.setup.folder());
        ended.assert_refused(1, &["does not say where the admin listener is"]);
    }
}

#[test]
fn the_files_token_goes_with_its_address() {
    let (gateway, admin) = started();
    let folder = gateway.setup.folder();
    let file = |admin: &str| {
        write(&gateway, &format!("[server]\nadmin = \"{admin}\"\nadmin_token_file = \"token\"\n"));
    };
    file("127.0.0.1:1");
    let asked = command(&["ops", "list"], folder)
        .env("ONCEGATE_CONFIG", "asking.toml")
        .env("ONCEGATE_SERVER__ADMIN", &admin)
        .output()
        .unwrap();
    assert_eq!(asked.status.code(), Some(0), "as `serve` reads both: {asked:?}");
    let list = ["ops", "list", "--config", "asking.toml", "--admin"];
    let ended = run(&[&list[..], &[&admin]].concat(), folder);
    ended.assert_refused(1, &["the request has none"]);
    file(&admin);
    for named in [admin.clone(), format!("http://{admin}/")] {
        let ended = run(&[&list[..], &[&named]].concat(), folder);
        assert_eq!(ended.code, Some(0), "{named}: {ended:?}");
    }
}

#[test]
fn the_tokens_scheme_has_no_case() {
    let (gateway, admin) = started();
    for (sent, status) in [
        (format!("Bearer {TOKEN}"), 200),
        (format!("bearer {TOKEN}"), 200),
        (format!("BEARER  {TOKEN}"), 200),
        (format!("Basic {TOKEN}"), 401),
        (format!("Bearer{TOKEN}"), 401),
        (TOKEN.to_owned(), 401),
        ("Bearer".to_owned(), 401),
        ("Bearer ".to_owned(), 401),
    ] {
        let request = Request::get("/v1/status").field("Host", &admin).field("Authorization", &sent);
        assert_eq!(client::send(gateway.admin.unwrap(), &request).status, status, "{sent:?}");
    }
}

#[test]
fn an_answer_by_hand_is_one_that_can_be() {
    let (gateway, admin) = started();
    std::fs::write(gateway.setup.folder().join("body"), "x").unwrap();
    let id = "0".repeat(64);
    for status in ["204", "304"] {
        let args = [
            "ops",
            "resolve",
            &id,
            "--version",
            "1",
            "--outcome",
            "completed",
            "--status",
            status,
            "--body-file",
            "body",
            "--reason",
            "r",
            "--admin",
            &admin,
            "--token-file",
            "token",
        ];
        run(&args, gateway.setup.folder()).assert_refused(2, &["has no body", "--body-file"]);
    }
}

#[test]
fn the_newest_operation_stands_first() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).memory().start();
    let send = |n: usize| gateway.send(&Request::keyed("/charges", &n.to_string())).operation().to_owned();
    let mut sent: Vec<String> = (0..20).map(send).collect();
    sent.reverse();
    let admin = gateway.admin.unwrap().to_string();
    let ended = run(&["ops", "list", "--admin", &admin], gateway.setup.folder());
    let listed: Vec<&str> = ended.stdout.lines().filter_map(|line| line.split("  ").next()).collect();
    assert_eq!(listed[..20], sent, "{ended:?}");
}

#[test]
fn a_filter_that_takes_nothing_is_refused() {
    let (gateway, admin) = started();
    for (since, older, refused) in [
        ("1h", "2h", true),
        ("1h", "1h", true),
        ("60m", "1h", true),
        ("2h", "1h", false),
        ("1d", "90m", false),
    ] {
        let args = [
            "ops",
            "list",
            "--since",
            since,
            "--older-than",
            older,
            "--admin",
            &admin,
            "--token-file",
            "token",
        ];
        let ended = run(&args, gateway.setup.folder());
        assert_eq!(ended.code, Some(if refused { 2 } else { 0 }), "{since} {older}: {ended:?}");
    }
}
