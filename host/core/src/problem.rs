//! The codes of Oncegate's own problems: one list for every user of a code.
//!
//! Configuration takes the codes as keys of `answers`, policies may not use them for refusals of their own,
//! the gateway and the admin interface make problem documents of them, commands and test vectors offer them.
//! A new code is one line of the list below; `design/problems.md` explains it.

/// Declares the codes, a line each: the name in the documents, the status in HTTP, whether asking again with
/// the same key is useful, and the title.
macro_rules! codes {
    ($($list:ident: $about:literal { $($code:ident = $name:literal, $status:literal, $again:ident, $title:literal;)* })*) => {
        /// The code of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $title] $code,)*)*
        }

        impl Code {
            $(
                #[doc = $about]
                pub const $list: &[Self] = &[$(Self::$code),*];
            )*

            const fn row(self) -> Row {
                match self {
                    $($(Self::$code => Row { name: $name, status: $status, again: Repeat::$again, title: $title },)*)*
                }
            }
        }
    };
}

codes! {
    ALL: "Those that clients of a route can meet, in the order in which they are listed to people." {
        KeyReused = "key-reused", 422, Useless, "The idempotency key was used for another request";
        InFlight = "in-flight", 409, Useful, "The operation is still being executed";
        OutcomeUnknown = "outcome-unknown", 409, Useless, "Nobody knows whether the operation took effect";
        Consumed = "consumed", 409, Useless, "The operation took effect; its answer is not kept";
        Expired = "expired", 410, Useless, "What came of the operation is no longer kept";
        TooLate = "too-late", 412, Useless, "The operation is older than what is remembered";
        PrincipalChanged = "principal-changed", 409, Useless, "The operation was begun by another caller";
        PrincipalInvalid = "principal-invalid", 401, Useless, "The caller could not be established";
        BadRequest = "bad-request", 400, Useless, "The request is not acceptable";
        NoRoute = "no-route", 404, Useless, "No route matches the request";
        BodyTooLarge = "body-too-large", 413, Useless, "The body is too large";
        UpstreamUnreachable = "upstream-unreachable", 502, Useful, "The service could not be reached; nothing was sent";
        UpstreamBroken = "upstream-broken", 502, Useless, "The service broke off without an answer";
        UpstreamTimeout = "upstream-timeout", 504, Useless, "The service did not answer in time";
        LedgerUnavailable = "ledger-unavailable", 503, Useful, "The ledger is unavailable";
        PolicyFailed = "policy-failed", 503, Useful, "The policy failed";
        BreakerOpen = "breaker-open", 503, Useful, "The service fails too often to be asked now";
        Overloaded = "overloaded", 503, Useful, "The gateway is overloaded";
        Draining = "draining", 503, Useful, "The gateway is shutting down";
    }
    OF_OPERATORS: "Those of look-ups and of the admin interface. A policy may use the same names for refusals of its own." {
        NotFound = "not-found", 404, Useless, "There is nothing of this name";
        MethodNotAllowed = "method-not-allowed", 405, Useless, "The page does not take this method";
        ForeignHost = "foreign-host", 403, Useless, "The admin interface does not answer under this host name";
        ForeignOrigin = "foreign-origin", 403, Useless, "The admin interface is not asked by pages of another origin";
        TokenRequired = "token-required", 401, Useless, "The admin interface wants its token";
        Changed = "changed", 409, Useless, "The operation has changed since it was shown";
        Executing = "executing", 409, Useless, "The operation is executing";
        Unresolved = "unresolved", 409, Useless, "The operation's outcome has to be resolved first";
        Pointer = "pointer", 409, Useless, "The operation is another key of one with an id of its own";
        Final = "final", 409, Useless, "The operation's outcome is known";
        NothingBefore = "nothing-before", 409, Useless, "There is no generation to go back to";
        ReloadRefused = "reload-refused", 422, Useless, "The reload was refused, and nothing has changed";
        ReloadFailed = "reload-failed", 500, Useless, "The reload failed";
    }
}

/// Names that policies use for refusals of their own by agreement, so that `answers` can name them, too.
pub const AGREED: &[&str] = &["key-missing", "key-malformed"];

#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    status: u16,
    again: Repeat,
    title: &'static str,
}

/// Whether asking again with the same key is useful.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    Useful,
    Useless,
}

impl Code {
    /// The code of this name, if clients of a route can meet it.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// The code's name in documents and in `Oncegate-Problem`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The code's HTTP status, unless a route's `answers` has another one.
    pub const fn status(self) -> u16 {
        self.row().status
    }

    /// The title of the document.
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// Whether asking again with the same key is useful.
    pub fn is_retryable(self) -> bool {
        self.row().again == Repeat::Useful
    }

    /// The names of [`Code::ALL`], for lists that people read.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        Self::ALL.iter().map(|code| code.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_name_stands_once_and_fits_a_field() {
        let codes = || Code::ALL.iter().chain(Code::OF_OPERATORS).copied();
        let names: BTreeSet<&str> = codes().map(Code::name).chain(AGREED.iter().copied()).collect();
        assert_eq!(names.len(), codes().count() + AGREED.len());
        for code in codes() {
            let plain = code.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            assert!(plain && (400..600).contains(&code.status()), "{code:?}");
        }
    }

    #[test]
    fn a_name_finds_its_code() {
        assert!(Code::ALL.iter().all(|code| Code::of_name(code.name()) == Some(*code)));
        assert_eq!(Code::of_name("not-found"), None);
    }

    #[test]
    fn the_page_of_problems_has_every_code() {
        let page = include_str!("../../design/problems.md");
        for code in Code::ALL.iter().chain(Code::OF_OPERATORS) {
            let name = format!("`{}`", code.name());
            let row =
                page.lines().find(|line| line.split('|').nth(1).is_some_and(|cell| cell.contains(&name)));
            let row = row.unwrap_or_else(|| panic!("design/problems.md has no row for {name}"));
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert!(cells[2].starts_with(&code.status().to_string()), "{row}");
            let again = if Code::ALL.contains(code) { cells[3] } else { "no" };
            assert_eq!(again, if code.is_retryable() { "yes" } else { "no" }, "{row}");
        }
    }
}
