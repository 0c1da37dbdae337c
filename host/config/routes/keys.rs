//! The keys of a route.

use super::types::{ClientGone, OnError, PrincipalChanged};
use crate::reading::units::{is_name, is_token, nearest};
use crate::reading::{Item, KeyWithin, NAME_HELP, PlainKey, TableKey, Unset};
use crate::upstreams::RESPONSE_TIMEOUT as UPSTREAM_RESPONSE_TIMEOUT;
use oncegate_core::normal::{self, PathRules};
use oncegate_core::{WhenUnknown, WhileRunning};
use std::sync::Arc;
use std::time::Duration;

pub(super) const NAME: PlainKey<String> = PlainKey::new(
    "name",
    Unset::Fault("give the route a name; logs and metrics use it"),
    |item| item.parsed(NAME_HELP, |text| is_name(text).then(|| text.to_owned())),
    "For logs, metrics and look-ups.",
);
pub(super) const HOST: PlainKey<String> =
    PlainKey::new("host", Unset::Nothing("every host"), host, "A host name without port.");
pub(super) const PATH: KeyWithin<PathRules, String> = KeyWithin::new(
    "path",
    Unset::Fault("a path that begins with `/`; `/` itself takes everything"),
    path,
    "A prefix on segment borders: `/v1` takes `/v1` and `/v1/charges`, not `/v10`.",
);
pub(super) const METHODS: PlainKey<Vec<String>> = PlainKey::new(
    "methods",
    Unset::Nothing("every method"),
    |item| item.each(method),
    "HEAD, OPTIONS and TRACE are never guarded, GET only where route and policy both name it.",
);
pub(super) const UPSTREAM: KeyWithin<[Arc<str>], Arc<str>> = KeyWithin::new(
    "upstream",
    Unset::Fault("name one of [upstreams.NAME]"),
    |item, names| named(item, "upstreams", names),
    "A name of `[upstreams]`.",
);
pub(super) const POLICY: KeyWithin<[Arc<str>], Arc<str>> = KeyWithin::new(
    "policy",
    Unset::Nothing(""),
    |item, names| named(item, "policies", names),
    "A name of `[policies]`. Without it the route is proxied and guards nothing.",
);
pub(super) const WHILE_RUNNING: PlainKey<WhileRunning> = PlainKey::new(
    "while_running",
    Unset::Value("\"wait\""),
    |item| item.choice(&[("wait", WhileRunning::Wait), ("reject", WhileRunning::Reject)]),
    "What a duplicate gets while the first runs; `\"reject\"`: 409 `in-flight` at once.",
)
.guarding();
pub(super) const WHEN_UNKNOWN: PlainKey<WhenUnknown> = PlainKey::new(
    "when_unknown",
    Unset::Value("\"hold\""),
    |item| {
        item.choice(&[("hold", WhenUnknown::Hold), ("probe", WhenUnknown::Probe), ("resend", WhenUnknown::Resend)])
    },
    "What a duplicate gets where nobody knows the outcome: 409 `outcome-unknown`. `\"probe\"`: the same, and the policy's `resolution` asks the upstream meanwhile (of operations begun since it says so). `\"resend\"`: it runs again, where the upstream `dedupes` or `accept_repeats` or the route has only PUT and DELETE.",
)
.guarding();
pub(super) const ON_ERROR: PlainKey<OnError> = PlainKey::new(
    "on_error",
    Unset::Value("\"refuse\""),
    |item| item.choice(&[("refuse", OnError::Refuse), ("bypass", OnError::Bypass)]),
    "While the ledger is down or the policy is not loaded: 503. `\"bypass\"`: send it unguarded, each time it comes.",
)
.guarding();
pub(super) const OUTCOMES: TableKey = TableKey::table("outcomes").guarding();
pub(super) const CLIENT_GONE: PlainKey<ClientGone> = PlainKey::new(
    "client_gone",
    Unset::Value("\"finish\""),
    |item| item.choice(&[("finish", ClientGone::Finish), ("close", ClientGone::Close)]),
    "When no client is left the execution goes on all the same. `\"close\"`: the upstream's connection is closed, and the outcome is unknown unless the answer was complete.",
)
.guarding();
pub(super) const PRINCIPAL_CHANGED: PlainKey<PrincipalChanged> = PlainKey::new(
    "principal_changed",
    Unset::Value("\"count\""),
    |item| item.choice(&[("count", PrincipalChanged::Count), ("refuse", PrincipalChanged::Refuse)]),
    "The same key and content from another principal (a refreshed token, say) is another operation: counted, as far as this gateway remembers, in `oncegate_principal_changed_total`, and told in the log now and then; keys made of the body aren't. `\"refuse\"`: 409 `principal-changed`, on every gateway, as long as the first one's record lives, for one more durable write an operation. Callers can then learn of one another's requests and block them: for routes whose callers are one party. What began before the setting is not refused; after a crash in the midst of a claim, or an operator's word, the other is let in when the `lease` is over.",
)
.guarding();
pub(super) const STRIP: PlainKey<Vec<String>> = PlainKey::new(
    "strip",
    Unset::Value("[]"),
    |item| item.each(field_name),
    "Fields of answers that are not kept, beside those that never are.",
)
.guarding();
pub(super) const RESPONSE_TIMEOUT: PlainKey<Duration> = PlainKey::new(
    "response_timeout",
    Unset::Nothing("the upstream's"),
    UPSTREAM_RESPONSE_TIMEOUT.parse,
    "From the end of the request to the head of the answer.",
);
pub(super) const PRINCIPAL: TableKey = TableKey::table("principal").guarding();

