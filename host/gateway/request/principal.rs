//! The principal of a request. The gateway establishes the principal from credentials and trusted fields; a
//! policy has no say in it (`design/principal.md`).

use crate::answer::problem::{Code, Problem};
use crate::answer::refusals::switched_off;
use crate::edge::Peer;
use crate::request::fields::{are_twins, names_in_connection};
use http::header::{self, HeaderMap, HeaderName};
use oncegate_config::{Anonymous, Principal, PrincipalFrom, PrincipalSource};
use oncegate_core::{Framer, PartKind, PrincipalId, Secret};
use std::borrow::Cow;
use std::hash::BuildHasher;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const ALL: [PrincipalSource; 2] = [PrincipalSource::Authorization, PrincipalSource::ApiKey];

/// Schemes whose credentials stay the same when a request is sent again. `principal.schemes` adds others.
/// A credential that is made anew for each request would separate every retry from its operation.
const SCHEMES: [&str; 4] = ["Basic", "Bearer", "Token", "ApiKey"];

/// Fields in which services commonly take credentials, beside those that make a principal by themselves. Callers with
/// different ones are not one.
const CREDENTIALS: [&str; 9] = [
    "x-auth-token",
    "x-access-token",
    "x-api-token",
    "x-apikey",
    "api-key",
    "apikey",
    "private-token",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
];

/// Establishes the principal of a request.
pub fn establish(
    rules: &Principal,
    secret: &Secret,
    fields: &HeaderMap,
    query: &str,
    peer: Peer,
) -> Result<PrincipalId, Problem> {
    refuse_impostor(rules, fields, peer)?;
    let mut framer = Framer::principal(secret);
    let found = each(rules, fields, query, |source, value| {
        framer.part(PartKind::SourceName, source.to_string().as_bytes());
        framer.part(PartKind::SourceValue, value);
    })?;
    if !found {
        admit_anonymous(rules, fields)?;
    }
    Ok(framer.into_principal())
}

/// Hashes of the credentials that a principal is made of, each with its source.
pub fn credentials(rules: &Principal, fields: &HeaderMap, query: &str, hash: &impl BuildHasher) -> Vec<u64> {
    let mut credentials = Vec::new();
    // They were read before, when the principal was established.
    let _read = each(rules, fields, query, |source, value| {
        credentials.push(hash.hash_one((source.to_string(), value)));
    });
    credentials
}

/// Gives each credential that makes the principal to `take`. False: there is none.
fn each(
    rules: &Principal,
    fields: &HeaderMap,
    query: &str,
    mut take: impl FnMut(&PrincipalSource, &[u8]),
) -> Result<bool, Problem> {
    match &rules.from {
        PrincipalFrom::All => {
            let mut found = false;
            for source in &ALL {
                if let Some(value) = value(rules, source, fields, query)? {
                    take(source, &value);
                    found = true;
                }
            }
            Ok(found)
        }
        PrincipalFrom::Alternatives(alternatives) => first_present(rules, alternatives, take, fields, query),
    }
}

/// Refuses a field that names the principal and does not come from a trusted proxy. The field is refused even
/// if another alternative would win or nothing is guarded, because the service behind the gateway believes the
/// field, too. So it is with the field's twin, whose name has `_` for `-`: many services read both as one. Of what a trusted
/// proxy sends, its client may have sent the twin, and what switches the field off.
pub fn refuse_impostor(rules: &Principal, fields: &HeaderMap, peer: Peer) -> Result<(), Problem> {
    for name in header_sources(rules) {
        if peer.trusted {
            stays_on(fields, name)?;
            refuse_twin(name, fields)?;
        } else if let Some(claimed) = fields.keys().find(|field| are_twins(field.as_str(), name)) {
            return Err(invalid(
                "a stranger says who asks",
                format!(
                    "The field `{claimed}` says who asks and is taken from trusted proxies only; this peer is none."
                ),
            ));
        }
    }
    Ok(())
}

