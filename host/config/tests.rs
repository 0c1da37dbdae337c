//! Tests on a gallery of good and bad files (`tests/config/`), and on configuration that doesn't come from
//! files.
//!
//! Each bad file has its report beside it: the text that people read. `BLESS=1 cargo test` writes
//! the reports anew; read the difference before committing the reports.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::load::key_rows;
use super::reading::row::Bearing;
use super::reference::left_out;
use super::*;
use oncegate_core::{Disposition, WhenUnknown};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn gallery(folder: &str) -> Vec<PathBuf> {
    in_repository();
    let folder = Path::new("tests/config").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Changes into the repository's folder. Reports name files as they were named, so file names that start
/// there keep paths of this machine out of the reports.
fn in_repository() {
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
}

fn of_file(file: &Path) -> Source {
    in_repository();
    Source { file: Some(file.to_owned()), ..Source::default() }
}

/// Compares a text with the file that has the expected text.
fn expect_text(kept: &Path, text: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(kept, text).unwrap();
    }
    let expected = std::fs::read_to_string(kept).unwrap_or_default();
    assert!(expected == text, "{} differs; is:\n{text}\nBLESS=1 accepts it", kept.display());
}

#[test]
fn good_files_load_with_their_warnings() {
    for file in gallery("good") {
        let config = load(&of_file(&file)).unwrap_or_else(|faults| panic!("{}:\n{faults}", file.display()));
        let warnings: String = config.warnings.iter().map(|warning| format!("{warning}\n")).collect();
        if !warnings.is_empty() || file.with_extension("txt").exists() {
            expect_text(&file.with_extension("txt"), &warnings);
        }
    }
}

#[test]
fn bad_files_are_refused_with_every_fault() {
    for file in gallery("bad") {
        let faults = load(&of_file(&file)).expect_err(&file.display().to_string());
        assert!(faults.0.iter().all(|fault| !fault.help.is_empty()), "a fault without help: {faults}");
        expect_text(&file.with_extension("txt"), &format!("{faults}\n"));
    }
}

#[test]
fn the_reference_is_made_of_the_keys() {
    in_repository();
    let page = Path::new("host/config/reference.md");
    let made = reference(&std::fs::read_to_string(page).unwrap());
    expect_text(page, &made);
    assert_eq!(left_out(&made), Vec::<String>::new());
}

pub(super) fn of_upstream(url: &str) -> Source {
    Source { flags: Flags { upstream: Some(url.into()), ..Flags::default() }, ..Source::default() }
}

pub(super) fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_upstream_alone_is_a_whole_configuration() {
    let config = load(&of_upstream("http://127.0.0.1:9000")).unwrap();
    assert_eq!(config.server.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.server.admin, Some("127.0.0.1:8081".parse().unwrap()));
    assert!(config.server.workers >= 1);
    assert_eq!(config.ledger.store, StoreKind::Embedded("oncegate-data".into()));
    let route = &config.routes[0];
    assert_eq!((&*route.name, &*route.path, &*route.upstream), ("default", "", "default"));
    assert_eq!(route.policy.as_deref(), Some("default"));
    assert_eq!(route.times.memory, Duration::from_secs(2 * 86_400));
    let upstream = &config.upstreams["default"];
    assert_eq!((&*upstream.host, upstream.port), ("127.0.0.1", 9000));
    assert_eq!(config.policies["default"].component, ComponentSource::Builtin("idempotency-key".into()));
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(config.watched_files(), Vec::<PathBuf>::new());
}

