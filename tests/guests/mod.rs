//! Guests for tests: WAT text made into components in process, good ones and such that misbehave.
//!
//! The canonical ABI is written by hand, so that a test needs no WebAssembly toolchain and a guest
//! can break any rule. The layout of the records is that of `wit/v0.1/policy.wit`.
//!
//! Long because it is one list of guests.

#![allow(dead_code, unreachable_pub, reason = "each test uses some of them")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where the guest's own data begins; below it are results.
const DATA: u32 = 4096;
/// Where arguments are put, anew for each call.
const HEAP: u32 = 16_384;
/// Where `configure` and the hooks put their results.
const RESULT: u32 = 1024;

/// A guest whose plan and `decide` are made up by a test.
#[derive(Clone)]
pub struct Guest {
    /// `plan.key-schema`.
    pub key_schema: String,
    /// `plan.methods`.
    pub methods: Vec<String>,
    /// `plan.request-fields`.
    pub request_fields: Vec<String>,
    /// `plan.request-payload`, a JSON pointer for each; `None`: nothing.
    pub pointers: Option<Vec<String>>,
    /// `plan.request-payload` is `whole` of so many bytes.
    pub whole: Option<u32>,
    /// `plan.response-fields`.
    pub response_fields: Vec<String>,
    /// `plan.response-payload`, a JSON pointer for each; `None`: nothing.
    pub response_pointers: Option<Vec<String>>,
    /// `plan.outcomes`: lowest, highest, disposition's number.
    pub outcomes: Vec<(u16, u16, u8)>,
    /// `plan.options`: an option of this name.
    pub option: Option<String>,
    /// The `err` of `configure`.
    pub refuses_settings: Option<String>,
    /// Instructions at the start of `configure`.
    pub configure: String,
    /// Instructions of `decide`: they leave the address of the result on the stack. The arguments
    /// are `$method $method_len $fields $fields_len $payload $p1 $p2`, `$at` is a local, `$calls`
    /// counts the calls of this instance, `$key_of` makes a guard, `$bypass` one of none.
    pub decide: String,
    /// Instructions of `settle`, exported where they are there: `$arguments` is the address of the
    /// receipt and, 80 bytes on, the reply; `$at` as in `decide`.
    pub settle: Option<String>,
    /// Instructions of `question` and of `reading`, exported where they are there: as `settle`.
    pub resolution: Option<(String, String)>,
    /// Instructions of `present` and of `explain`, which are exported where either is there: as
    /// `settle`; without a word of theirs the result is *none*.
    pub present: Option<String>,
    /// See `present`.
    pub explain: Option<String>,
    /// Definitions in the module: imports, functions, globals. Imports come first in a module.
    pub imports: String,
    /// Further definitions.
    pub definitions: String,
    /// Interfaces that the world exports beside `policy`.
    pub exports: Vec<&'static str>,
    /// What the world imports of WASI: interfaces of [`WASI`].
    pub wasi: Vec<&'static str>,
    /// Pages of memory at the start.
    pub memory_pages: u32,
    /// Custom sections.
    pub sections: Vec<(String, Vec<u8>)>,
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            key_schema: "toy/1".into(),
            methods: Vec::new(),
            request_fields: vec!["idempotency-key".into()],
            pointers: None,
            whole: None,
            response_fields: Vec::new(),
            response_pointers: None,
            outcomes: Vec::new(),
            option: None,
            refuses_settings: None,
            configure: String::new(),
            decide: KEY_OF_FIRST_FIELD.into(),
            settle: None,
            resolution: None,
            present: None,
            explain: None,
            imports: String::new(),
            definitions: String::new(),
            exports: Vec::new(),
            wasi: Vec::new(),
            memory_pages: 2,
            sections: Vec::new(),
        }
    }
}

/// Of WASI 0.2.3 what the tests call, and something that the host doesn't write.
const WASI: [&str; 5] = [
    "package wasi:io@0.2.3;
     interface error { resource error; }
     interface poll { resource pollable { ready: func() -> bool; } poll: func(in: list<borrow<pollable>>) -> list<u32>; }
     interface streams {
         use error.{error};
         variant stream-error { last-operation-failed(error), closed }
         resource output-stream { blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>; }
     }",
    "package wasi:cli@0.2.3;
     interface environment { get-environment: func() -> list<tuple<string, string>>; }
     interface stdout { use wasi:io/streams@0.2.3.{output-stream}; get-stdout: func() -> output-stream; }
     interface exit { exit: func(status: result); }",
    "package wasi:clocks@0.2.3;
     interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; }",
    "package wasi:random@0.2.3;
     interface random { get-random-bytes: func(len: u64) -> list<u8>; get-random-u64: func() -> u64; }",
    "package wasi:sockets@0.2.3;
     interface instance-network { resource network; instance-network: func() -> network; }",
];