/// The fields that name the principal by these rules, if a trusted proxy sets them.
pub fn header_sources(rules: &Principal) -> impl Iterator<Item = &str> {
    let alternatives = match &rules.from {
        PrincipalFrom::All => &[][..],
        PrincipalFrom::Alternatives(alternatives) => alternatives,
    };
    alternatives.iter().flatten().filter_map(|source| match source {
        PrincipalSource::Header(name) => Some(name.as_str()),
        PrincipalSource::Authorization
        | PrincipalSource::ApiKey
        | PrincipalSource::Query(_)
        | PrincipalSource::Cookie(_) => None,
    })
}

fn first_present(
    rules: &Principal,
    alternatives: &[Vec<PrincipalSource>],
    mut take: impl FnMut(&PrincipalSource, &[u8]),
    fields: &HeaderMap,
    query: &str,
) -> Result<bool, Problem> {
    for sources in alternatives {
        let mut values = Vec::with_capacity(sources.len());
        for source in sources {
            values.push(value(rules, source, fields, query)?);
        }
        if values.iter().all(Option::is_some) {
            for (source, value) in sources.iter().zip(values.iter().flatten()) {
                take(source, value);
            }
            return Ok(true);
        }
    }
    Ok(false)
}

fn admit_anonymous(rules: &Principal, fields: &HeaderMap) -> Result<(), Problem> {
    match rules.anonymous {
        Some(Anonymous::Share) => Ok(()),
        Some(Anonymous::Refuse) => Err(invalid(
            "it has no credential",
            "The request carries no credential that says who asks, and callers without one are turned away here.",
        )),
        None if fields.contains_key(header::COOKIE) => Err(invalid(
            "it has a cookie and no other credential",
            "The request carries a cookie and no other credential, and the gateway was not told who asks: \
             set `principal.from` to the cookie's name (\"cookie:NAME\"), or `principal.anonymous` to \"share\" \
             if all callers are one party.",
        )),
        None => match unread_credential(rules, fields) {
            None => Ok(()),
            Some(name) => Err(invalid(
                "it has a credential that makes no principal here",
                format!(
                    "The request carries `{name}` and no credential that says who asks here: have the operator set \
                     `principal.from` to what says it, or `principal.anonymous` to \"share\" if all callers are one party."
                ),
            )),
        },
    }
}

/// A credential that the request carries and that is no source of its principal here.
fn unread_credential<'a>(rules: &Principal, fields: &'a HeaderMap) -> Option<&'a str> {
    // As sources they have no content where this is asked.
    let is_source = matches!(rules.from, PrincipalFrom::All);
    let sources = ["authorization", "x-api-key"].iter().filter(|_| !is_source);
    let is_credential = |own: &&str| sources.clone().chain(&CREDENTIALS).any(|name| are_twins(own, name));
    fields.keys().map(HeaderName::as_str).find(is_credential)
}

/// The value of a source, if it is present. A value without content is not present: all who send it would be
/// one. A present value that can't be taken is an error.
fn value<'a>(
    rules: &Principal,
    source: &PrincipalSource,
    fields: &'a HeaderMap,
    query: &'a str,
) -> Result<Option<Cow<'a, [u8]>>, Problem> {
    let header = |name: &HeaderName| -> Result<Option<&'a [u8]>, Problem> {
        stays_on(fields, name.as_str())?;
        refuse_twin(name.as_str(), fields)?;
        let mut values = fields.get_all(name).into_iter();
        let first = values.next();
        match values.next() {
            Some(_) => Err(invalid(
                TWICE,
                format!("The field `{name}` says who asks and stands there more than once."),
            )),
            None => Ok(first.map(|value| value.as_bytes())),
        }
    };
    let value = match source {
        PrincipalSource::Authorization => match header(&header::AUTHORIZATION)? {
            Some(value) => credential(rules, value)?,
            None => None,
        },
        PrincipalSource::ApiKey => header(&API_KEY)?.map(Cow::Borrowed),
        PrincipalSource::Header(name) => {
            let name: HeaderName = name.parse().map_err(|_| {
                let cause = "a principal's field has an impossible name";
                invalid(cause, "A principal's field has an impossible name.")
            })?;
            header(&name)?.map(Cow::Borrowed)
        }
        PrincipalSource::Query(name) => {
            let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(own, _)| own == name.as_str());
            let first = values.next();
            if values.next().is_some() {
                return Err(invalid(
                    TWICE,
                    format!("The query's `{name}` says who asks and stands there more than once."),
                ));
            }
            first.map(|(_, value)| Cow::Owned(value.into_owned().into_bytes()))
        }
        PrincipalSource::Cookie(name) => {
            stays_on(fields, header::COOKIE.as_str())?;
            cookie(fields, name)?.map(Cow::Borrowed)
        }
    };
    Ok(value.filter(|value| has_content(value)))
}

