//! Requests that a service may read as others: by a field that stands for the method or the path (`design/edge.md`).

use crate::answer::problem::{Code, Problem};
use crate::request::fields::are_twins;
use crate::request::head::{RequestHead, in_form, normal_authority};
use crate::request::route::RoutingTable;
use http::{HeaderMap, HeaderValue, Method, Uri};
use oncegate_core::normal::{self, PathRules};
use std::borrow::Cow;

/// A part of a request that a field may stand for.
#[derive(Clone, Copy, Debug)]
enum RequestPart {
    Method,
    Path,
}

/// A field that many services read in place of a part of the request.
#[derive(Debug)]
struct StandIn {
    name: &'static str,
    part: RequestPart,
    /// Why a request with it is refused, for the log.
    cause: &'static str,
}

const METHOD: RequestPart = RequestPart::Method;
const PATH: RequestPart = RequestPart::Path;
/// All of them begin with an x.
const STAND_INS: [StandIn; 5] = [
    StandIn {
        name: "x-http-method-override",
        part: METHOD,
        cause: "its `X-HTTP-Method-Override` names another method",
    },
    StandIn { name: "x-http-method", part: METHOD, cause: "its `X-HTTP-Method` names another method" },
    StandIn {
        name: "x-method-override",
        part: METHOD,
        cause: "its `X-Method-Override` names another method",
    },
    StandIn { name: "x-original-url", part: PATH, cause: "its `X-Original-URL` names another path" },
    StandIn { name: "x-rewrite-url", part: PATH, cause: "its `X-Rewrite-URL` names another path" },
];

/// What the fields of a request say of one part, where that is not what the request itself says.
#[derive(Debug)]
enum Other<T> {
    None,
    One(T),
    /// It can't be read, or they say several things.
    Unclear,
}

impl<T: PartialEq> Other<T> {
    /// Takes in what a field says; none: it can't be read.
    fn take(&mut self, said: Option<T>) {
        *self = match (std::mem::replace(self, Self::Unclear), said) {
            (Self::None, Some(said)) => Self::One(said),
            (Self::One(before), Some(said)) if before == said => Self::One(said),
            _ => Self::Unclear,
        };
    }

    fn one(&self) -> Option<&T> {
        match self {
            Self::One(said) => Some(said),
            Self::None | Self::Unclear => None,
        }
    }
}

/// Refuses a request that a service may read as another one by such a field, if a route guards either. `head`: in normal
/// form.
pub fn refuse_second(
    fields: &HeaderMap,
    head: &RequestHead,
    rules: PathRules,
    routes: &RoutingTable,
) -> Result<(), Problem> {
    // Nearly every request has none, and this is asked of each field of each request.
    let stand_in = |name: &str| STAND_INS.iter().find(|stand_in| are_twins(stand_in.name, name));
    let fields = fields.iter().filter(|(name, _)| name.as_str().starts_with('x'));
    let mut found = fields.filter_map(|(name, value)| Some((stand_in(name.as_str())?, value))).peekable();
    match found.peek() {
        Some(_) => compare(found, head, rules, routes),
        None => Ok(()),
    }
}

fn compare<'a>(
    found: impl Iterator<Item = (&'static StandIn, &'a HeaderValue)>,
    head: &RequestHead,
    rules: PathRules,
    routes: &RoutingTable,
) -> Result<(), Problem> {
    let (mut method, mut path, mut first) = (Other::None, Other::None, None);
    for (stand_in, value) in found {
        let is_own = match stand_in.part {
            RequestPart::Method => {
                let said = method_in(value);
                let is_own = said.as_ref() == Some(&head.method);
                if !is_own {
                    method.take(said);
                }
                is_own
            }
            RequestPart::Path => {
                let said = path_in(value, head, rules);
                // A proxy may have decoded what needs no escape.
                let is_own = said.as_ref().is_some_and(|path| {
                    **path == *head.path || normal::needed_escapes(path) == normal::needed_escapes(&head.path)
                });
                if !is_own {
                    path.take(said);
                }
                is_own
            }
        };
        if !is_own {
            first.get_or_insert(stand_in);
        }
    }
    let Some(first) = first else { return Ok(()) };
    let is_guarded = match (&method, &path) {
        (Other::Unclear, _) | (_, Other::Unclear) => routes.guards(head.host()),
        (method, path) => {
            let methods = [Some(&head.method), method.one()];
            // A service may decode what needs no escape before it looks.
            let plain = path.one().map(|path| normal::needed_escapes(path));
            let paths = [Some(&*head.path), path.one().map(String::as_str), plain.as_deref()];
            let guards =
                |method| paths.iter().flatten().any(|path| routes.may_guard(head.host(), path, method));
            methods.into_iter().flatten().any(guards)
        }
    };
    if is_guarded { Err(refusal(first)) } else { Ok(()) }
}

