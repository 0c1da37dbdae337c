//! `[principal]`, and a route's own: the sources of the principal.

use super::reading::units::{is_token, nearest};
use super::reading::{Item, KeyWithin, PlainKey, Section, Unset};
use super::server::Server;
use std::fmt;

/// `[principal]`, or a route's own.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// `"all"`, or alternatives. The first alternative whose sources are all present wins.
    pub from: PrincipalFrom,
    /// The treatment of callers without a principal; `None`: not configured, allowed on loopback listeners
    /// only.
    pub anonymous: Option<Anonymous>,
    /// Schemes of `Authorization` whose credentials make a principal, beside those that always do; "": a
    /// credential without a scheme.
    pub schemes: Vec<String>,
}

/// `principal.from`.
#[derive(Clone, Debug, PartialEq)]
pub enum PrincipalFrom {
    /// All present sources of authorization and api-key together (mtls once there is TLS).
    All,
    /// Alternatives, each of several joined sources.
    Alternatives(Vec<Vec<PrincipalSource>>),
}

/// A source of the principal. Names of headers are lower-case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalSource {
    /// `authorization`.
    Authorization,
    /// `api-key`: `X-API-Key`.
    ApiKey,
    /// `header:NAME`, from trusted proxies only.
    Header(String),
    /// `query:NAME`.
    Query(String),
    /// `cookie:NAME`.
    Cookie(String),
}

/// `principal.anonymous`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anonymous {
    /// All callers without a principal share one.
    Share,
    /// Callers without a principal are refused.
    Refuse,
}

/// As it is written in the configuration.
impl fmt::Display for PrincipalSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization => f.write_str("authorization"),
            Self::ApiKey => f.write_str("api-key"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

/// As it is written in the configuration.
impl fmt::Display for PrincipalFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Alternatives(alternatives) = self else { return f.write_str("all") };
        for (i, sources) in alternatives.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            let names: Vec<String> = sources.iter().map(ToString::to_string).collect();
            f.write_str(&names.join("+"))?;
        }
        Ok(())
    }
}

/// Keys that a later version will know.
const LATER: [&str; 3] = ["jwks_file", "audience", "reauthorize"];

const SOURCE_HELP: &str = "\"all\", or sources like \"authorization\", \"api-key\", \"header:NAME\", \"query:NAME\", \"cookie:NAME\", joined with `+`";

const FROM: KeyWithin<Server, PrincipalFrom> = KeyWithin::new(
    "from",
    Unset::Value("\"all\""),
    from,
    "`\"all\"`: authorization and api-key, as many as are present, together. Or alternatives, of which the first that is wholly present wins: `authorization`, `api-key` (`X-API-Key`), `header:NAME` (from trusted proxies only), `query:NAME`, `cookie:NAME`, several joined with `+`.",
);
const ANONYMOUS: PlainKey<Anonymous> = PlainKey::new(
    "anonymous",
    Unset::Nothing(""),
    |item| item.choice(&[("share", Anonymous::Share), ("refuse", Anonymous::Refuse)]),
    "What a request of nobody means: `\"share\"` (all such callers are one) or `\"refuse\"`. It must be set where a route is guarded and a listener is not on loopback; unset, such a request with a `Cookie` is refused.",
);
const SCHEMES: PlainKey<Vec<String>> = PlainKey::new(
    "schemes",
    Unset::Value("[]"),
    |item| item.each(scheme),
    "Schemes of `Authorization` beside `Basic`, `Bearer`, `Token` and `ApiKey` whose credentials stay the same when a request is sent again; `\"\"` is a credential without a scheme.",
);

/// Reads `[principal]`.
pub(super) fn read(mut section: Section<'_>, server: &Server) -> Principal {
    section.later(&LATER);
    let principal = Principal {
        from: section.get_within(&FROM, server),
        anonymous: section.find(&ANONYMOUS),
        schemes: section.get(&SCHEMES),
    };
    section.close();
    principal
}