#[test]
fn a_variable_that_means_two_tables_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("oncegate.toml");
    let text = "[upstreams.a-b]\nurls = [\"http://127.0.0.1:1\"]\n[upstreams.a_b]\nurls = [\"http://127.0.0.1:1\"]\n\
         [policies.p-q]\ncomponent = \"builtin:idempotency-key\"\n[policies.'p.q']\ncomponent = \"builtin:idempotency-key\"\n\
         [[routes]]\nname = \"my_route\"\npath = \"/\"\nupstream = \"a-b\"\npolicy = \"p-q\"\n\
         [[routes]]\nname = \"my-route\"\npath = \"/x\"\nupstream = \"a-b\"\npolicy = \"p-q\"\n";
    std::fs::write(&file, text).unwrap();
    for (variable, value, words) in [
        ("ONCEGATE_ROUTES__MY_ROUTE__WAIT", "3s", "which of the routes it means: my_route, my-route"),
        ("ONCEGATE_UPSTREAMS__A_B__DEDUPES", "true", "which of the upstreams it means: a-b, a_b"),
        ("ONCEGATE_POLICIES__P_Q__KEY_EPOCH", "1", "which of the policies it means: p-q, p.q"),
    ] {
        let mut source = Source { file: Some(file.clone()), ..Source::default() };
        source.env = env(&[(variable, value)]);
        let faults = load(&source).expect_err(variable).to_string();
        assert!(faults.contains(words), "{faults}");
    }
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let mut source = of_file(Path::new("tests/config/good/small.toml"));
    let from = |source: &Source| load(source).unwrap();
    assert_eq!(from(&source).server.listen, ["127.0.0.1:7070".parse().unwrap()]);
    source.env = env(&[
        ("ONCEGATE_SERVER__LISTEN", "127.0.0.1:7071, [::1]:7071"),
        ("ONCEGATE_LEDGER__PATH", "elsewhere"),
        ("ONCEGATE_UPSTREAMS__MY_API__DEDUPES", "true"),
        ("ONCEGATE_ROUTES__ORDERS__METHODS", "[\"POST\", \"PUT\"]"),
        ("ONCEGATE_POLICIES__PAYMENTS__SETTINGS", "{\"required\": true}"),
        ("ONCEGATE_SERVER__LIMITS__CONNECTIONS", "7"),
        ("ONCEGATE_LOG", "debug"),
        ("PATH", "/bin"),
    ]);
    let config = from(&source);
    assert_eq!(config.warnings, [""; 0]);
    assert_eq!(config.server.listen.len(), 2);
    assert_eq!(config.ledger.store, StoreKind::Embedded("elsewhere".into()));
    assert!(config.upstreams["my-api"].dedupes);
    assert_eq!(config.routes[0].methods, ["POST", "PUT"]);
    assert_eq!(config.policies["payments"].settings["required"], true);
    assert_eq!(config.server.limits.connections, 7);
    source.flags = Flags {
        listen: vec!["127.0.0.1:7072".into()],
        upstream: Some("http://[::1]:9".into()),
        admin: Some("off".into()),
        workers: Some(3),
        policy: Some("new.wasm".into()),
        settings: Some("{ from = [\"header:x\"] }".into()),
        store: Some("memory".into()),
        data: None,
    };
    let config = from(&source);
    assert_eq!(config.server.listen, ["127.0.0.1:7072".parse().unwrap()]);
    assert_eq!((config.server.admin, config.server.workers), (None, 3));
    assert_eq!((&*config.upstreams["my-api"].host, config.upstreams["my-api"].port), ("[::1]", 9));
    assert_eq!(config.policies["payments"].component, ComponentSource::File("new.wasm".into()));
    assert_eq!(config.policies["payments"].settings["from"][0], "header:x");
    assert_eq!(config.ledger.store, StoreKind::Memory);
}

#[test]
fn paths_of_the_file_start_from_its_folder() {
    let config = load(&of_file(Path::new("tests/config/good/small.toml"))).unwrap();
    let folder = Path::new("tests/config/good");
    assert_eq!(config.ledger.store, StoreKind::Embedded(folder.join("oncegate-data")));
    assert_eq!(
        config.policies["payments"].component,
        ComponentSource::File(folder.join("plugins/payments.wasm"))
    );
    assert_eq!(config.watched_files(), [folder.join("plugins/payments.wasm"), folder.join("small.toml")]);
}