/// Refuses a request whose `Connection` would take this field away from what goes upstream.
fn stays_on(fields: &HeaderMap, name: &str) -> Result<(), Problem> {
    if names_in_connection(fields, name) { Err(switched_off(name)) } else { Ok(()) }
}

/// Refuses a field that many services take for `name`, and the gateway does not: its callers would all be one.
fn refuse_twin(name: &str, fields: &HeaderMap) -> Result<(), Problem> {
    let twin = |field: &&HeaderName| are_twins(field.as_str(), name) && field.as_str() != name;
    match fields.keys().find(twin) {
        Some(twin) => Err(invalid(
            "it has a twin of what says who asks",
            format!(
                "Many services read the field `{twin}` as `{name}`, which says who asks: write it `{name}`."
            ),
        )),
        None => Ok(()),
    }
}

/// Whether a value is more than blanks and a pair of quotes.
fn has_content(value: &[u8]) -> bool {
    !matches!(value.trim_ascii(), b"" | b"\"\"")
}

fn cookie<'a>(fields: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Problem> {
    let mut found = None;
    for value in fields.get_all(header::COOKIE) {
        for pair in value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
            let Some(own) = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
            else {
                continue;
            };
            if found.replace(own).is_some() {
                return Err(invalid(
                    TWICE,
                    format!("The cookie `{name}` says who asks and stands there more than once."),
                ));
            }
        }
    }
    Ok(found)
}

/// The credential of an `Authorization` field in one writing, however the client writes scheme and blanks. None:
/// the scheme is all there is, or `Basic` has neither name nor password.
fn credential<'a>(rules: &Principal, value: &'a [u8]) -> Result<Option<Cow<'a, [u8]>>, Problem> {
    let value = value.trim_ascii();
    let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
    let (scheme, content) = (&value[..end], value[end..].trim_ascii());
    let listed = || rules.schemes.iter().map(|scheme| &**scheme);
    let known =
        SCHEMES.into_iter().chain(listed()).find(|known| scheme.eq_ignore_ascii_case(known.as_bytes()));
    match known {
        Some("Basic") if matches!(content, b"Og==" | b"Og") => Ok(None),
        Some(_) if !has_content(content) => Ok(None),
        Some(known) => Ok(Some(Cow::Owned([known.as_bytes(), b" ", content].concat()))),
        None if content.is_empty() && listed().any(str::is_empty) => Ok(Some(Cow::Borrowed(value))),
        // The text doesn't repeat what may be a secret.
        None if content.is_empty() => Err(invalid(
            "its `Authorization` has no scheme",
            "`Authorization` has no scheme here, or one with nothing after it. If it is a credential that stays the same \
             when a request is sent again, list \"\" in `principal.schemes`; otherwise set `principal.from` to something \
             that does.",
        )),
        None => Err(invalid(
            "its scheme is not in `principal.schemes`",
            format!(
                "The credentials of the scheme `{}` are not known to stay the same when a request is sent again, so that a \
             retry could not be told to be one. If they do, list the scheme in `principal.schemes`; otherwise set \
             `principal.from` to something that does, such as an API key or a field set by a trusted proxy.",
                String::from_utf8_lossy(scheme)
            ),
        )),
    }
}

/// Why a request is refused that says twice who asks.
const TWICE: &str = "what says who asks is there twice";

fn invalid(cause: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Code::PrincipalInvalid, detail).because(cause)
}