/// The key is the value of the first declared field; without one it is a bypass.
pub const KEY_OF_FIRST_FIELD: &str = r#"
    local.get $fields_len i32.eqz
    if (result i32)
        call $bypass
    else
        local.get $fields i32.load offset=8
        local.get $fields i32.load offset=12
        call $key_of
    end"#;

/// The key is a count of the instance's calls, modulo 10.
pub const COUNT_OF_CALLS: &str = r"
    (i32.store8 (i32.const 512) (i32.add (i32.const 48) (i32.rem_u (global.get $calls) (i32.const 10))))
    i32.const 512 i32.const 1 call $key_of";

/// A good policy: its key is the value of the first declared header.
pub fn keyed_by_header(header: &str, key_schema: &str) -> Vec<u8> {
    Guest { request_fields: vec![header.into()], key_schema: key_schema.into(), ..Guest::default() }
        .component()
}

/// One that traps in `decide`.
pub fn traps() -> Vec<u8> {
    deciding("unreachable")
}

/// One that traps where the first field's value is empty, and is good else.
pub fn traps_on_empty() -> Vec<u8> {
    let is_empty =
        "local.get $fields_len if local.get $fields i32.load offset=12 i32.eqz if unreachable end end";
    deciding(&format!("{is_empty} {KEY_OF_FIRST_FIELD}"))
}

/// One that loops in `decide`.
pub fn loops() -> Vec<u8> {
    deciding("(loop $on br $on) unreachable")
}

/// One that grows its memory for ever.
pub fn grows() -> Vec<u8> {
    deciding("(loop $on (br_if $on (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable")
}

/// One whose guard has no key.
pub fn invalid_result() -> Vec<u8> {
    deciding(
        "i32.const 0 i32.const 0 call $key_of drop (i32.store (i32.const 1036) (i32.const 0)) i32.const 1024",
    )
}

/// One that returns an `err`.
pub fn errs() -> Vec<u8> {
    deciding(
        r#"(i32.store8 (i32.const 1024) (i32.const 1))
           (i32.store offset=4 (i32.const 1024) (local.get $method))
           (i32.store offset=8 (i32.const 1024) (local.get $method_len))
           i32.const 1024"#,
    )
}

/// One whose key is a count of its calls: not pure.
pub fn counts() -> Vec<u8> {
    deciding(COUNT_OF_CALLS)
}

/// One that does so only where the first field begins with this letter.
pub fn counts_where_it_begins_with(letter: u8) -> Vec<u8> {
    let begins = first_field_has(0, letter);
    deciding(&format!("{begins} if (result i32) {COUNT_OF_CALLS} else {KEY_OF_FIRST_FIELD} end"))
}

/// Instructions that tell whether there is a first field with this byte at that place.
pub fn first_field_has(at: usize, byte: u8) -> String {
    let is_there = format!("(i32.load8_u offset={at} (i32.load offset=8 (local.get $fields)))");
    format!(
        "(if (result i32) (local.get $fields_len) \
         (then (i32.eq {is_there} (i32.const {byte}))) (else (i32.const 0)))"
    )
}

/// A good policy, but for these instructions of `decide`.
pub fn deciding(decide: &str) -> Vec<u8> {
    Guest { decide: decide.into(), ..Guest::default() }.component()
}

/// A good policy whose fingerprint is the document.
pub fn fingerprints_documents() -> Vec<u8> {
    deciding(&format!("{KEY_OF_FIRST_FIELD} (i32.store8 offset=16 (i32.const 1024) (i32.const 1))"))
}

