//! What `oncegate check` says of the ledger: the key spaces that the policies would have, and whether a
//! start would be refused; without doing anything to it.

use crate::guests::{self, Guest};
use crate::keys::changes::{numbers, operation};
use crate::support::gateway::{Ended, command, replace};
use crate::support::*;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

#[track_caller]
fn says(setup: &Setup, words: &[&str]) {
    let ended = setup.check(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for word in words {
        assert!(ended.stdout.contains(word), "{word:?} is not in:\n{}", ended.stdout);
    }
}

#[track_caller]
fn roles(setup: &Setup) -> Vec<(u64, String)> {
    let ended = setup.check(&["--output", "json"]);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {ended:?}"));
    let spaces = document["key_spaces"]["policies"]["keys"].as_array().cloned();
    let one = |space: &Value| {
        (space["number"].as_u64().expect("a number"), space["role"].as_str().expect("a word").to_owned())
    };
    spaces.unwrap_or_else(|| panic!("{document}")).iter().map(one).collect()
}

#[test]
fn a_check_tells_which_key_spaces_a_start_would_have_and_changes_none() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let changed = setup.clone().policy("key_epoch = 7");
    says(&setup, &["keys: begins with a key space (key-schema", "key_epoch 0)"]);
    assert!(!setup.data().exists());
    let gateway = setup.start();
    let first = gateway.send(&operation("k"));
    says(&setup, &["can't be looked at", "holds the data folder", "/v1/policies"]);
    gateway.kill();
    says(&setup, &["key space 0 (key-schema", "key_epoch 0), as before"]);
    says(
        &changed,
        &["key space 1 (key-schema", "key_epoch 7) is opened", "key_epoch 0) is derived beside it"],
    );
    assert_eq!(roles(&setup), [(0, "decides".to_owned())]);
    assert_eq!(roles(&changed), [(0, "reads".to_owned()), (1, "opens".to_owned())]);
    let gateway = setup.start();
    assert_eq!(numbers(&gateway), [0], "a check opens nothing");
    gateway.send(&operation("k")).assert_replay_of(&first);
    gateway.kill();
    // Without what made the old keys.
    let gateway = changed.start();
    gateway.kill();
    for file in std::fs::read_dir(setup.data().join("policies")).expect("it is there").flatten() {
        std::fs::remove_file(file.path()).expect("the test's own folder");
    }
    says(&changed, &["key space 0", "can't be derived, so that its routes refuse"]);
    assert_eq!(roles(&changed), [(0, "missing".to_owned()), (1, "decides".to_owned())]);
}

#[test]
fn a_check_tells_what_a_start_would_be_refused_for() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url()).path("/v1");
    let file = setup.folder().join("policy.wasm");
    replace(&file, &Guest::default().component());
    let setup = setup.component(&file);
    let gateway = setup.start();
    let first = gateway.send(&Request::keyed("/v1/charges", "k").field("X-Other", "o"));
    first.assert_executed(201);
    replace(&file, &guests::keyed_by_header("x-other", "toy/1"));
    assert_eq!(gateway.admin("POST", "/v1/policies/keys/reload").status, 422);
    gateway.kill();
    setup.check(&[]).assert_refused(1, &["part 1 of 1 is another", "keeps that", "key_epoch"]);
    replace(&file, &Guest::default().component());
    let ended = setup.clone().path("/v2").check(&["--output", "json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {ended:?}"));
    let fault = &said["faults"][0];
    assert_eq!((&said["ok"], &fault["key"]), (&false.into(), &"ledger".into()), "{said}");
    let problem = fault["problem"].as_str().unwrap_or_default();
    for word in ["route `all`", "meet no route", "1 live record", "--accept-duplicates"] {
        assert!(problem.contains(word), "{word:?} is not in {problem}");
    }
    let gateway = setup.start();
    gateway.send(&Request::keyed("/v1/charges", "k").field("X-Other", "o")).assert_replay_of(&first);
    assert_eq!(upstream.count(), 1);
}

/// A folder is one gateway's: the one that had it is gone, however lately.
#[test]
fn a_check_after_a_stop_names_no_other_gateway() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let gateway = setup.start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    gateway.terminate();
    let ended = setup.clone().path("/v2").check(&[]);
    ended.assert_refused(1, &["would meet no route"]);
    assert!(!ended.stderr.contains("another gateway"), "{}", ended.stderr);
}