/// Whether a field is a credential or, by these rules, names the principal.
pub fn is_credential(rules: &Principal, name: &HeaderName) -> bool {
    let always = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, API_KEY];
    let is = |own: &str| are_twins(own, name.as_str());
    always.iter().any(|own| is(own.as_str())) || header_sources(rules).any(is)
}

/// The query without the parameters that name the principal, so that neither a policy nor a fingerprint sees
/// them.
pub fn without_credentials<'a>(rules: &Principal, query: &'a str) -> Cow<'a, str> {
    let PrincipalFrom::Alternatives(alternatives) = &rules.from else { return Cow::Borrowed(query) };
    let hidden: Vec<&str> = (alternatives.iter().flatten())
        .filter_map(|source| match source {
            PrincipalSource::Query(name) => Some(name.as_str()),
            PrincipalSource::Authorization
            | PrincipalSource::ApiKey
            | PrincipalSource::Header(_)
            | PrincipalSource::Cookie(_) => None,
        })
        .collect();
    if hidden.is_empty() {
        return Cow::Borrowed(query);
    }
    let is_hidden = |pair: &&str| {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
        name.is_some_and(|name| hidden.contains(&&*name))
    };
    Cow::Owned(query.split('&').filter(|pair| !is_hidden(pair)).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::{Protocol, Scheme};
    use http::HeaderValue;
    use std::net::Ipv4Addr;

    fn ask(
        rules: &Principal,
        fields: &[(&str, &str)],
        query: &str,
        trusted: bool,
    ) -> Result<PrincipalId, Problem> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            );
        }
        let address = Ipv4Addr::LOCALHOST.into();
        let peer = Peer { address, trusted, scheme: Scheme::Http, protocol: Protocol::HTTP_11 };
        establish(rules, &Secret::new([1; 32]), &map, query, peer)
    }

    fn from(alternatives: Vec<Vec<PrincipalSource>>) -> Principal {
        Principal { from: PrincipalFrom::Alternatives(alternatives), ..all(Some(Anonymous::Refuse)) }
    }

    fn all(anonymous: Option<Anonymous>) -> Principal {
        Principal { from: PrincipalFrom::All, anonymous, schemes: Vec::new() }
    }

    #[test]
    fn credentials_are_told_from_other_fields() {
        let name = |name: &'static str| HeaderName::from_static(name);
        let rules = from(vec![vec![PrincipalSource::Header("x-user".into())], vec![PrincipalSource::ApiKey]]);
        for hidden in
            ["authorization", "proxy-authorization", "cookie", "x-api-key", "x_api_key", "x-user", "x_user"]
        {
            assert!(is_credential(&rules, &name(hidden)), "{hidden}");
        }
        for shown in ["idempotency-key", "x-users"] {
            assert!(!is_credential(&rules, &name(shown)), "{shown}");
        }
    }

    #[test]
    fn all_that_is_present_makes_the_principal_together() {
        let rules = all(None);
        let ids = [
            ask(&rules, &[], "", false),
            ask(&rules, &[("authorization", "Bearer a")], "", false),
            ask(&rules, &[("x-api-key", "Bearer a")], "", false),
            ask(&rules, &[("authorization", "Bearer a"), ("x-api-key", "b")], "", false),
        ]
        .map(|id| id.expect("a principal"));
        for (i, id) in ids.iter().enumerate() {
            assert!(!ids[i + 1..].contains(id), "{i}");
        }
    }

    #[test]
    fn ambiguous_and_untrusted_principals_are_refused() {
        let all = all(None);
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert!(ask(&all, &twice, "", false).is_err());
        assert!(ask(&all, &[("authorization", "AWS4-HMAC-SHA256 Credential=x")], "", false).is_err());
        assert!(ask(&all, &[("cookie", "session=1")], "", false).is_err());
        let proxied = from(vec![vec![PrincipalSource::Header("x-user".into())]]);
        for name in ["x-user", "x_user", "X_User"] {
            assert!(ask(&proxied, &[(name, "eve")], "", false).is_err(), "{name}");
        }
        assert!(ask(&proxied, &[("x-user", "eve")], "", true).is_ok());
        assert!(ask(&proxied, &[], "", true).is_err(), "anonymous callers are refused");
        let either =
            from(vec![vec![PrincipalSource::ApiKey], vec![PrincipalSource::Header("x-user".into())]]);
        assert!(
            ask(&either, &[("x-api-key", "a"), ("x-user", "eve")], "", false).is_err(),
            "also where it loses"
        );
        assert!(ask(&either, &[("x-api-key", "a"), ("x-user", "eve")], "", true).is_ok());
        let cookie = from(vec![vec![PrincipalSource::Cookie("s".into())]]);
        assert!(ask(&cookie, &[("cookie", "s=1; s=2")], "", false).is_err());
        assert!(ask(&cookie, &[("cookie", "ss=1; s=2")], "", false).is_ok());
        let switched_off = [("cookie", "s=1"), ("connection", "cookie")];
        assert!(ask(&cookie, &switched_off, "", false).is_err(), "the service would not see it");
    }

    #[test]
    fn a_value_without_content_is_nobodys() {
        let user = from(vec![vec![PrincipalSource::Header("x-user".into())]]);
        let cookie = from(vec![vec![PrincipalSource::Cookie("sid".into())]]);
        let query = from(vec![vec![PrincipalSource::Query("apikey".into())]]);
        let all = all(Some(Anonymous::Refuse));
        for (rules, name, value) in [
            (&all, "authorization", ""),
            (&all, "authorization", "  "),
            (&all, "authorization", "Bearer"),
            (&all, "authorization", "bearer  "),
            (&all, "authorization", "Bearer \"\""),
            (&all, "authorization", "Basic Og=="),
            (&all, "authorization", "ApiKey \t"),
            (&all, "x-api-key", ""),
            (&user, "x-user", " "),
            (&cookie, "cookie", "sid="),
            (&cookie, "cookie", "a=b; sid=\"\""),
            (&cookie, "cookie", "sid"),
        ] {
            assert!(ask(rules, &[(name, value)], "", true).is_err(), "{name}: {value}");
        }
        for text in ["apikey", "apikey=", "a=b&apikey=+", "apikey=%20"] {
            assert!(ask(&query, &[], text, true).is_err(), "{text}");
        }
        let both = [("authorization", "Bearer "), ("x-api-key", "a")];
        let one = ask(&all, &[("x-api-key", "a")], "", false).expect("a principal");
        assert_eq!(ask(&all, &both, "", false).expect("a principal"), one, "what is there counts alone");
    }

    #[test]
    fn only_schemes_that_stay_the_same_count() {
        let mut rules = all(Some(Anonymous::Refuse));
        let of = |rules: &Principal, value: &str| ask(rules, &[("authorization", value)], "", false);
        for value in [
            "AWS4-ECDSA-P256-SHA256 Credential=x",
            "EG1-HMAC-SHA256 client_token=x",
            "SharedKey account:x",
            "Negotiate YII=",
            "Signature keyId=x",
            "OAuth\tx",
            "Splunk x",
            "x",
        ] {
            assert!(of(&rules, value).is_err(), "{value}");
        }
        let bearer = of(&rules, "Bearer a").expect("a principal");
        for value in ["bearer a", "BEARER   a", "Bearer a "] {
            assert_eq!(of(&rules, value).expect("a principal"), bearer, "{value}");
        }
        assert_ne!(of(&rules, "Token a").expect("a principal"), bearer);
        assert_ne!(of(&rules, "Bearer A").expect("a principal"), bearer, "a token keeps its letters");
        rules.schemes = vec!["Splunk".into(), String::new()];
        assert_eq!(of(&rules, "splunk x").expect("listed"), of(&rules, "Splunk x").expect("listed"));
        assert!(of(&rules, "x").is_ok() && of(&rules, "Digest x").is_err());
        assert!(of(&rules, "Splunk").is_err(), "nothing stands after it");
    }

    #[test]
    fn a_credential_in_the_query_is_hidden() {
        let rules = from(vec![vec![PrincipalSource::Query("key".into())]]);
        assert!(ask(&rules, &[], "a=1&key=s", false).is_ok());
        assert_eq!(without_credentials(&rules, "a=1&k%65y=s&b=2"), "a=1&b=2");
    }
}
