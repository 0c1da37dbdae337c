//! Documents of every content type, and their canonical form.
//!
//! Long because it is tables of documents and what is read of each.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::tree::{in_utf16_order, valid_pointer};
use super::*;
use crate::interface::Found;
use crate::interface::v0_1::Shape;
use crate::view::Until;
use proptest::prelude::*;

fn canonical(json: &str) -> String {
    String::from_utf8(canonical_json(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}")))
        .unwrap()
}

fn document(json: &str) -> Document {
    Document::parse(Some("application/json"), json.as_bytes()).unwrap()
}

fn shaped(json: &str, keep: &[&str], drop: &[&str]) -> String {
    let list = |pointers: &[&str]| pointers.iter().map(|pointer| (*pointer).to_owned()).collect();
    let shape = Shape { keep: list(keep), drop: list(drop) };
    String::from_utf8(document(json).canonical(&shape)).unwrap()
}

fn selected(json: &str, pointer: &str) -> Found {
    document(json).select(&[pointer.to_owned()], Until::THE_END).unwrap().remove(0)
}

#[test]
fn rfc_8785_has_this_example() {
    // §3.2.2, with 333333333.33333329 left exact where the RFC, by way of a double, has ...3333.
    let example = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    assert_eq!(
        canonical(example),
        "{\"literals\":[null,true,false],\"numbers\":[333333333.33333329,1e+30,4.5,0.002,1e-27],\
         \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}"
    );
}

#[test]
fn names_are_sorted_by_utf_16_code_units() {
    // RFC 8785 §3.2.3.
    let example = r#"{
        "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "o with diaeresis"
    }"#;
    assert_eq!(
        canonical(example),
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"o with diaeresis\",\
         \"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
    );
}