/// A state of the data folder and its mark: how it is made, the flags, and words of the refusal.
type State = (fn(&Setup), &'static [&'static str], &'static [&'static str]);

const GONE: [&str; 2] = ["6 changes of its records are missing, all of them", "--accept-duplicates"];
const DATA: &[&str] = &["--data", "closed/data"];

/// States by which a start is refused. The mark is of a ledger with six changes.
const REFUSED: [State; 14] = [
    (|_| {}, &[], &GONE),
    (|setup| fs::create_dir(setup.data()).unwrap(), &[], &GONE),
    (|setup| put(&setup.data().join("oncegate.creating"), ""), &[], &GONE),
    (|setup| put(&setup.data(), "a file"), &[], &["is not a folder"]),
    (|setup| put(&setup.folder().join("closed"), "a file"), DATA, &["can't be used", "os error 20"]),
    (|setup| put(&setup.data().join("notes"), "others"), &[], &["holds other files"]),
    (|setup| symlink("nowhere", setup.data()).unwrap(), &[], &["can't be used", "a link that leads nowhere"]),
    (
        |setup| symlink("nowhere", setup.folder().join("closed")).unwrap(),
        DATA,
        &["a link that leads nowhere"],
    ),
    (|_| {}, &["--data", "/proc/nope"], &["can't be used", "a file system of the kernel"]),
    (|_| {}, &["--data", "/sys/nope/data"], &["can't be used", "a file system of the kernel"]),
    (
        |setup| symlink("/proc", setup.folder().join("closed")).unwrap(),
        DATA,
        &["a file system of the kernel"],
    ),
    (lost_format, &[], &["its oncegate.format is missing", "can then run a second time"]),
    (
        |setup| put(&setup.data().join("oncegate.format"), "oncegate ledger, format 7\n"),
        &[],
        &["has format 7"],
    ),
    (|setup| put(&mark(setup), "# notes"), &[], &["is no mark of a ledger", "put it back"]),
];

/// States that keep out those who may not read and write everywhere.
const CLOSED: [State; 3] = [
    (|setup| closed(&setup.data(), 0o000), &[], &["can't be used", "os error 13"]),
    (|setup| closed(&setup.folder().join("closed"), 0o555), DATA, &["can't be used", "os error 13"]),
    (|setup| closed(mark(setup).parent().unwrap(), 0o555), &[], &["elsewhere: permission denied"]),
];

/// States in which nothing is missing.
const FINE: [State; 5] = [
    (|setup| fs::remove_file(mark(setup)).unwrap(), &[], &[]),
    (|setup| put(&mark(setup), &mark_at(0)), &[], &[]),
    (|setup| fs::remove_file(mark(setup)).and(fs::create_dir(setup.data())).unwrap(), &[], &[]),
    (|setup| put(&mark(setup), &mark_at(0)), &["--data", "mid/data"], &[]),
    (
        |setup| {
            put(&mark(setup), &mark_at(0));
            put(&setup.data().join("oncegate.creating"), "");
        },
        &[],
        &[],
    ),
];

fn mark(setup: &Setup) -> std::path::PathBuf {
    setup.folder().join("elsewhere/mark")
}

fn mark_at(changes: u64) -> String {
    format!("oncegate ledger, mark 1\nledger {:032x}\nchanges {changes}\ntime 1796037487692\n", 7)
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A folder of this user, with this mode.
fn closed(path: &Path, mode: u32) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn lost_format(setup: &Setup) {
    put(&setup.data().join("db/version"), "3");
    put(&setup.data().join("oncegate.lock"), "1");
}

fn state(upstream: &Upstream, make: fn(&Setup)) -> Setup {
    let setup = Setup::new(&upstream.url());
    put(&mark(&setup), &mark_at(6));
    let setup = setup.clone().ledger(&format!("mark_file = {:?}", mark(&setup)));
    setup.write();
    make(&setup);
    setup
}

/// The names of all files below a folder that can be listed.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .flat_map(|entry| {
            let below =
                if entry.file_type().is_ok_and(|is| is.is_dir()) { names(&entry.path()) } else { vec![] };
            below.into_iter().chain([entry.path().display().to_string()])
        })
        .collect();
    names.sort_unstable();
    names
}

#[track_caller]
fn start(setup: &Setup, flags: &[&str]) -> Result<Gateway, Ended> {
    let file = setup.file();
    let args = ["serve", "--config", file.to_str().expect("a plain path")];
    Gateway::start(&[&args[..], flags].concat(), setup.clone())
}