fn host(item: &Item<'_>) -> Option<String> {
    let text = item.text("a host name, like \"api.example.com\"")?;
    let help = if text.contains('*') {
        "a whole name; without `host` the route takes every host"
    } else if text.contains("://") || text.contains('/') {
        "the name alone, without scheme and path, like \"api.example.com\""
    } else {
        "a name without a port, like \"api.example.com\" or \"[::1]\""
    };
    let host = normal::normal_host(&text);
    if host.is_none() {
        item.refuse(help);
    }
    host
}

/// Reads a path. The result is in the form in which requests are routed, without a slash at the end; `/` is
/// "".
fn path(item: &Item<'_>, rules: &PathRules) -> Option<String> {
    let text = item.text("a path that begins with `/`")?;
    let in_form = *rules != PathRules::AsReceived;
    let text = if in_form { normal::normal_escapes(&text).into_owned() } else { text };
    let plain = normal::needed_escapes(&text);
    let help = if !text.starts_with('/') {
        format!("a path begins with a slash: \"/{text}\"")
    } else if text.contains('*') {
        "a path is a prefix as it is and needs no `*`".to_owned()
    } else if text.contains(['{', '}']) {
        "a path is a prefix as it is and has no parameters: what comes behind it is taken, too".to_owned()
    } else if text.contains(['?', '#']) {
        "the path alone: queries don't choose the route".to_owned()
    } else if text.split('/').any(|segment| segment == "." || segment == "..") || text.contains("//") {
        "a path without `.`, `..` and empty segments".to_owned()
    } else if !text.bytes().all(|b| b.is_ascii_graphic()) {
        "visible ASCII characters; write others percent-encoded, as they are sent".to_owned()
    } else if in_form && plain != text {
        format!("characters that need no escape in a path as they are: {plain:?}")
    } else if let Some(fault) = normal::path_fault(&text).filter(|_| in_form) {
        format!("a path that a request may have beside a guarded route; this has {fault}")
    } else {
        return Some(text.trim_end_matches('/').to_owned());
    };
    item.refuse(help);
    None
}

fn method(item: &Item<'_>) -> Option<String> {
    const KNOWN: [&str; 5] = ["POST", "PUT", "PATCH", "DELETE", "GET"];
    let text = item.text("a method, like \"POST\"")?;
    if text == "CONNECT" {
        item.refuse("CONNECT is always refused: this is no forward proxy");
    } else if !is_token(&text) {
        item.refuse("a method, like \"POST\"");
    } else if KNOWN.iter().any(|known| known.eq_ignore_ascii_case(&text)) && !KNOWN.contains(&text.as_str()) {
        item.refuse(format!("methods are case-sensitive: \"{}\"", text.to_uppercase()));
    } else {
        return Some(text);
    }
    None
}

fn field_name(item: &Item<'_>) -> Option<String> {
    item.parsed("the name of a header, like \"x-request-id\"", |text| {
        is_token(text).then(|| text.to_lowercase())
    })
}

/// Reads a name that must be among the names of this table.
fn named(item: &Item<'_>, table: &str, names: &[Arc<str>]) -> Option<Arc<str>> {
    let text = item.text(&format!("the NAME of a [{table}.NAME]"))?;
    if let Some(name) = names.iter().find(|name| ***name == *text) {
        return Some(Arc::clone(name));
    }
    let help = match (nearest(&text, names.iter().map(AsRef::as_ref)), names) {
        (Some(meant), _) => format!("did you mean {meant:?}?"),
        (None, _) if text.starts_with("builtin:") => {
            format!("a route names a [policies.NAME]: add one with component = {text:?}")
        }
        (None, []) => format!("add a [{table}.{}]", if is_name(&text) { text.as_str() } else { "NAME" }),
        (None, names) => format!("there are: {}", names.join(", ")),
    };
    item.fault(format!("`{}` is {text:?}, and there is no [{table}.{text}]", item.path), help);
    None
}