/// Reads a route's own table. Keys that the route doesn't set are as in `[principal]`.
pub(super) fn read_of_route(mut section: Section<'_>, outer: &Principal, server: &Server) -> Principal {
    section.later(&LATER);
    let from = section.find_within(&FROM.inherited("principal"), server);
    let anonymous = section.find(&ANONYMOUS.inherited("principal"));
    let schemes = section.find(&SCHEMES.inherited("principal"));
    section.close();
    Principal {
        from: from.unwrap_or_else(|| outer.from.clone()),
        anonymous: anonymous.or(outer.anonymous),
        schemes: schemes.unwrap_or_else(|| outer.schemes.clone()),
    }
}

fn scheme(item: &Item<'_>) -> Option<String> {
    let plain = |text: &str| (text.is_empty() || is_token(text)).then(|| text.to_owned());
    item.parsed("a scheme's name, like \"Splunk\", or \"\" for a credential without a scheme", plain)
}

fn from(item: &Item<'_>, server: &Server) -> Option<PrincipalFrom> {
    let items = item.clone().list();
    if items.is_empty() {
        item.refuse(format!("at least one: {SOURCE_HELP}"));
        return None;
    }
    if let [only] = items.as_slice()
        && only.text(SOURCE_HELP)? == "all"
    {
        return Some(PrincipalFrom::All);
    }
    let mut alternatives = Vec::new();
    for item in items {
        let Some(text) = item.text(SOURCE_HELP) else { continue };
        let mut sources = Vec::new();
        for word in text.split('+').map(str::trim) {
            let Some(source) = source(&item, word, server) else { continue };
            if sources.contains(&source) {
                item.fault(format!("`{}` names {word:?} twice", item.path), "remove one of them");
            }
            sources.push(source);
        }
        if !sources.is_empty() && alternatives.contains(&sources) {
            item.fault(
                format!("`{}` is {text:?}, which stands before it already", item.path),
                "remove one of them",
            );
        }
        alternatives.push(sources);
    }
    Some(PrincipalFrom::Alternatives(alternatives))
}

fn source(item: &Item<'_>, word: &str, server: &Server) -> Option<PrincipalSource> {
    let (kind, name) = word.split_once(':').map_or((word, None), |(kind, name)| (kind, Some(name)));
    match (kind, name) {
        ("mtls", None) | ("jwt", _) => {
            item.reading.not_yet(&item.node.set_by, &item.path, word);
            None
        }
        ("authorization", None) => Some(PrincipalSource::Authorization),
        ("api-key", None) => Some(PrincipalSource::ApiKey),
        ("header", Some(name)) => header(item, &name.to_lowercase(), server),
        ("query", Some(name)) if !name.is_empty() => Some(PrincipalSource::Query(name.to_owned())),
        ("cookie", Some(name)) if is_token(name) => Some(PrincipalSource::Cookie(name.to_owned())),
        _ => {
            let plain = ["authorization", "api-key", "header:NAME", "query:NAME", "cookie:NAME", "all"];
            let meant = nearest(word, plain);
            let help = meant.map_or(SOURCE_HELP.to_owned(), |meant| format!("did you mean {meant:?}?"));
            let alone =
                if word == "all" { "\"all\" stands alone; leave the others out".to_owned() } else { help };
            item.fault(format!("`{}` names {word:?}, which is no source of a principal", item.path), alone);
            None
        }
    }
}

/// Reads `header:NAME`. The header is believed from trusted proxies only, so without them it could never be
/// present.
fn header(item: &Item<'_>, name: &str, server: &Server) -> Option<PrincipalSource> {
    let better = match name {
        "authorization" => Some("authorization"),
        "cookie" => Some("cookie:NAME"),
        _ => None,
    };
    if let Some(better) = better {
        item.fault(format!("`{}` names \"header:{name}\"", item.path), format!("write {better:?}"));
        return None;
    }
    if !is_token(name) {
        item.fault(
            format!("`{}` names \"header:{name}\", and {name:?} can't be a header's name", item.path),
            "letters, digits and `-`, like \"header:x-user\"",
        );
        return None;
    }
    if server.trusted_proxies.is_empty() {
        item.fault(
            format!("`{}` takes the principal from `{name}`, and nobody is trusted to set it", item.path),
            "list the proxies that set it in `server.trusted_proxies`, like [\"127.0.0.1\", \"10.0.0.0/8\"]",
        );
    }
    Some(PrincipalSource::Header(name.to_owned()))
}
