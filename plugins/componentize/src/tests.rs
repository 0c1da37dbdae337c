use super::*;

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's own text")
}

/// A module with these exports of the right types and shapes; nothing in it is called.
fn module(more: &str) -> Vec<u8> {
    wasm(&format!(
        r#"(module
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 8)
            (func (export "configure") (param i32 i32) (result i32) i32.const 8)
            (func (export "cabi_post_configure") (param i32))
            (func (export "decide") (param i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 8)
            {more})"#
    ))
}

/// The payloads at the component's own level.
fn own(component: &[u8]) -> impl Iterator<Item = Payload<'_>> {
    let mut depth = 0_usize;
    Parser::new(0).parse_all(component).map(|payload| payload.expect("valid")).filter(move |payload| {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => return depth == 0,
        }
        false
    })
}

fn exports(component: &[u8]) -> Vec<String> {
    own(component)
        .filter_map(|payload| match payload {
            Payload::ComponentExportSection(section) => Some(section),
            _ => None,
        })
        .flatten()
        .map(|export| export.expect("valid").name.name.to_owned())
        .collect()
}

#[test]
fn plain_names_become_the_interfaces() {
    let made = component(&module("")).expect("a policy");
    assert_eq!(exports(&made), ["oncegate:policy/policy@0.1.0"]);
    let settles = r#"(func (export "settle") (param i32) (result i32) i32.const 8)"#;
    let made = component(&module(settles)).expect("a policy with an outcome");
    assert_eq!(exports(&made), ["oncegate:policy/outcome@0.1.0", "oncegate:policy/policy@0.1.0"]);
}

#[test]
fn a_component_stays_as_it_is_and_sections_are_found_again() {
    let mut made = component(&module("")).expect("a policy");
    assert_eq!(component(&made).expect("unchanged"), made);
    assert!(!has_section(&made, "oncegate:vectors").expect("valid"));
    append_section(&mut made, "oncegate:vectors", b"{}");
    assert!(has_section(&made, "oncegate:vectors").expect("valid"));
    assert!(!has_section(&made, "oncegate:settings").expect("valid"));
}

#[test]
fn preview1_is_answered_in_the_component() {
    let asks = wasm(
        r#"(module
            (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            (import "wasi_snapshot_preview1" "path_open"
                (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 8)
            (func (export "configure") (param i32 i32) (result i32) i32.const 8)
            (func (export "decide") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
                (call $write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 16))))"#,
    );
    let made = component(&asks).expect("a policy");
    let imports: Vec<String> = own(&made)
        .filter_map(|payload| match payload {
            Payload::ComponentImportSection(section) => Some(section),
            _ => None,
        })
        .flatten()
        .map(|import| import.expect("valid").name.name.to_owned())
        .collect();
    assert!(imports.iter().all(|name| name.starts_with("oncegate:policy/")), "{imports:?}");
}

#[test]
fn a_program_is_refused_and_a_library_is_not() {
    let start = r#"(func (export "_start"))"#;
    let initialize = r#"(func (export "_initialize"))"#;
    let generated = |more: &str| {
        let mut prepared = module(more);
        append_section(&mut prepared, "component-type:policy", b"");
        prepared
    };
    for program in [
        module(start),
        module(&format!("{start} {initialize}")),
        generated(start),
        wasm(&format!("(module {start})")),
    ] {
        let said = component(&program).expect_err("a program").to_string();
        assert!(said.contains("it is a program") && said.contains("-mexec-model=reactor"), "{said}");
    }
    for library in
        [module(initialize), module(r#"(func (export "main"))"#), module(r#"(func (export "start"))"#)]
    {
        assert!(component(&library).is_ok());
    }
}

#[test]
fn what_is_missing_is_named() {
    for (module, word) in [
        (wasm(r#"(module (func (export "configure")) (func (export "other")))"#), "no `decide`"),
        (wasm(r#"(module (func (export "other")))"#), "`other`"),
        (module(r#"(func (export "question"))"#), "`question` without `reading`"),
        (b"no wasm".to_vec(), "not WebAssembly"),
    ] {
        let said = component(&module).expect_err(word).to_string();
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
    // A hook of another type than the interface's.
    let wrong = wasm(
        r#"(module (memory (export "memory") 1)
            (func (export "configure") (param i32 i32) (result i32) i32.const 8)
            (func (export "decide") (result i32) i32.const 8))"#,
    );
    assert!(component(&wrong).expect_err("wrong type").to_string().contains("decide"));
}