/// One whose `settle` reads the number of a disposition: the text at `/outcome` of the answer's
/// document, or the trailer `x-outcome`. Without either it leaves the answer to the table.
pub fn settles_by_what_the_answer_says(outcomes: Vec<(u16, u16, u8)>) -> Vec<u8> {
    let settle = r"
        (if (i32.eq (i32.load8_u offset=100 (local.get $arguments)) (i32.const 2)) (then
            (if (i32.eq (i32.const 1) (i32.load8_u (i32.load offset=104 (local.get $arguments)))) (then
                (local.set $at (i32.load8_u
                    (i32.load offset=4 (i32.load offset=104 (local.get $arguments)))))))))
        (if (i32.load offset=96 (local.get $arguments)) (then
            (local.set $at (i32.load8_u (i32.load offset=8 (i32.load offset=92 (local.get $arguments)))))))
        (if (local.get $at) (then
            (i32.store8 offset=4 (i32.const 1024) (i32.const 1))
            (i32.store8 offset=8 (i32.const 1024) (i32.sub (local.get $at) (i32.const 48)))))
        i32.const 1024";
    Guest {
        response_fields: vec!["x-outcome".into()],
        response_pointers: Some(vec!["/outcome".into()]),
        outcomes,
        settle: Some(settle.into()),
        ..Guest::default()
    }
    .component()
}

/// A core module, not a component.
pub fn core_module() -> Vec<u8> {
    wat::parse_str("(module (memory (export \"memory\") 1))").unwrap()
}

/// A component of another world.
pub fn other_world() -> Vec<u8> {
    wat::parse_str(
        r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
           (func (export "run") (canon lift (core func $i "f"))))"#,
    )
    .unwrap()
}

