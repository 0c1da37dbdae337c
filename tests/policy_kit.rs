//! `oncegate policy`: from a template to a policy in service, and what its commands say.

use crate::support::gateway::{Ended, command, replace};
use crate::support::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A folder for what a test makes, and the command in it.
struct Shop(tempfile::TempDir);

impl Shop {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("oncegate-kit-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self(folder.expect("a folder under target"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn policy(&self, args: &[&str]) -> Ended {
        let mut command = command(&[&["policy"], args].concat(), self.path());
        // What a compiler has made of the same crates in an earlier run is kept.
        command.env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/policy-crates"));
        let output = command.output().expect("the program is there");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// It must succeed; what it says.
    #[track_caller]
    fn fine(&self, args: &[&str]) -> String {
        let ended = self.policy(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.stdout
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let said = self.fine(&[args, &["--output", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{args:?}: {e}: {said}"))
    }

    /// It must fail with this code, and say these words.
    #[track_caller]
    fn refused(&self, args: &[&str], code: i32, words: &[&str]) {
        self.policy(args).assert_refused(code, words);
    }
}

fn built_in(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(name)
}

#[test]
fn inspect_says_what_a_component_is_and_plans() {
    let shop = Shop::new();
    let said = shop.fine(&["inspect", "builtin:idempotency-key"]);
    for word in ["permissions  digest", "vectors      111", "idempotency-key/1 from=header:idempotency-key"] {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
    let settings = "{ from = [\"body:/id\"] }";
    let told = shop.json(&["inspect", "builtin:idempotency-key", "--settings", settings]);
    assert_eq!(told["plan"]["key_schema"], "idempotency-key/1 from=body:/id");
    assert_eq!(told["settings_schema"]["type"], "object");
    let refused = shop.policy(&["inspect", "builtin:idempotency-key", "--settings", "{ fro = 1 }"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(format!("{}{}", refused.stdout, refused.stderr).contains("fro"), "{refused:?}");
}

#[test]
fn a_stripped_component_is_warned_of() {
    let shop = Shop::new();
    let whole = std::fs::read(built_in("header-key/header-key.wasm")).unwrap();
    // Its sections were appended.
    let at = whole.windows(16).position(|bytes| bytes == b"oncegate:vectors").expect("it carries vectors");
    let end = whole[..at].iter().rposition(|byte| *byte == 0).expect("the section's id");
    std::fs::write(shop.path().join("stripped.wasm"), &whole[..end]).unwrap();
    let said = shop.fine(&["inspect", "stripped.wasm"]);
    assert!(said.contains("warning: it carries no test vectors") && said.contains("strip"), "{said}");
}

#[test]
fn test_reports_each_promise_and_a_broken_one() {
    let shop = Shop::new();
    let header_key = built_in("header-key");
    let header_key = header_key.to_str().unwrap();
    let said = shop.fine(&["test", header_key, "--seed", "1"]);
    for word in ["ok     vectors", "ok     purity", "ok     same operation", "every promise is kept"] {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
    let vectors = r#"{"version":1,"cases":[{"name":"wrong","request":"POST / HTTP/1.1\r\n\r\n","expect":{"bypass":null}}]}"#;
    std::fs::write(shop.path().join("vectors.json"), vectors).unwrap();
    let ended = shop.policy(&["test", header_key, "--vectors", "vectors.json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains("FAILED vectors") && ended.stdout.contains("case `wrong`"),
        "{}",
        ended.stdout
    );
}

#[test]
fn run_answers_for_one_request_from_flags_and_from_a_file() {
    let shop = Shop::new();
    let flags = [
        "run",
        "builtin:idempotency-key",
        "--path",
        "/charges?x=1",
        "-H",
        "Host: api",
        "-H",
        "idempotency-key: k",
    ];
    let told = shop.json(&flags);
    assert_eq!(told["key"][3]["part"]["text"], "k");
    assert_eq!(told["key"][0]["stands_for"], "api");
    std::fs::write(
        shop.path().join("r.http"),
        "POST /charges?x=1 HTTP/1.1\r\nhost: api\r\nidempotency-key: \"k\"\r\n\r\n",
    )
    .unwrap();
    let again = shop.json(&["run", "builtin:idempotency-key", "--request", "r.http"]);
    assert_eq!((&again["operation"], &again["fingerprint"]), (&told["operation"], &told["fingerprint"]));
    let by_alice = shop.json(&[&flags[..], &["--principal", "alice"]].concat());
    assert_ne!(by_alice["operation"], told["operation"]);
    let said = shop.fine(&["run", "builtin:idempotency-key"]);
    assert!(said.contains("bypass: there is no idempotency key"), "{said}");
}

#[test]
fn bench_tells_figures_of_several_components() {
    let shop = Shop::new();
    let header_key = built_in("header-key");
    let told = shop.json(&["bench", "builtin:idempotency-key", header_key.to_str().unwrap()]);
    let rows = told["components"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        for figure in ["reused_ns", "fresh_ns"] {
            assert!(row["timing"][figure]["least"].as_u64().unwrap() > 0, "{row}");
        }
        assert!(row["timing"]["memory"].as_u64().unwrap() >= 65_536, "{row}");
    }
}

#[test]
fn what_cannot_be_is_said_in_words() {
    let shop = Shop::new();
    shop.refused(&["new", "--lang", "cobol", "x"], 2, &["cobol", "rust"]);
    shop.refused(&["new", "--lang", "rust", "Orders"], 2, &["Orders", "letters"]);
    std::fs::create_dir_all(shop.path().join("full/x")).unwrap();
    shop.refused(&["new", "--lang", "rust", "full"], 1, &["full", "already"]);
    shop.refused(&["build", "full"], 1, &["Cargo.toml", "policy new"]);
    shop.refused(&["build", "nowhere"], 2, &["nowhere"]);
    shop.refused(&["test", "full"], 1, &["full.wasm", "policy build"]);
    shop.refused(&["inspect", "nothing.wasm"], 1, &["nothing.wasm"]);
    shop.refused(&["run", "builtin:idempotency-key", "-H", "nocolon"], 2, &["nocolon"]);
    shop.refused(&["run", "builtin:nothing"], 2, &["idempotency-key"]);
    std::fs::write(shop.path().join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    shop.refused(&["build", "--core", "core.wasm", "--out", "o.wasm"], 1, &["configure"]);
}

#[test]
fn the_templates_vectors_are_the_built_in_policys() {
    let read = |path: &str| -> Value {
        serde_json::from_slice(&std::fs::read(built_in(path)).unwrap()).expect("JSON")
    };
    let (ours, theirs) = (read("templates/common/vectors.json"), read("idempotency-key/vectors.json"));
    let theirs = theirs["cases"].as_array().unwrap();
    for case in ours["cases"].as_array().unwrap() {
        assert!(theirs.contains(case), "{}", case["name"]);
    }
}

/// From `new` to a live policy that is reloaded, in this language.
fn to_a_live_policy(language: &str, prepare: impl FnOnce(&Path) -> Result<(), String>) {
    let shop = Shop::new();
    shop.fine(&["new", "--lang", language, "orders"]);
    if let Err(why) = prepare(&shop.path().join("orders")) {
        return external::skip(language, &why);
    }
    let said = shop.fine(&["build", "orders"]);
    assert!(said.contains("64 test vectors"), "{said}");
    let said = shop.fine(&["test", "orders"]);
    assert!(said.contains("every promise is kept"), "{said}");
    println!("{language}: {}", shop.fine(&["bench", "orders", "--output", "json"]));
    goes_live(&std::fs::read(shop.path().join("orders/orders.wasm")).unwrap());
}

/// The built-in policy makes room for the component under live keys: they are the same.
fn goes_live(component: &[u8]) {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let file = setup.folder().join("policy.wasm");
    replace(&file, &std::fs::read(built_in("idempotency-key/idempotency-key.wasm")).unwrap());
    let gateway = setup.component(&file).start();
    let keyed = |key: &str| Request::post("/charges").field("Idempotency-Key", key);
    let first = gateway.send(&keyed("k"));
    first.assert_executed(201);
    replace(&file, component);
    let reply = gateway.admin("POST", "/v1/policies/keys/reload");
    assert_eq!(reply.status, 200, "{}", reply.text());
    gateway.send(&keyed("\"k\"")).assert_replay_of(&first);
    gateway.send(&keyed("k2")).assert_executed(201);
    gateway.send(&keyed("a, b")).assert_problem(400, "key-malformed");
    assert_eq!(upstream.count(), 2);
}

#[test]
fn rust_from_a_template_to_a_live_policy() {
    to_a_live_policy("rust", |_| {
        let targets = std::process::Command::new("rustc")
            .args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"])
            .output();
        let there =
            targets.is_ok_and(|told| Path::new(String::from_utf8_lossy(&told.stdout).trim()).is_dir());
        there.then_some(()).ok_or("rustup target add wasm32-unknown-unknown".into())
    });
}
