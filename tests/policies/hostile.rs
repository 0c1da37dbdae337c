//! Files that change, grow or are no files while they are loaded, and components that are slow to
//! compile: the gateway serves on, and what was active stays until something better is there.

use crate::guests::{self, Guest};
use crate::policies::bad_components::put;
use crate::support::*;
use std::os::unix::fs::symlink;
use std::path::Path;

fn component(schema: &str) -> Vec<u8> {
    guests::keyed_by_header("idempotency-key", schema)
}

fn generation(gateway: &Gateway) -> u64 {
    let listed = gateway.admin("GET", "/v1/policies").json();
    listed["policies"][0]["generation"].as_u64().unwrap_or_else(|| panic!("a generation in {listed}"))
}

/// As Kubernetes mounts a ConfigMap: the file is a link into a folder that is a link, which is swapped.
#[test]
fn a_config_map_that_is_swapped_is_noticed() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let mount = setup.folder().join("mount");
    let version = |name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(mount.join(name)).unwrap();
        std::fs::write(mount.join(name).join("policy.wasm"), bytes).unwrap();
    };
    version("..one", &component("toy/1"));
    symlink("..one", mount.join("..data")).unwrap();
    symlink("..data/policy.wasm", mount.join("policy.wasm")).unwrap();
    let gateway = setup.component(mount.join("policy.wasm")).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    first.assert_executed(201);
    let before = generation(&gateway);
    // The same keys, other bytes.
    let padding = vec![("padding".to_owned(), vec![1; 8])];
    version("..two", &Guest { sections: padding, ..Guest::default() }.component());
    symlink("..two", mount.join("..data_tmp")).unwrap();
    std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    eventually("the swapped link to be noticed", || (generation(&gateway) > before).then_some(()));
    gateway.send(&Request::keyed("/charges", "k")).assert_replay_of(&first);
}

/// A folder, a pipe, nothing, half a file: one after the other in place of the component.
#[test]
fn whatever_takes_the_files_place_leaves_the_active_policy_alone() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let file = put(&setup, "policy.wasm", &component("toy/1"));
    let gateway = setup.component(&file).start();
    let before = generation(&gateway);
    let reload_says = |words: &str| {
        let said = gateway.admin("POST", "/v1/policies/keys/reload");
        assert!((400..500).contains(&said.status), "{}", said.text());
        assert!(said.text().contains(words), "`{words}` expected in {}", said.text());
        assert_eq!(generation(&gateway), before);
        gateway.send(&Request::keyed("/charges", words)).assert_executed(201);
    };
    std::fs::remove_file(&file).unwrap();
    reload_says("there is no such file");
    std::fs::create_dir(&file).unwrap();
    reload_says("is a folder, not a file");
    std::fs::remove_dir(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    reload_says("is a pipe, socket or device");
    std::fs::remove_file(&file).unwrap();
    let whole = component("toy/1");
    std::fs::write(&file, &whole[..whole.len() - 3]).unwrap();
    reload_says("is cut short");
    symlink(Path::new("policy.wasm"), file.with_file_name("loop")).unwrap();
    std::fs::remove_file(&file).unwrap();
    symlink(Path::new("loop"), &file).unwrap();
    reload_says("symbolic link");
}

/// A compiler can't be interrupted, so it works off the request path.
#[test]
fn a_component_that_is_slow_to_compile_delays_no_request() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let file = put(&setup, "policy.wasm", &component("toy/1"));
    let gateway = setup.component(&file).policy("limits = { time = \"1s\" }").start();
    let before = generation(&gateway);
    crate::support::gateway::replace(&file, &bomb());
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| gateway.admin("POST", "/v1/policies/keys/reload"));
        let mut meanwhile = 0;
        while !reload.is_finished() {
            gateway.send(&Request::keyed("/charges", &format!("k{meanwhile}"))).assert_executed(201);
            meanwhile += 1;
        }
        let said = reload.join().unwrap();
        assert_eq!(said.status, 200, "{}", said.text());
        assert!(meanwhile > 10, "{meanwhile} requests while it compiled");
    });
    assert!(generation(&gateway) > before);
    gateway
        .send(&Request::keyed("/charges", "k0"))
        .assert_replay_of(&gateway.send(&Request::keyed("/charges", "k0")));
}

/// Functions with so many blocks that the compiler has seconds of work.
fn bomb() -> Vec<u8> {
    let body =
        "(block (br_if 0 (local.get 0)) (local.set 0 (i32.mul (local.get 0) (i32.load (local.get 0)))))"
            .repeat(3000);
    let functions: String = (0..60).map(|n| format!("(func $bomb{n} (param i32) {body})")).collect();
    Guest { definitions: functions, ..Guest::default() }.component()
}
