//! The command line without a process.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::*;
use std::io::{Read as _, Write as _};

#[test]
fn the_commands_are_well_formed_and_each_has_an_example() {
    Cli::command().debug_assert();
    let mut command = Cli::command();
    command.build();
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let text = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(text.contains("Example") && text.contains("oncegate "), "{}", verb.get_name());
    }
}

/// A terminal of the usual width breaks no line that somebody copies.
#[test]
fn examples_fit_where_no_width_is_known() {
    fn look(command: &Command) {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        // Other lines are broken between words.
        for line in text.lines().filter(|line| line.starts_with(' ')) {
            assert!(line.chars().count() <= COLUMNS, "{}: {line}", command.get_name());
        }
        command.get_subcommands().for_each(look);
    }
    let mut command = Cli::command();
    command.build();
    look(&command);
}

#[test]
fn a_machine_without_policies_is_no_usage() {
    let faults = crate::run::no_engine(&crate::policy::EngineError::Wasm("no memory".into()));
    assert!(!faults.are_usage());
    let told = faults.to_string();
    assert!(told.contains("can't run policies") && told.contains("--> this machine"), "{told}");
}

/// The debug text of an `ExitCode`, because `ExitCode` can't be compared.
fn code(arguments: &[&str], env: &[(&str, &str)]) -> String {
    let arguments = std::iter::once("oncegate").chain(arguments.iter().copied()).map(OsString::from);
    let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    format!("{:?}", run(arguments, env))
}

fn is(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[test]
fn exit_codes_tell_failure_from_usage() {
    for (arguments, env, expected) in [
        (&["check", "--config", "tests/config/good/warned.toml"][..], &[][..], 0),
        // The pinned digest is another component's.
        (&["check", "--config", "tests/config/good/everything.toml"], &[], 1),
        (&["check", "--upstream", "http://127.0.0.1:9000"], &[], 0),
        (&["check", "--upstream", "http://127.0.0.1:9000", "--output", "json"], &[], 0),
        (&["check", "--config", "tests/config/bad/routes.toml", "-o", "json"], &[], 1),
        // The component isn't there.
        (&["check", "--config", "tests/config/good/small.toml"], &[], 1),
        (&["check", "--upstream", "http://127.0.0.1:9000"], &[("ONCEGATE_LOGS", "red")], 1),
        (&["check", "--upstream", "http://127.0.0.1:9000"], &[("ONCEGATE_COLOUR", "red")], 0),
        (&["check"], &[], 2),
        (&["check", "--upstream", "ftp://127.0.0.1"], &[], 2),
        (&["check", "--colour"], &[], 2),
        (&["chekc"], &[], 2),
        (&[], &[], 2),
        (&["--version"], &[], 0),
        (&["serve", "--help"], &[], 0),
        (&["man", "serve"], &[], 0),
        (&["man", "policy", "build"], &[], 0),
        (&["man", "policy", "sevre"], &[], 2),
        (&["man", "sevre"], &[], 2),
        (&["completions", "bash"], &[], 0),
        (&["reload", "--admin", "off"], &[], 1),
        (&["reload", "--token-file", "tests/none"], &[], 1),
        (&["reload", "--admin", "a b"], &[], 2),
    ] {
        assert_eq!(code(arguments, env), is(expected), "{arguments:?}");
    }
}

/// An admin listener that says that it is one, and then reads one request and sends this answer.
fn answering(answer: &'static str) -> (std::net::SocketAddr, std::thread::JoinHandle<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let read_and_answer = |answer: &str| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        };
        let first = read_and_answer(
            "HTTP/1.1 200 OK\r\noncegate-admin: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        );
        assert!(first.starts_with("GET /livez "), "{first}");
        assert!(!first.contains("authorization"), "a service may read it: {first}");
        read_and_answer(answer)
    });
    (address, thread)
}

#[test]
fn a_reload_asks_the_admin_listener_and_says_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a-token-of-some-length\n").unwrap();
    let token = token.to_str().unwrap();
    let fine = "HTTP/1.1 200 OK\r\ncontent-length: 79\r\n\r\n{\"policies\":[{\"name\":\"p\",\"generation\":2,\"changed\":true}],\"warnings\":[\"beware\"]}";
    let refused = "HTTP/1.1 409 Conflict\r\ncontent-length: 28\r\n\r\n{\"detail\":\"it did not load\"}";
    let other = "HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nhello";
    for (answer, expected) in
        [(fine, 0), (refused, 1), (other, 1), ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", 1)]
    {
        let (address, thread) = answering(answer);
        let address = address.to_string();
        let arguments = ["reload", "--admin", &address, "--token-file", token, "--policy", "a/b"];
        assert_eq!(code(&arguments, &[]), is(expected), "{answer}");
        let request = thread.join().unwrap();
        assert!(request.starts_with("POST /v1/policies/a%2Fb/reload HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer a-token-of-some-length\r\n"), "{request}");
        assert!(request.contains(&format!("host: {address}\r\n")), "{request}");
    }
}

#[test]
fn a_reload_of_nobody_fails() {
    // The listener is closed again, so nobody listens at its address.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(code(&["reload", "--admin", &address, "-o", "json"], &[]), is(1));
}