/// A check and a start refuse in the same words, with the same places, and neither makes anything.
#[track_caller]
fn refuse_alike(setup: &Setup, flags: &[&str], words: &[&str]) {
    let before = names(setup.folder());
    let problem = refusal(setup, flags);
    assert_eq!(names(setup.folder()), before, "{words:?}");
    let refused = start(setup, flags).err().expect("the start is refused");
    let told = setup.check(flags).stderr;
    refused.assert_refused(1, &[words, &[problem.as_str(), told.trim()]].concat());
    let named = if flags.is_empty() { "oncegate.toml:" } else { "--> --data on the command line" };
    assert!(told.contains(named) && told.contains("--> the ledger in "), "{told}");
    assert_eq!(names(setup.folder()), before, "{words:?}");
}

/// What a check says that a start is refused for.
#[track_caller]
fn refusal(setup: &Setup, flags: &[&str]) -> String {
    let check = setup.check(&[flags, &["--output", "json"]].concat());
    assert_eq!(check.code, Some(1), "{check:?}");
    let said: Value = serde_json::from_str(&check.stdout).unwrap_or_else(|e| panic!("{e}: {check:?}"));
    said["faults"][0]["problem"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// A state of the place where policies are kept: how it is made, and what is wrong with it; none: nothing is.
type Place = (fn(&Path), Option<&'static str>);

const KEPT: [Place; 6] = [
    (|policies| put(policies, "a file"), Some("os error 17")),
    (|policies| symlink("nowhere", policies).unwrap(), Some("os error 17")),
    (|policies| closed(policies, 0o555), Some("os error 13")),
    (|policies| closed(policies, 0o600), Some("os error 13")),
    (|policies| closed(policies, 0o755), None),
    (|_| {}, None),
];

#[test]
fn a_check_looks_where_policies_are_kept() {
    let upstream = Upstream::numbering();
    for (make, wrong) in KEPT {
        for has_ledger in [true, false] {
            let Some(setup) = Setup::new(&upstream.url()).plain_user() else { return };
            let policies = setup.data().join("policies");
            if has_ledger {
                drop(setup.start().terminate());
                // The files are there: a folder that can't be written does no harm.
                closed(&policies, 0o555);
                assert_eq!(setup.check(&[]).code, Some(0), "{wrong:?}");
                closed(&policies, 0o755);
                fs::remove_dir_all(&policies).unwrap();
            } else {
                put(&setup.data().join("oncegate.creating"), "");
            }
            make(&policies);
            let Some(setup) = setup.plain_user() else { return };
            match wrong {
                Some(words) => {
                    let problem = refusal(&setup, &[]);
                    let refused = start(&setup, &[]).err().expect("the start is refused");
                    let words = ["can't be kept for later restarts", words, &problem, "oncegate.toml:"];
                    refused.assert_refused(1, &words);
                }
                None => {
                    let check = setup.check(&[]);
                    assert_eq!(check.code, Some(0), "{check:?}");
                    drop(start(&setup, &[]).unwrap_or_else(|ended| panic!("{ended:?}")).kill());
                }
            }
            // So that it can be removed.
            policies.is_dir().then(|| closed(&policies, 0o755));
        }
    }
}

#[test]
fn a_check_and_a_start_refuse_alike() {
    let upstream = Upstream::numbering();
    for (make, flags, words) in REFUSED {
        refuse_alike(&state(&upstream, make), flags, words);
    }
    for (make, flags, words) in CLOSED {
        let Some(setup) = state(&upstream, make).plain_user() else { continue };
        refuse_alike(&setup, flags, words);
        for folder in ["data", "closed", "elsewhere"].map(|name| setup.folder().join(name)) {
            // So that it can be removed.
            folder.is_dir().then(|| closed(&folder, 0o755));
        }
    }
    for (place, words) in [
        ("data/mark", "inside of the data folder"),
        ("data", "inside of the data folder"),
        ("no/mark", "/no: no such file"),
    ] {
        let setup = Setup::new(&upstream.url());
        let setup = setup.clone().ledger(&format!("mark_file = {:?}", setup.folder().join(place)));
        setup.write();
        refuse_alike(&setup, &[], &[words]);
    }
    for (make, flags, _) in FINE {
        let setup = state(&upstream, make);
        let check = setup.check(flags);
        assert_eq!(check.code, Some(0), "{check:?}");
        drop(start(&setup, flags).unwrap_or_else(|ended| panic!("{ended:?}")).kill());
    }
}

/// What the ledger refuses is no fault of a flag, wherever the configuration comes from.
#[test]
fn a_ledgers_refusal_is_no_usage_error() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    let setup = gateway.kill();
    let data = setup.data();
    let url = upstream.url();
    let flags = ["check", "--upstream", &url, "--data", data.to_str().unwrap()];
    for (name, value) in
        [("ONCEGATE_LEDGER__DEPLOYMENT", "blue"), ("ONCEGATE_PRINCIPAL__FROM", "authorization")]
    {
        let mut command = command(&flags, setup.folder());
        let output = command.env(name, value).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        for word in ["1 live record", &format!("--> the ledger in {}", data.display())] {
            assert!(said.contains(word), "{name}: {word:?} is not in {said}");
        }
        assert!(!said.contains("on the command line"), "{name}: {said}");
    }
}

#[test]
fn a_check_of_anothers_folder_says_so() {
    let upstream = Upstream::numbering();
    let gateway = Setup::new(&upstream.url()).start();
    gateway.send(&Request::keyed("/charges", "k")).assert_executed(201);
    let setup = gateway.kill();
    // Only root can give a folder away, and look into it then.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for user in [65_534, 1_234] {
        std::os::unix::fs::chown(setup.data(), Some(user), None).unwrap();
        let ended = setup.check(&[]);
        ended.assert_refused(1, &[&format!("belongs to user {user}"), &format!("sudo -u '#{user}'")]);
        let said: Value = serde_json::from_str(&setup.check(&["--output", "json"]).stdout).unwrap();
        assert_eq!(said["faults"][0]["folder"], setup.data().to_str().unwrap(), "{said}");
        let line = setup.text().lines().position(|line| line.starts_with("path = ")).unwrap() + 1;
        assert_eq!(said["faults"][0]["line"], line, "{said}");
    }
    std::os::unix::fs::chown(setup.data(), Some(0), None).unwrap();
    assert_eq!(setup.check(&[]).code, Some(0));
}

/// A route that guards nothing of what it names, under a policy that judges other methods.
#[test]
fn methods_that_no_policy_judges_are_warned_of() {
    let warned = |setup: &Setup, words: &[&str]| {
        let checked = setup.check(&[]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        for word in words {
            assert!(checked.stdout.contains(word), "{word:?}: {checked:?}");
        }
        setup.start().assert_logs(words);
        let plain = Setup::new("http://127.0.0.1:9").start();
        replace(
            &plain.setup.file(),
            setup
                .text()
                .replace(&setup.folder().display().to_string(), &plain.setup.folder().display().to_string())
                .as_bytes(),
        );
        let reloaded = plain.admin("POST", "/v1/reload");
        for word in words {
            assert!(reloaded.text().contains(&word.replace('"', "\\\"")), "{word:?}: {}", reloaded.text());
        }
    };
    let setup = || Setup::new("http://127.0.0.1:9");
    warned(&setup().route("methods = [\"GET\"]"), &["route `all`: its policy `keys` guards no GET"]);
    let posts = setup().policy("settings = { methods = [\"POST\"] }");
    warned(
        &posts.route("methods = [\"POST\", \"QUERY\", \"GET\"]"),
        &["guards no QUERY and no GET (its methods: POST)"],
    );
    warned(
        &setup().route("methods = [\"POTS\"]"),
        &["registered the method \"POTS\"", "did you mean \"POST\""],
    );
    for fine in ["methods = [\"POST\", \"DELETE\"]", ""] {
        let checked = setup().route(fine).check(&[]);
        assert!(
            !checked.stdout.contains("guards no") && !checked.stdout.contains("registered"),
            "{checked:?}"
        );
    }
}

#[test]
fn check_reads_the_logs_variables() {
    for (name, value, fine) in [
        ("ONCEGATE_LOG", "verbose", false),
        ("ONCEGATE_LOG_FORMAT", "JSON", false),
        ("ONCEGATE_LOG", "debug", true),
        ("ONCEGATE_LOG_FORMAT", "json", true),
    ] {
        let setup = Setup::new("http://127.0.0.1:9");
        setup.write();
        let file = setup.file();
        let args = ["check", "--config", file.to_str().unwrap()];
        let ended = command(&args, setup.folder()).env(name, value).output().unwrap();
        assert_eq!(ended.status.code(), Some(i32::from(!fine)), "{name}={value}: {ended:?}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr).contains(name), !fine, "{name}={value}: {ended:?}");
    }
}