#[test]
fn numbers_are_laid_out_as_ecmascript_does() {
    for (written, wanted) in [
        // RFC 8785, appendix B, where the digits are those that the table shows.
        ("0", "0"),
        ("-0", "0"),
        ("-0.0e5", "0"),
        ("5e-324", "5e-324"),
        ("-5e-324", "-5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("9007199254740992", "9007199254740992"),
        ("-9007199254740992", "-9007199254740992"),
        ("295147905179352830000", "295147905179352830000"),
        ("9.999999999999997e22", "9.999999999999997e+22"),
        ("1e23", "1e+23"),
        ("1.0000000000000001e23", "1.0000000000000001e+23"),
        ("999999999999999700000", "999999999999999700000"),
        ("999999999999999900000", "999999999999999900000"),
        ("1e21", "1e+21"),
        ("9.999999999999997e-7", "9.999999999999997e-7"),
        ("0.000001", "0.000001"),
        ("333333333.3333332", "333333333.3333332"),
        ("-0.0000033333333333333333", "-0.0000033333333333333333"),
        ("1424953923781206.2", "1424953923781206.2"),
        // All of these write one value.
        ("1.0", "1"),
        ("10e-1", "1"),
        ("0.1e1", "1"),
        ("1E0", "1"),
        ("1e+0000000000000000000000000000", "1"),
        ("100", "100"),
        ("1e2", "100"),
        ("100000000000000000000", "100000000000000000000"),
        ("1e20", "100000000000000000000"),
        ("1000000000000000000000", "1e+21"),
        ("1234567890123456789012", "1.234567890123456789012e+21"),
        ("0.00000012", "1.2e-7"),
        ("0.0000012", "0.0000012"),
        ("120.50", "120.5"),
        ("-1.5E-3", "-0.0015"),
        ("0.10", "0.1"),
        // More than a double holds.
        ("9007199254740993", "9007199254740993"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ("1e400", "1e+400"),
        ("1e-400", "1e-400"),
        ("123456789012345678901234567890", "1.2345678901234567890123456789e+29"),
        ("1e2147483647", "1e+2147483647"),
    ] {
        assert_eq!(canonical(written), wanted, "{written}");
    }
}

#[test]
fn what_is_malformed_says_why_and_where() {
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    for (json, why) in [
        ("", "line 1 column 1"),
        ("{\"a\":\n 1,}", "line 2"),
        (r#"{"a":1,"a":2}"#, "\"a\" comes twice in the outermost object"),
        (r#"{"a":1,"\u0061":1}"#, "\"a\" comes twice"),
        (r#"{"x":{"b":1,"c":0,"b":1}}"#, "\"b\" comes twice in the object \"x\""),
        (r#"[[{"b":1,"b":1}]]"#, "\"b\" comes twice in an object of an array"),
        (r#"["\ud800"]"#, "line 1"),
        (r#"["\ud800 and more"]"#, "surrogate"),
        (r#"["\udc00"]"#, "line 1"),
        (r#"["\udc00 and more"]"#, "surrogate"),
        (r#"["\ud800\u0041"]"#, "surrogate"),
        (r#"["\ud800\ud800"]"#, "surrogate"),
        (r#"["\ud83d"#, "end of file"),
        ("1 2", "root element"),
        ("{} x", "line 1 column 4"),
        (&deep, "deeper than 128"),
        ("1e99999999999", "exponent"),
        ("-1e-99999999999", "exponent"),
        ("01", "root element"),
        ("[01]", "line 1"),
        ("1.", "line 1"),
        (".5", "line 1"),
        ("+1", "line 1"),
        ("1e", "line 1"),
        ("NaN", "line 1"),
        ("nul", "line 1"),
        ("truex", "line 1"),
        ("[1,]", "comma"),
        ("[1 2]", "comma"),
        ("'a'", "line 1"),
        ("\"a\nb\"", "not allowed in JSON strings"),
        ("\"a\\x\"", "escape"),
        ("\"a\\u00g0\"", "escape"),
        ("\"a", "end of file"),
        ("[", "end of file"),
        ("]", "line 1"),
        ("{1:2}", "must be strings"),
        ("{\"a\" 1}", "line 1"),
        ("\u{feff}\u{feff}1", "line 1"),
        ("\u{a0}1", "line 1"),
        ("\u{b}1", "line 1"),
    ] {
        let error = canonical_json(json.as_bytes()).expect_err(json);
        assert!(error.contains(why), "{json}: {error}");
    }
    for bytes in
        [&b"\"\xff\""[..], b"\"\xc3\"", b"\"\xed\xa0\x80\"", b"{\"\xff\":1}", b"\xff", b"\xff\xfe1\0"]
    {
        assert!(canonical_json(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn what_is_fine_though_odd_is_read() {
    let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
    assert_eq!(canonical(&deep), deep);
    // A byte order mark is not part of the text (RFC 8259 §8.1 lets a reader pass over it).
    assert_eq!(canonical("\u{feff}{\"a\":1}"), r#"{"a":1}"#);
    assert_eq!(canonical(" \t\r\n\"a\" \r\n"), "\"a\"");
    assert_eq!(
        canonical(r#"{"":1,"$serde_json::private::Number":"2"}"#),
        r#"{"":1,"$serde_json::private::Number":"2"}"#
    );
    assert_eq!(
        canonical("\"\u{2028}\u{7f}\\u007f\\u0000\\b\\f\\/\""),
        "\"\u{2028}\u{7f}\u{7f}\\u0000\\b\\f/\""
    );
}

#[test]
fn pointers_are_those_of_rfc_6901() {
    let example =
        r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
    for (pointer, wanted) in [
        ("/foo", Found::Json(r#"["bar","baz"]"#.into())),
        ("/foo/0", Found::Text("bar".into())),
        ("/", Found::Json("0".into())),
        ("/a~1b", Found::Json("1".into())),
        ("/c%d", Found::Json("2".into())),
        ("/e^f", Found::Json("3".into())),
        ("/g|h", Found::Json("4".into())),
        ("/i\\j", Found::Json("5".into())),
        ("/k\"l", Found::Json("6".into())),
        ("/ ", Found::Json("7".into())),
        ("/m~0n", Found::Json("8".into())),
        ("/foo/2", Found::Nothing),
        ("/foo/-", Found::Nothing),
        ("/foo/00", Found::Nothing),
        ("/foo/+1", Found::Nothing),
        ("/foo/", Found::Nothing),
        ("/foo/99999999999999999999999", Found::Nothing),
        ("/foo/0/x", Found::Nothing),
        ("/fo", Found::Nothing),
        ("foo", Found::Nothing),
        ("/m~n", Found::Nothing),
    ] {
        assert_eq!(selected(example, pointer), wanted, "{pointer}");
    }
    assert_eq!(
        selected(r#"{"b":[1,{"c":null}],"a":2.0}"#, ""),
        Found::Json(r#"{"a":2,"b":[1,{"c":null}]}"#.into())
    );
    assert_eq!(selected("\"a\\nb\"", ""), Found::Text("a\nb".into()));
    assert_eq!(selected(r#"{"~1":1,"/":2}"#, "/~01"), Found::Json("1".into()));
    assert_eq!(selected(r#"[[1,[2]],{"x":3}]"#, "/1/x"), Found::Json("3".into()));
    assert_eq!(selected(r#"{"a":null}"#, "/a"), Found::Json("null".into()));
}

#[test]
fn a_pointer_is_valid_or_not() {
    for pointer in ["", "/", "/a", "/a~0b~1c", "//"] {
        assert!(valid_pointer(pointer), "{pointer}");
    }
    for pointer in ["a", "/~", "/~2", "/a~", "#/a"] {
        assert!(!valid_pointer(pointer), "{pointer}");
    }
}

#[test]
fn a_shape_keeps_and_drops() {
    let order = r#"{"id":"x","at":17,"lines":[{"sku":"a","n":1},{"sku":"b","n":2}]}"#;
    assert_eq!(shaped(order, &[], &[]), canonical(order));
    assert_eq!(shaped(order, &[""], &[]), canonical(order));
    assert_eq!(shaped(order, &[], &["/at"]), r#"{"id":"x","lines":[{"n":1,"sku":"a"},{"n":2,"sku":"b"}]}"#);
    assert_eq!(shaped(order, &["/id", "/at"], &[]), r#"{"at":17,"id":"x"}"#);
    assert_eq!(shaped(order, &["/lines/1/n"], &[]), r#"{"lines":[1:{"n":2}]}"#);
    assert_eq!(shaped(order, &["/lines"], &["/lines/0", "/lines/1/n"]), r#"{"lines":[1:{"sku":"b"}]}"#);
    assert_eq!(
        shaped(order, &["/lines", "/lines/0"], &[]),
        r#"{"lines":[{"n":1,"sku":"a"},{"n":2,"sku":"b"}]}"#
    );
    assert_eq!(shaped(order, &[], &[""]), "");
    assert_eq!(shaped(order, &["/none"], &[]), "");
    assert_eq!(shaped(order, &["/at"], &["/at"]), "");
    assert_eq!(shaped(order, &["/lines/0"], &["/lines"]), "");
    assert_eq!(shaped(order, &[], &["/none", "/lines/7"]), canonical(order));
    assert_eq!(shaped("5", &["/a"], &[]), "");
}

#[test]
fn a_shaped_array_tells_places_apart() {
    let shape = (&["/a/0/b", "/a/1/b"][..], &[][..]);
    assert_ne!(
        shaped(r#"{"a":[{"c":1},{"b":2}]}"#, shape.0, shape.1),
        shaped(r#"{"a":[{"b":2}]}"#, shape.0, shape.1)
    );
    // A value that is null is there.
    assert_ne!(shaped(r#"{"a":null}"#, &["/a"], &[]), shaped("{}", &["/a"], &[]));
}

#[test]
fn a_form_is_an_object() {
    let form = |body: &str| {
        let kind = Some("application/X-www-form-urlencoded ; charset=UTF-8");
        let document = Document::parse(kind, body.as_bytes())?;
        Ok::<_, String>(String::from_utf8(document.canonical(&Shape::default())).unwrap())
    };
    for (body, wanted) in [
        ("", "{}"),
        ("a=1&b=2", r#"{"a":"1","b":"2"}"#),
        ("b=2&&a=1&", r#"{"a":"1","b":"2"}"#),
        ("a=2&b=0&a=1", r#"{"a":["2","1"],"b":"0"}"#),
        ("a", r#"{"a":""}"#),
        ("=", r#"{"":""}"#),
        ("a+b=c%20d%2B%26", r#"{"a b":"c d+&"}"#),
        ("a=b=c", r#"{"a":"b=c"}"#),
        ("a=%zz%", r#"{"a":"%zz%"}"#),
        ("caf%C3%A9=%E2%82%AC", r#"{"café":"€"}"#),
        ("a%5B0%5D=1", r#"{"a[0]":"1"}"#),
    ] {
        assert_eq!(form(body).as_deref(), Ok(wanted), "{body}");
    }
    assert!(form("a=1&b=%ff").unwrap_err().contains("number 2"));
}

const PARTS: &str = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--B\r\n\
    content-disposition: form-data; name=\"f\"; filename=\"x \\\"y\\\".txt\"\r\nContent-Type: text/csv\r\n\r\n\
    1,2\r\n\r\n--B\r\ncontent-disposition: form-data; name=a\r\n\r\n\r\n--B--\r\n";

fn multipart(content_type: &str, body: &str) -> Result<String, String> {
    let document = Document::parse(Some(content_type), body.as_bytes())?;
    Ok(String::from_utf8(document.canonical(&Shape::default())).unwrap())
}

#[test]
fn a_multipart_form_is_one_whatever_the_boundary() {
    let wanted = "{\"a\":[\"one\",\"\"],\"f\":{\"filename\":\"x \\\"y\\\".txt\",\
        \"sha256\":\"0f43783b6b198a2189413a1938e1dbd205399584db3aaa9deb7ce453d9f7cbba\",\"type\":\"text/csv\"}}";
    let found = multipart("multipart/form-data; boundary=B", PARTS).unwrap();
    assert_eq!(found, wanted);
    let renamed = PARTS.replace("--B", "--other (1)");
    assert_eq!(multipart("Multipart/Form-Data; x=y; BOUNDARY=\"other (1)\"", &renamed).unwrap(), found);
    assert_eq!(
        multipart("multipart/form-data; boundary=B", &format!("preamble\r\n{PARTS}epilogue")).unwrap(),
        found
    );
    assert_ne!(multipart("multipart/form-data; boundary=B", &PARTS.replace("1,2", "1,3")).unwrap(), found);
    assert_eq!(multipart("multipart/form-data; boundary=B", "--B--").unwrap(), "{}");
    let extended = PARTS.replace("filename=\"x \\\"y\\\".txt\"", "filename*=UTF-8''x%20%22y%22.txt");
    assert_eq!(multipart("multipart/form-data; boundary=B", &extended).unwrap(), found);
}

#[test]
fn a_broken_multipart_form_says_where() {
    let kind = "multipart/form-data; boundary=B";
    for (content_type, body, why) in [
        ("multipart/form-data", PARTS.to_owned(), "without a boundary"),
        (kind, String::new(), "isn't in the body"),
        (kind, PARTS.replace("--B--", ""), "part 3 of multipart/form-data has no boundary after it"),
        (kind, PARTS.replace("; name=\"a\"", ""), "part 1 of multipart/form-data has no name"),
        (kind, PARTS.replacen("Content-Disposition", "X", 1), "no content-disposition"),
        (kind, PARTS.replacen("\r\n\r\none", "\r\none", 1), "part 1"),
        (kind, PARTS.replace("Content-Type: text/csv", "Content-Transfer-Encoding: base64"), "part 2"),
        (kind, PARTS.replace("--B\r\n", "--Bx\r\n"), "no line end"),
    ] {
        let error = multipart(content_type, &body).expect_err(why);
        assert!(error.contains(why), "{why}: {error}");
    }
    let mut body = PARTS.as_bytes().to_vec();
    let at = PARTS.find("one").unwrap();
    body[at] = 0xff;
    assert!(Document::parse(Some(kind), &body).unwrap_err().contains("isn't UTF-8"));
}

/// A value and two of its writings.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    /// Digits without zeros at the ends, and where the point stands.
    Number(bool, String, i32),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (any::<bool>(), "[1-9]([0-9]{0,24}[1-9])?", -30..30).prop_map(|(n, d, p)| Value::Number(n, d, p)),
        any::<String>().prop_map(Value::Text),
        "[\u{e000}-\u{f000}\u{10000}-\u{10100}a\\x00-\\x1f]{0,4}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("[\u{e000}-\u{e003}\u{10000}-\u{10003}a-c/~]{0,3}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

impl Value {
    /// Writes the value in one of many ways, as `dice` fall.
    fn write(&self, dice: &mut impl FnMut() -> usize, out: &mut String) {
        let spaces = ["", " ", "\t", "\r\n", "\n \n"];
        out.push_str(spaces[dice() % 5]);
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(negative, digits, point) => {
                // The digits are shifted by zeros in front or behind, and the exponent with them.
                let (front, behind) = (dice() % 4, dice() % 4);
                let sign = if *negative { "-" } else { "" };
                let e = ["e", "E"][dice() % 2];
                let text = if front == 0 {
                    format!(
                        "{sign}{digits}{}{e}{}",
                        "0".repeat(behind),
                        point - digits.len() as i32 - behind as i32
                    )
                } else {
                    let zeros = "0".repeat(front - 1);
                    format!("{sign}0.{zeros}{digits}{}{e}{}", "0".repeat(behind), point + front as i32 - 1)
                };
                out.push_str(&text);
            }
            Self::Text(text) => write_text(text, dice, out),
            Self::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    element.write(dice, out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                if !members.is_empty() {
                    let middle = dice() % members.len();
                    members.rotate_left(middle);
                }
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    write_text(name, dice, out);
                    out.push_str([":", " : "][dice() % 2]);
                    value.write(dice, out);
                }
                out.push('}');
            }
        }
        out.push_str(spaces[dice() % 5]);
    }

    fn written(&self, seed: u64) -> String {
        let mut state = seed | 1;
        let mut dice = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let mut out = String::new();
        self.write(&mut dice, &mut out);
        out
    }
}

fn write_text(text: &str, dice: &mut impl FnMut() -> usize, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if character < ' ' || matches!(character, '"' | '\\') || dice().is_multiple_of(3) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(character);
        }
    }
    out.push('"');
}

proptest! {
    #[test]
    fn a_value_has_one_canonical_form(value in values(), seeds in any::<[u64; 2]>()) {
        let first = canonical(&value.written(seeds[0]));
        prop_assert_eq!(&first, &canonical(&value.written(seeds[1])));
        prop_assert_eq!(&first, &canonical(&first), "idempotent");
    }

    #[test]
    fn different_values_have_different_forms(a in values(), b in values(), seed in any::<u64>()) {
        prop_assert_eq!(a == b, canonical(&a.written(seed)) == canonical(&b.written(seed)));
    }

    #[test]
    fn a_double_is_written_as_rfc_8785_does(bits in any::<u64>()) {
        let double = f64::from_bits(bits);
        prop_assume!(double.is_finite());
        // The shortest digits in another layout than ECMAScript's read back as the same double.
        let text = canonical(&format!("{double:e}"));
        prop_assert_eq!(text.parse::<f64>().unwrap(), double);
        prop_assert_eq!(&text, &canonical(&format!("{double}")));
        let exponent = double.abs().log10();
        if exponent > 21.5 || (double != 0.0 && exponent < -6.5) {
            prop_assert!(text.contains('e'), "{}", text);
        } else if (-5.5..20.5).contains(&exponent) {
            prop_assert!(!text.contains('e'), "{}", text);
        }
    }

    #[test]
    fn names_are_in_the_order_of_utf_16(
        a in "[a\u{7f}-\u{81}\u{d7ff}\u{e000}\u{fffd}-\u{10001}\u{10ffff}]{0,3}",
        b in "[a\u{7f}-\u{81}\u{d7ff}\u{e000}\u{fffd}-\u{10001}\u{10ffff}]{0,3}",
    ) {
        prop_assert_eq!(in_utf16_order(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), pick in 0..3usize) {
        let kind = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=B"][pick];
        let _ = Document::parse(Some(kind), &bytes);
    }

    #[test]
    fn no_broken_json_makes_it_panic(value in values(), seed in any::<u64>(), cut in any::<prop::sample::Index>()) {
        let text = value.written(seed);
        let _ = canonical_json(&text.as_bytes()[..cut.index(text.len())]);
    }

    #[test]
    fn keeping_everything_is_keeping_nothing_special(value in values(), seed in any::<u64>()) {
        let document = document(&value.written(seed));
        let shape = |keep: &[&str]| Shape { keep: keep.iter().map(|p| (*p).to_owned()).collect(), drop: vec![] };
        prop_assert_eq!(document.canonical(&shape(&[""])), document.canonical(&shape(&[])));
    }
}