/// A component that imports an instance of this name.
pub fn importing(name: &str) -> Vec<u8> {
    wat::parse_str(format!(r#"(component (import "{name}" (instance)))"#)).unwrap()
}

/// A component that exports an empty instance of this name.
pub fn exporting(name: &str) -> Vec<u8> {
    wat::parse_str(format!(r#"(component (instance $i) (export "{name}" (instance $i)))"#)).unwrap()
}

impl Guest {
    /// Makes the component.
    pub fn component(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.module()).unwrap();
        let mut resolve = Resolve::default();
        resolve.push_str("policy.wit", include_str!("../../wit/v0.1/policy.wit")).unwrap();
        if !self.wasi.is_empty() {
            WASI.iter().for_each(|package| _ = resolve.push_str("wasi.wit", package).unwrap());
        }
        let world = self.world();
        let package = resolve.push_str("guest.wit", &world).unwrap();
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        let encoder = ComponentEncoder::default().module(&module).unwrap();
        let mut component = encoder.validate(true).encode().unwrap();
        for (name, data) in &self.sections {
            append_section(&mut component, name, data);
        }
        component
    }

    fn presents(&self) -> bool {
        self.present.is_some() || self.explain.is_some()
    }

    fn world(&self) -> String {
        let mut world =
            "package test:guest; world guest { include oncegate:policy/key-policy@0.1.0;".to_owned();
        let settles =
            self.settle.iter().map(|_| &"outcome").chain(self.presents().then_some(&"presentation"));
        let settles = settles.chain(self.resolution.iter().map(|_| &"resolution"));
        self.wasi.iter().for_each(|import| write!(world, "import {import};").unwrap());
        for interface in self.exports.iter().chain(settles) {
            write!(world, "export oncegate:policy/{interface}@0.1.0;").unwrap();
        }
        world + "}"
    }

    fn module(&self) -> String {
        let mut data = Data { bytes: Vec::new() };
        let plan = self.plan(&mut data);
        let Self { imports, definitions, configure, decide, memory_pages, .. } = self;
        let settle = self.settle.as_deref().map(|code| hook("outcome", "settle", code)).unwrap_or_default();
        let resolution = self.resolution.as_ref().map(|(question, reading)| {
            hook("resolution", "question", question) + &hook("resolution", "reading", reading)
        });
        let resolution = resolution.unwrap_or_default();
        let presentation = match self.presents() {
            true => ["present", "explain"]
                .iter()
                .zip([&self.present, &self.explain])
                .map(|(name, code)| hook("presentation", name, code.as_deref().unwrap_or("i32.const 1024")))
                .collect(),
            false => String::new(),
        };
        let data = data.escaped();
        format!(
            r#"(module
            {imports}
            (memory (export "memory") {memory_pages})
            (global $heap (mut i32) (i32.const {HEAP}))
            (global $calls (mut i32) (i32.const 0))
            (data (i32.const {DATA}) "{data}")
            (func $cabi_realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
                (global.set $heap (i32.add (local.get $at) (local.get 3)))
                (block $room
                    (br_if $room (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
                    (br_if $room (i32.ne (i32.const -1)
                        (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get 3) (i32.const 16))))))
                    unreachable)
                local.get $at)
            (func $reset (param i32) (global.set $heap (i32.const {HEAP})))
            (export "cabi_post_oncegate:policy/policy@0.1.0#configure" (func $reset))
            (export "cabi_post_oncegate:policy/policy@0.1.0#decide" (func $reset))
            (func $clear (memory.fill (i32.const {RESULT}) (i32.const 0) (i32.const 256)))
            (func $bypass (result i32)
                call $clear
                (i32.store offset=8 (i32.const {RESULT}) (i32.const {DATA}))
                i32.const {RESULT})
            (func $key_of (param $text i32) (param $length i32) (result i32)
                call $clear
                (i32.store8 offset=4 (i32.const {RESULT}) (i32.const 1))
                (i32.store offset=8 (i32.const {RESULT}) (i32.const 1280))
                (i32.store offset=12 (i32.const {RESULT}) (i32.const 1))
                (i32.store8 (i32.const 1280) (i32.const 0))
                (i32.store offset=4 (i32.const 1280) (local.get $text))
                (i32.store offset=8 (i32.const 1280) (local.get $length))
                i32.const {RESULT})
            {definitions}
            (func (export "oncegate:policy/policy@0.1.0#configure")
                (param $settings i32) (param $settings_len i32) (result i32)
                {configure}
                call $clear
                {plan}
                i32.const {RESULT})
            (func (export "oncegate:policy/policy@0.1.0#decide")
                (param $method i32) (param $method_len i32) (param $fields i32) (param $fields_len i32)
                (param $payload i32) (param $p1 i32) (param $p2 i32) (result i32) (local $at i32)
                (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                {decide})
            {settle} {resolution} {presentation})"#
        )
    }

    /// Instructions that store the plan as `configure`'s result.
    fn plan(&self, data: &mut Data) -> String {
        let mut code = String::new();
        let mut store = |offset: u32, value: u32| {
            writeln!(code, "(i32.store offset={offset} (i32.const {RESULT}) (i32.const {value}))").unwrap();
        };
        let pair = |store: &mut dyn FnMut(u32, u32), offset, (at, length)| {
            store(offset, at);
            store(offset + 4, length);
        };
        if let Some(text) = &self.refuses_settings {
            store(0, 1);
            pair(&mut store, 4, data.text(text));
            return code;
        }
        // The result's payload begins at 4.
        pair(&mut store, 4, data.text(&self.key_schema));
        pair(&mut store, 12, data.texts(&self.methods));
        pair(&mut store, 20, data.texts(&self.request_fields));
        if let Some(pointers) = &self.pointers {
            store(28, 1);
            pair(&mut store, 32, data.texts(pointers));
        }
        if let Some(most) = self.whole {
            store(28, 2);
            store(32, most);
        }
        pair(&mut store, 40, data.texts(&self.response_fields));
        if let Some(pointers) = &self.response_pointers {
            store(48, 1);
            pair(&mut store, 52, data.texts(pointers));
        }
        let mut rules = Vec::new();
        for (lowest, highest, disposition) in &self.outcomes {
            rules.extend(lowest.to_le_bytes());
            rules.extend(highest.to_le_bytes());
            rules.extend([*disposition, 0]);
        }
        let count = u32::try_from(self.outcomes.len()).unwrap();
        pair(&mut store, 60, (data.put(&rules), count));
        if let Some(name) = &self.option {
            let (at, length) = data.text(name);
            let field: Vec<u8> = [at, length, 0, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
            pair(&mut store, 68, (data.put(&field), 1));
        }
        code
    }
}

/// A hook whose arguments lie in memory.
fn hook(interface: &str, name: &str, code: &str) -> String {
    format!(
        r#"(export "cabi_post_oncegate:policy/{interface}@0.1.0#{name}" (func $reset))
        (func (export "oncegate:policy/{interface}@0.1.0#{name}") (param $arguments i32) (result i32)
            (local $at i32)
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            call $clear
            {code})"#
    )
}

/// The cases of a finding without a payload, and two others.
pub const CONSUMED: u8 = 1;
/// See [`CONSUMED`].
pub const STILL_UNKNOWN: u8 = 3;
/// The same question once more.
pub const ASK: u8 = 4;
/// No finding but an `err`.
pub const ERR: u8 = 255;

/// One whose question is always this, and whose reading is always that.
pub fn asking(method: &str, path: &str, reading: u8) -> Vec<u8> {
    let question = |case: u8| {
        let (method_len, path_len) = (method.len(), path.len());
        format!(
            r#"{} {}
            (i32.store8 offset=4 (i32.const {RESULT}) (i32.const {case}))
            (i32.store offset=8 (i32.const {RESULT}) (i32.const 1344)) (i32.store offset=12 (i32.const {RESULT}) (i32.const {method_len}))
            (i32.store offset=16 (i32.const {RESULT}) (i32.const 1536)) (i32.store offset=20 (i32.const {RESULT}) (i32.const {path_len}))
            i32.const {RESULT}"#,
            put(1344, method),
            put(1536, path)
        )
    };
    let reading = match reading {
        ASK => question(ASK),
        ERR => format!("(i32.store8 (i32.const {RESULT}) (i32.const 1)) i32.const {RESULT}"),
        case => format!("(i32.store8 offset=4 (i32.const {RESULT}) (i32.const {case})) i32.const {RESULT}"),
    };
    Guest { resolution: Some((question(1), reading)), ..Guest::default() }.component()
}

/// Instructions that put a text there.
fn put(at: usize, text: &str) -> String {
    let byte =
        |(offset, byte): (usize, u8)| format!("(i32.store8 (i32.const {}) (i32.const {byte}))", at + offset);
    text.bytes().enumerate().map(byte).collect::<String>()
}

/// Instructions of `present`: `body` in place of the kept one, and the field `x-fitted: 1`.
pub fn fitting(body: &str) -> String {
    let length = body.len();
    format!(
        r#"{strings}
        (i32.store8 offset=4 (i32.const {RESULT}) (i32.const 1))
        (i32.store offset=8 (i32.const {RESULT}) (i32.const 1280)) (i32.store offset=12 (i32.const {RESULT}) (i32.const 1))
        (i32.store8 offset=24 (i32.const {RESULT}) (i32.const 1))
        (i32.store offset=28 (i32.const {RESULT}) (i32.const 1536)) (i32.store offset=32 (i32.const {RESULT}) (i32.const {length}))
        i32.const {RESULT}"#,
        strings = strings("x-fitted", body)
    )
}

/// Instructions of `explain`: this status and body, and the field `content-type: 1`.
pub fn wording(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        r#"{strings}
        (i32.store8 offset=4 (i32.const {RESULT}) (i32.const 1))
        (i32.store16 offset=8 (i32.const {RESULT}) (i32.const {status}))
        (i32.store offset=12 (i32.const {RESULT}) (i32.const 1280)) (i32.store offset=16 (i32.const {RESULT}) (i32.const 1))
        (i32.store offset=20 (i32.const {RESULT}) (i32.const 1536)) (i32.store offset=24 (i32.const {RESULT}) (i32.const {length}))
        i32.const {RESULT}"#,
        strings = strings("content-type", body)
    )
}

/// A list of one field at 1280, its name at 1344 with the value `1`; `body` at 1536.
fn strings(name: &str, body: &str) -> String {
    format!(
        "{} {} {}
        (i32.store (i32.const 1280) (i32.const 1344)) (i32.store (i32.const 1284) (i32.const {}))
        (i32.store (i32.const 1288) (i32.const 1408)) (i32.store (i32.const 1292) (i32.const 1))",
        put(1344, name),
        put(1408, "1"),
        put(1536, body),
        name.len()
    )
}

/// The guest's data segment.
struct Data {
    bytes: Vec<u8>,
}

impl Data {
    fn put(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let at = DATA + u32::try_from(self.bytes.len()).unwrap();
        self.bytes.extend_from_slice(bytes);
        assert!(self.bytes.len() < (HEAP - DATA) as usize, "the guest's data is too large");
        at
    }

    fn text(&mut self, text: &str) -> (u32, u32) {
        (self.put(text.as_bytes()), u32::try_from(text.len()).unwrap())
    }

    fn texts(&mut self, texts: &[String]) -> (u32, u32) {
        let mut list = Vec::new();
        for text in texts {
            let (at, length) = self.text(text);
            list.extend(at.to_le_bytes());
            list.extend(length.to_le_bytes());
        }
        (self.put(&list), u32::try_from(texts.len()).unwrap())
    }

    fn escaped(&self) -> String {
        self.bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "\\{byte:02x}").unwrap();
            text
        })
    }
}

/// Appends a custom section.
pub fn append_section(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut content = leb128(name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    component.push(0);
    component.extend(leb128(content.len()));
    component.extend(content);
}

fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
