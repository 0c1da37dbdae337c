//! The principal of a request. The gateway establishes the principal from credentials and trusted fields; a
//! policy has no say in it (`design/principal.md`).

use crate::answer::problem::{Code, Problem};
use crate::answer::refusals::switched_off;
use crate::edge::Peer;
use crate::request::fields::names_in_connection;
use http::header::{self, HeaderMap, HeaderName};
use oncegate_config::{Anonymous, Principal, PrincipalFrom, PrincipalSource};
use oncegate_core::{Framer, PartKind, PrincipalId, Secret};
use std::borrow::Cow;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const ALL: [PrincipalSource; 2] = [PrincipalSource::Authorization, PrincipalSource::ApiKey];

/// Schemes whose credentials are made anew for each request. Such a credential as a principal would separate
/// every retry from its operation.
const PER_REQUEST_SCHEMES: [&str; 7] =
    ["aws4-hmac-sha256", "digest", "oauth", "signature", "hawk", "dpop", "aws"];

/// Establishes the principal of a request.
pub fn establish(
    rules: &Principal,
    secret: &Secret,
    fields: &HeaderMap,
    query: &str,
    peer: Peer,
) -> Result<PrincipalId, Problem> {
    let mut framer = Framer::principal(secret);
    let found = match &rules.from {
        PrincipalFrom::All => {
            let mut found = false;
            for source in &ALL {
                if let Some(value) = value(source, fields, query)? {
                    add(&mut framer, source, &value);
                    found = true;
                }
            }
            found
        }
        PrincipalFrom::Alternatives(alternatives) => {
            if !peer.trusted {
                refuse_claims(alternatives, fields)?;
            }
            first_present(alternatives, &mut framer, fields, query)?
        }
    };
    if !found {
        admit_anonymous(rules, fields)?;
    }
    Ok(framer.into_principal())
}

/// Refuses a field that names the principal and does not come from a trusted proxy. The field is refused even
/// if another alternative would win, because the service behind the gateway believes the field, too.
fn refuse_claims(alternatives: &[Vec<PrincipalSource>], fields: &HeaderMap) -> Result<(), Problem> {
    for source in alternatives.iter().flatten() {
        if let PrincipalSource::Header(name) = source
            && fields.contains_key(name)
        {
            return Err(invalid(format!(
                "The field `{name}` says who asks and is taken from trusted proxies only; this peer is none."
            )));
        }
    }
    Ok(())
}

fn first_present(
    alternatives: &[Vec<PrincipalSource>],
    framer: &mut Framer,
    fields: &HeaderMap,
    query: &str,
) -> Result<bool, Problem> {
    for sources in alternatives {
        let mut values = Vec::with_capacity(sources.len());
        for source in sources {
            values.push(value(source, fields, query)?);
        }
        if values.iter().all(Option::is_some) {
            for (source, value) in sources.iter().zip(values.iter().flatten()) {
                add(framer, source, value);
            }
            return Ok(true);
        }
    }
    Ok(false)
}

fn add(framer: &mut Framer, source: &PrincipalSource, value: &[u8]) {
    framer.part(PartKind::SourceName, source.to_string().as_bytes());
    framer.part(PartKind::SourceValue, value);
}

fn admit_anonymous(rules: &Principal, fields: &HeaderMap) -> Result<(), Problem> {
    match rules.anonymous {
        Some(Anonymous::Share) => Ok(()),
        Some(Anonymous::Refuse) => Err(invalid(
            "The request carries no credential that says who asks, and callers without one are turned away here.",
        )),
        None if fields.contains_key(header::COOKIE) => Err(invalid(
            "The request carries a cookie and no other credential, and the gateway was not told who asks: \
             set `principal.from` to the cookie's name (\"cookie:NAME\"), or `principal.anonymous` to \"share\" \
             if all callers are one party.",
        )),
        None => Ok(()),
    }
}

