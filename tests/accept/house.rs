//! The house: rooms that name only what they may, words with one meaning, a contract that is cited.

use super::{claim, tests_of};

#[test]
#[ignore = "tests/run accept house"]
fn rooms_words_sizes_and_citations() {
    claim(
        "rooms name only what host/README.md allows, no circles between files, functions of 60 lines and files of 500, \
         a type name defined once, a glossary in use, citations that lead to a page; each rule sees a planted fault",
        "every test of these names passes",
        "tests/run house::",
        || tests_of(&["house::"]),
    );
}