#[test]
fn a_whole_file_means_what_it_says() {
    let config = load(&of_file(Path::new("tests/config/good/everything.toml"))).unwrap();
    let route = &config.routes[0];
    assert_eq!(route.host.as_deref(), Some("api.example.com"));
    assert_eq!(route.path, "/v1/charges");
    assert_eq!(route.when_unknown, WhenUnknown::Resend);
    let rule = |lowest, highest, means| StatusRule { lowest, highest, means };
    assert_eq!(
        route.outcomes,
        [
            rule(503, 503, Disposition::NotApplied),
            rule(500, 599, Disposition::Unknown),
            rule(200, 299, Disposition::Consumed)
        ]
    );
    assert_eq!(route.times.retention, Duration::from_secs(7200));
    assert_eq!(route.times.tombstone, Duration::ZERO);
    assert_eq!(route.times.memory, Duration::from_secs(7200));
    assert_eq!(route.times.lease, Duration::from_secs(30));
    assert_eq!(route.strip, ["x-request-id"]);
    let sources = vec![vec![PrincipalSource::Authorization, PrincipalSource::Header("x-user".into())]];
    assert_eq!(route.principal.from, PrincipalFrom::Alternatives(sources));
    assert_eq!(route.principal.anonymous, Some(Anonymous::Share));
    assert_eq!(config.ledger.secret, Some([0x5a; 32]));
    assert_eq!(config.server.admin_token.as_deref(), Some("a-token-of-some-length"));
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(config.policies["payments"].settings["amount"]["min"], 1);
}

