//! Tests of the virtual WASI as a language's runtime finds it.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::interface::failure::Failure;
use crate::tests::{decide, guests, key_of, load, pool};
use guests::Guest;

const RANDOM: &str = r#"(import "wasi:random/random@0.2.3" "get-random-u64" (func $random (result i64)))"#;
/// Eight random letters at the given address.
const LETTERS: &str =
    "(func $letters (param i32) (i64.store (local.get 0) (i64.or (i64.const 0x4040404040404040)
    (i64.and (i64.const 0x0f0f0f0f0f0f0f0f) (call $random)))))";

fn guest(wasi: &[&'static str], imports: &str, decide: &str) -> Guest {
    Guest { wasi: wasi.to_vec(), imports: imports.into(), decide: decide.into(), ..Guest::default() }
}

#[test]
fn random_numbers_are_the_same_in_each_call_of_each_instance_and_differ_within_one() {
    let decide_code = "(call $letters (i32.const 512)) (call $letters (i32.const 520))
                  i32.const 512 i32.const 16 call $key_of";
    let guest =
        Guest { definitions: LETTERS.into(), ..guest(&["wasi:random/random@0.2.3"], RANDOM, decide_code) };
    let generation = load(&guest.component()).unwrap();
    let used = pool();
    let first = key_of(decide(&used, &generation, "k"));
    assert_ne!(first[..8], first[8..], "within a call they go on");
    assert_eq!(key_of(decide(&used, &generation, "k")), first, "a used instance");
    assert_eq!(key_of(decide(&pool(), &generation, "k")), first, "a fresh instance");
}

#[test]
fn there_is_no_environment_and_clocks_stand_still() {
    let imports = r#"
        (import "wasi:cli/environment@0.2.3" "get-environment" (func $environment (param i32)))
        (import "wasi:clocks/wall-clock@0.2.3" "now" (func $now (param i32)))"#;
    // A key of the first byte of the seconds and, as a letter, of the number of variables.
    let decide_code = "(call $environment (i32.const 512)) (call $now (i32.const 528))
        (i32.store8 (i32.const 520) (i32.add (i32.const 65) (i32.load (i32.const 516))))
        (i32.store8 (i32.const 521) (i32.add (i32.const 65) (i64.eq (i64.load (i32.const 528)) (i64.const 1000000000))))
        i32.const 520 i32.const 2 call $key_of";
    let wasi = ["wasi:cli/environment@0.2.3", "wasi:clocks/wall-clock@0.2.3"];
    let generation = load(&guest(&wasi, imports, decide_code).component()).unwrap();
    assert_eq!(key_of(decide(&pool(), &generation, "k")), "AB");
}

#[test]
fn what_is_written_goes_to_the_log_within_bounds() {
    let imports = r#"
        (import "wasi:cli/stdout@0.2.3" "get-stdout" (func $stdout (result i32)))
        (import "wasi:io/streams@0.2.3" "[method]output-stream.blocking-write-and-flush"
            (func $write (param i32 i32 i32 i32)))"#;
    let wasi = ["wasi:io/streams@0.2.3", "wasi:cli/stdout@0.2.3"];
    let writes = |bytes: u32| {
        let decide_code = format!(
            "(call $write (call $stdout) (i32.const 16384) (i32.const {bytes}) (i32.const 512))
             (call $write (call $stdout) (i32.const 16384) (i32.const {bytes}) (i32.const 512))
             {}",
            guests::KEY_OF_FIRST_FIELD
        );
        let guest = guest(&wasi, imports, &decide_code);
        let generation = load(&Guest { memory_pages: 16, ..guest }.component()).unwrap();
        decide(&pool(), &generation, "k")
    };
    assert_eq!(key_of(writes(100)), "k");
    assert_eq!(writes(900_000), Err(Failure::Handed), "more than one call may hand over");
}

#[test]
fn what_is_not_there_traps_when_it_is_called_and_only_then() {
    let imports = r#"
        (import "wasi:sockets/instance-network@0.2.3" "instance-network" (func $network (result i32)))
        (import "wasi:cli/exit@0.2.3" "exit" (func $exit (param i32)))"#;
    let wasi = ["wasi:sockets/instance-network@0.2.3", "wasi:cli/exit@0.2.3"];
    let unused = load(&guest(&wasi, imports, guests::KEY_OF_FIRST_FIELD).component()).unwrap();
    assert_eq!(key_of(decide(&pool(), &unused, "k")), "k");
    for (call, named) in [("call $network drop", "instance-network"), ("i32.const 0 call $exit", "exit")] {
        let decide_code = format!("{call} call $bypass");
        let generation = load(&guest(&wasi, imports, &decide_code).component()).unwrap();
        let failure = decide(&pool(), &generation, "k").unwrap_err();
        assert!(failure.kind() == "trap" && failure.to_string().contains(named), "{named}: {failure}");
    }
}