/// The value of a source, if it is present. A present value that can't be taken is an error.
fn value<'a>(
    source: &PrincipalSource,
    fields: &'a HeaderMap,
    query: &'a str,
) -> Result<Option<Cow<'a, [u8]>>, Problem> {
    let stays_on = |name: &HeaderName| match names_in_connection(fields, name.as_str()) {
        true => Err(switched_off(name.as_str())),
        false => Ok(()),
    };
    let header = |name: &HeaderName| -> Result<Option<&'a [u8]>, Problem> {
        stays_on(name)?;
        let mut values = fields.get_all(name).into_iter();
        let first = values.next();
        match values.next() {
            Some(_) => {
                Err(invalid(format!("The field `{name}` says who asks and stands there more than once.")))
            }
            None => Ok(first.map(|value| value.as_bytes())),
        }
    };
    let value = match source {
        PrincipalSource::Authorization => match header(&header::AUTHORIZATION)? {
            Some(value) => {
                check_scheme(value)?;
                Some(Cow::Borrowed(value))
            }
            None => None,
        },
        PrincipalSource::ApiKey => header(&API_KEY)?.map(Cow::Borrowed),
        PrincipalSource::Header(name) => {
            let name: HeaderName =
                name.parse().map_err(|_| invalid("A principal's field has an impossible name."))?;
            header(&name)?.map(Cow::Borrowed)
        }
        PrincipalSource::Query(name) => {
            let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(own, _)| own == name.as_str());
            let first = values.next();
            if values.next().is_some() {
                return Err(invalid(format!(
                    "The query's `{name}` says who asks and stands there more than once."
                )));
            }
            first.map(|(_, value)| Cow::Owned(value.into_owned().into_bytes()))
        }
        PrincipalSource::Cookie(name) => {
            stays_on(&header::COOKIE)?;
            cookie(fields, name)?.map(Cow::Borrowed)
        }
    };
    Ok(value)
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
                return Err(invalid(format!(
                    "The cookie `{name}` says who asks and stands there more than once."
                )));
            }
        }
    }
    Ok(found)
}

fn check_scheme(authorization: &[u8]) -> Result<(), Problem> {
    let scheme = authorization.split(|byte| *byte == b' ').next().unwrap_or_default();
    match PER_REQUEST_SCHEMES.iter().find(|known| scheme.eq_ignore_ascii_case(known.as_bytes())) {
        None => Ok(()),
        Some(scheme) => Err(invalid(format!(
            "Credentials of the scheme `{scheme}` differ on every request, so that a retry could not be told to be \
             one: set `principal.from` to something that stays the same, such as an API key or a field set by a \
             trusted proxy."
        ))),
    }
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Code::PrincipalInvalid, detail)
}

/// Whether a field is a credential or, by these rules, names the principal.
pub fn is_credential(rules: &Principal, name: &HeaderName) -> bool {
    let always = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, API_KEY];
    let named =
        |source: &PrincipalSource| matches!(source, PrincipalSource::Header(own) if *own == name.as_str());
    always.contains(name)
        || match &rules.from {
            PrincipalFrom::All => false,
            PrincipalFrom::Alternatives(alternatives) => alternatives.iter().flatten().any(named),
        }
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
        Principal { from: PrincipalFrom::Alternatives(alternatives), anonymous: Some(Anonymous::Refuse) }
    }

    #[test]
    fn credentials_are_told_from_other_fields() {
        let name = |name: &'static str| HeaderName::from_static(name);
        let rules = from(vec![vec![PrincipalSource::Header("x-user".into())], vec![PrincipalSource::ApiKey]]);
        for hidden in ["authorization", "proxy-authorization", "cookie", "x-api-key", "x-user"] {
            assert!(is_credential(&rules, &name(hidden)), "{hidden}");
        }
        for shown in ["idempotency-key", "x-users"] {
            assert!(!is_credential(&rules, &name(shown)), "{shown}");
        }
    }

    #[test]
    fn all_that_is_present_makes_the_principal_together() {
        let rules = Principal { from: PrincipalFrom::All, anonymous: None };
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
        let all = Principal { from: PrincipalFrom::All, anonymous: None };
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert!(ask(&all, &twice, "", false).is_err());
        assert!(ask(&all, &[("authorization", "AWS4-HMAC-SHA256 Credential=x")], "", false).is_err());
        assert!(ask(&all, &[("cookie", "session=1")], "", false).is_err());
        let proxied = from(vec![vec![PrincipalSource::Header("x-user".into())]]);
        assert!(ask(&proxied, &[("x-user", "eve")], "", false).is_err());
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
    fn a_credential_in_the_query_is_hidden() {
        let rules = from(vec![vec![PrincipalSource::Query("key".into())]]);
        assert!(ask(&rules, &[], "a=1&key=s", false).is_ok());
        assert_eq!(without_credentials(&rules, "a=1&k%65y=s&b=2"), "a=1&b=2");
    }
}