#[test]
fn a_public_listener_wants_to_know_about_nobody() {
    let mut source = of_file(Path::new("tests/config/good/small.toml"));
    let is_fault = |source: &Source| match load(source) {
        Ok(_) => false,
        Err(faults) => {
            assert!(faults.to_string().contains("principal.anonymous"), "{faults}");
            true
        }
    };
    for (listen, is_public) in [
        ("127.0.0.2:1", false),
        ("[::1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("192.0.2.1:1", true),
    ] {
        source.flags.listen = vec!["127.0.0.1:1".into(), listen.into()];
        source.env = env(&[]);
        assert_eq!(is_fault(&source), is_public, "{listen}");
        for anonymous in ["share", "refuse"] {
            source.env = env(&[("ONCEGATE_PRINCIPAL__ANONYMOUS", anonymous)]);
            assert!(!is_fault(&source), "{listen} {anonymous}");
        }
    }
}

#[test]
fn faults_of_environment_and_flags_name_their_place() {
    let mut source = of_file(Path::new("tests/config/good/small.toml"));
    source.env = env(&[
        ("ONCEGATE_SERVER__LISTN", "127.0.0.1:1"),
        ("ONCEGATE_SERVER_LISTEN", "127.0.0.1:1"),
        ("ONCEGATE_LISTEN", "127.0.0.1:1"),
        ("ONCEGATE_SERVER__LISTEN__0", "127.0.0.1:1"),
        ("ONCEGATE_UPSTREAMS__MYAPI__URLS", "http://127.0.0.1:1"),
        ("ONCEGATE_SERVER__ACCESS_LOG", "yes"),
        ("ONCEGATE_LEDGER__WAIT", "10"),
        ("ONCEGATE_SERVER__LIMITS", "small"),
        ("ONCEGATE_LOGS", "debug"),
        ("ONCEGATE_CONFG", "oncegate.toml"),
        ("ONCEGATE_LOG_FROMAT", "json"),
        ("ONCEGATE_COLOUR__RED", "1"),
    ]);
    source.flags.listen = vec!["localhost:8080".into()];
    source.flags.store = Some("redis://user:password@127.0.0.1".into());
    source.flags.settings = Some("required".into());
    let faults = load(&source).unwrap_err();
    expect_text(Path::new("tests/config/overrides.txt"), &format!("{faults}\n"));
    assert!(!faults.to_string().contains("password"));
    assert!(!faults.are_usage());
}

/// Kubernetes sets them in every pod of a namespace that has a Service of this name.
#[test]
fn what_a_service_injects_is_ignored() {
    let mut source = of_file(Path::new("tests/config/good/small.toml"));
    source.env = env(&[
        ("ONCEGATE_SERVICE_HOST", "10.0.0.1"),
        ("ONCEGATE_SERVICE_PORT", "8080"),
        ("ONCEGATE_SERVICE_PORT_HTTP_WEB", "8080"),
        ("ONCEGATE_PORT", "tcp://10.0.0.1:8080"),
        ("ONCEGATE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("ONCEGATE_PORT_8080_TCP_PROTO", "tcp"),
        ("ONCEGATE_PORT_8080_TCP_PORT", "8080"),
        ("ONCEGATE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("ONCEGATE_ADMIN_SERVICE_HOST", "10.0.0.2"),
        ("ONCEGATE_LOG_PORT", "tcp://10.0.0.3:80"),
        ("ONCEGATE_LEDGER_PORT_53_UDP_ADDR", "10.0.0.3"),
    ]);
    assert_eq!(load(&source).unwrap().warnings, [""; 0]);
    for (name, value) in
        [("ONCEGATE_COLOUR", "red"), ("ONCEGATE_LOG_LEVEL", "debug"), ("ONCEGATE_PORT", "8080")]
    {
        source.env = env(&[(name, value)]);
        let warnings = load(&source).unwrap().warnings;
        assert!(
            warnings.len() == 1 && warnings[0].starts_with(&format!("{name} in the environment")),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_stray_variable_is_told_the_right_one() {
    let mut source = of_file(Path::new("tests/config/good/small.toml"));
    for (name, meant) in [
        ("ONCEGATE_DATA", "ONCEGATE_LEDGER__PATH"),
        ("ONCEGATE_LISTEN", "ONCEGATE_SERVER__LISTEN"),
        ("ONCEGATE_LISTN", "ONCEGATE_SERVER__LISTEN"),
        ("ONCEGATE_UPSTREAM", "ONCEGATE_UPSTREAMS__NAME__URLS"),
        ("ONCEGATE_ANONYMOUS", "ONCEGATE_PRINCIPAL__ANONYMOUS"),
        ("ONCEGATE_COLOUR", "ONCEGATE_SERVER__LISTEN"),
    ] {
        source.env = env(&[(name, "x")]);
        let warnings = load(&source).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(meant), "{name}: {warnings:?}");
    }
}

#[test]
fn a_password_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("oncegate.toml");
    let text =
        "[server]\nlisten = \"http://me:password@x\"\n[ledger]\nurl = \"postgres://me:password@x/y\"\n";
    std::fs::write(&file, text).unwrap();
    let report = load(&of_file(&file)).unwrap_err().to_string();
    assert!(report.contains("server.listen") && report.contains("ledger.url"), "{report}");
    assert!(!report.contains("password@"), "{report}");
}

#[test]
fn a_thousand_faults_end_the_report_early() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("oncegate.toml");
    for line in ["a = 1\n", "k# = 1\n"] {
        let text: String = (0..1000).map(|i| line.replace('#', &i.to_string())).collect();
        std::fs::write(&file, text).unwrap();
        let faults = load(&of_file(&file)).unwrap_err();
        assert!(faults.0.len() == 101 && faults.0[100].problem.contains("more faults"), "{faults}");
    }
}

#[test]
fn faults_of_flags_alone_are_usage() {
    assert!(load(&of_upstream("127.0.0.1:9000")).unwrap_err().are_usage());
    assert!(load(&Source::default()).unwrap_err().are_usage());
    assert!(!load(&of_file(Path::new("tests/config/bad/empty.toml"))).unwrap_err().are_usage());
}

#[test]
fn nothing_at_all_says_how_to_begin() {
    let faults = load(&Source::default()).unwrap_err();
    let report = "error: there is nothing to serve: no [[routes]]\nhelp: give --upstream URL, or a --config FILE with at least one [[routes]]";
    assert_eq!(faults.to_string(), report);
    let faults = load(&of_file(Path::new("tests/config/none.toml"))).unwrap_err();
    assert!(faults.to_string().contains("there is no such file"), "{faults}");
}

#[test]
fn an_upstream_flag_completes_a_file() {
    let mut source = of_file(Path::new("tests/config/server-only.toml"));
    assert!(load(&source).is_err());
    source.flags.upstream = Some("http://127.0.0.1:9000".into());
    source.env = env(&[("ONCEGATE_UPSTREAMS__DEFAULT__RESPONSE_TIMEOUT", "5s")]);
    let config = load(&source).unwrap();
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.upstreams["default"].response_timeout, Duration::from_secs(5));
}

#[test]
fn a_reload_names_the_keys_it_cannot_change() {
    let file = of_file(Path::new("tests/config/good/small.toml"));
    let old = load(&file).unwrap();
    assert_eq!(unchangeable(&old, &load(&file).unwrap()), Vec::<String>::new());
    let mut other = file.clone();
    other.env = env(&[
        ("ONCEGATE_SERVER__WORKERS", "1000"),
        ("ONCEGATE_SERVER__LISTEN", "127.0.0.1:1"),
        ("ONCEGATE_SERVER__ADMIN", "off"),
        ("ONCEGATE_LEDGER__PATH", "elsewhere"),
        ("ONCEGATE_LEDGER__MARK_FILE", "mark"),
        ("ONCEGATE_LEDGER__DEPLOYMENT", "other"),
        ("ONCEGATE_LEDGER__RETENTION", "1h"),
    ]);
    let new = load(&other).unwrap();
    let keys = [
        "server.listen",
        "server.admin",
        "server.workers",
        "ledger.path",
        "ledger.mark_file",
        "ledger.deployment",
    ];
    assert_eq!(unchangeable(&old, &new), keys);
    other.flags.store = Some("memory".into());
    other.env.retain(|(name, _)| name != "ONCEGATE_LEDGER__MARK_FILE");
    other.env.push(("ONCEGATE_LEDGER__SECRET_FILE".into(), "tests/config/good/files/secret".into()));
    let mut named = unchangeable(&old, &load(&other).unwrap());
    named.extend(keys.map(str::to_owned));
    let named: BTreeSet<String> = named.into_iter().collect();
    let fixed = key_rows().into_iter().filter(|row| row.bearing == Bearing::Fixed).map(|row| row.key);
    assert_eq!(named, fixed.collect());
}

#[test]
fn no_text_makes_the_reader_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cut.toml");
    let whole = std::fs::read("tests/config/good/everything.toml").unwrap();
    // Every prefix of a good file, and the file with each line taken out.
    for end in 0..=whole.len() {
        std::fs::write(&file, &whole[..end]).unwrap();
        drop(load(&of_file(&file)));
    }
    let text = String::from_utf8(whole).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let key = line.split('=').next().unwrap_or_default();
        let swapped =
            [format!("{key} = []"), format!("{key} = -1"), format!("{key} = \"é\""), format!("{key} = {{}}")];
        for other in swapped {
            let mut rest = lines.clone();
            rest[i] = &other;
            std::fs::write(&file, rest.join("\r\n")).unwrap();
            drop(load(&of_file(&file)).map_err(|faults| faults.to_string()));
        }
    }
    for bytes in [&b"\xff"[..], b"\xef\xbb\xbf", b"\0", "é = \"".as_bytes(), b"[[[[", b"a = [[[[[[[[[["] {
        std::fs::write(&file, bytes).unwrap();
        assert!(load(&of_file(&file)).is_err_and(|faults| !faults.to_string().is_empty()));
    }
}