fn refusal(StandIn { name, part, cause }: &StandIn) -> Problem {
    let part = match part {
        RequestPart::Method => "method",
        RequestPart::Path => "path",
    };
    Problem::new(
        Code::BadRequest,
        format!(
            "Many services take the {part} of a request from `{name}`, which names another one than the request does: send \
             the request that is meant, without this field."
        ),
    )
    .because(cause)
}

/// The method that a field names, in capitals, as services take it.
fn method_in(value: &HeaderValue) -> Option<Method> {
    Method::from_bytes(&value.as_bytes().trim_ascii().to_ascii_uppercase()).ok()
}

/// The path that a field names, in one form. None: it can't be read, or names another query, or another path of another
/// host. Of the same path a proxy in front may have changed the host.
fn path_in(value: &HeaderValue, head: &RequestHead, rules: PathRules) -> Option<String> {
    let target: Uri = value.to_str().ok()?.trim().parse().ok()?;
    let authority = target.authority().map(|authority| normal_authority(authority.as_str(), &target));
    let is_here = authority.is_none_or(|authority| authority.as_deref() == Some(&*head.authority));
    let is_query = target.query().is_none_or(|query| query == head.query);
    // Without a path it is a host alone, as CONNECT has it.
    let is_path = target.authority().is_none() || target.scheme().is_some();
    let path = if target.path().is_empty() { "/" } else { target.path() };
    let path = (is_query && is_path).then(|| in_form(path, rules))?;
    path.ok().map(Cow::into_owned).filter(|path| is_here || **path == *head.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str) -> RequestHead {
        let request = http::Request::post(target).header("host", "api.example").body(()).expect("a request");
        let (parts, ()) = request.into_parts();
        RequestHead::read(&parts, crate::edge::Protocol::HTTP_11, 1 << 16).expect("it is read")
    }

    fn said(value: &'static str, rules: PathRules) -> Option<String> {
        path_in(&HeaderValue::from_static(value), &head("/v1/charges?a=1"), rules)
    }

    #[test]
    fn a_path_in_a_field_has_one_form() {
        let own = Some("/v1/charges".to_owned());
        for value in [
            "/v1/charges",
            " /v1/%63harges ",
            "/v1/charges?a=1",
            "http://api.example/v1/charges",
            "http://API.example:80/v1/charges?a=1",
            "http://b.example/v1/charges",
            "https://api.example:80/v1/charges",
        ] {
            assert_eq!(said(value, PathRules::Strict), own, "{value}");
        }
        for value in [
            "",
            "v1/charges",
            "/v1/charges?a=2",
            "/v1/charges?",
            "/v1//charges",
            "http://b.example/v1/refunds",
            "/v1/charges, /v1/charges",
            "/v1/char ges",
            "/v1/%zz",
        ] {
            assert_eq!(said(value, PathRules::Strict), None, "{value}");
        }
        assert_eq!(said("/v1//x/../charges", PathRules::Merge), own);
        assert_eq!(said("/v1//charges", PathRules::AsReceived).as_deref(), Some("/v1//charges"));
        assert_eq!(said("http://api.example", PathRules::Strict).as_deref(), Some("/"));
    }

    #[test]
    fn two_that_say_the_same_are_one() {
        let of = |all: &[Option<u8>]| {
            let mut other = Other::None;
            all.iter().for_each(|said| other.take(*said));
            other
        };
        assert!(matches!(of(&[]), Other::None));
        assert!(matches!(of(&[Some(1)]), Other::One(1)));
        assert!(matches!(of(&[Some(1), Some(1)]), Other::One(1)));
        for unclear in [
            &[None][..],
            &[Some(1), Some(2)],
            &[Some(1), None],
            &[None, Some(1)],
            &[Some(1), Some(2), Some(1)],
        ] {
            assert!(matches!(of(unclear), Other::Unclear), "{unclear:?}");
        }
    }
}
