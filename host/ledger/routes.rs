//! The ledger's memory of the routes, which decide where operations go. A record is found again only by a
//! request that meets the same policy and whose principal comes from the same source
//! (`design/key-changes.md`).

use oncegate_core::{Origin, Reach, host_of};
use serde::{Deserialize, Serialize};

/// All routes, the most specific one first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouteTable(Vec<RouteEntry>);

/// The parts of a route that decide the keys of its requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// The route's name.
    pub name: String,
    /// The route's host; `None`: any.
    pub host: Option<String>,
    /// The route's path, without a slash at the end.
    pub path: String,
    /// The route's methods; empty: all.
    pub methods: Vec<String>,
    /// The facts that make the route's keys; `None`: the route guards nothing.
    pub keys: Option<RouteKeys>,
}

/// The facts that make the keys of a route's requests, beside the policy's key space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteKeys {
    /// The policy's name.
    pub policy: String,
    /// The sources of principals, in words.
    pub principal: String,
    /// The policy sees the route's name, so that the name may be in its keys.
    pub by_name: bool,
}

impl RouteEntry {
    fn reach(&self) -> Reach<'_> {
        Reach { host: self.host.as_deref(), path: &self.path, methods: &self.methods }
    }

    /// Whether both routes take the same requests and make the same keys of them.
    fn is_like(&self, other: &Self) -> bool {
        self.reach() == other.reach() && self.makes_keys_of(other)
    }

    fn makes_keys_of(&self, other: &Self) -> bool {
        let by_name = |entry: &Self| entry.keys.as_ref().is_some_and(|keys| keys.by_name);
        let same = match (&self.keys, &other.keys) {
            (Some(own), Some(others)) => own.policy == others.policy && own.principal == others.principal,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same && (self.name == other.name || !(by_name(self) || by_name(other)))
    }
}

impl RouteTable {
    /// A table with these routes in order.
    pub fn new(routes: impl IntoIterator<Item = RouteEntry>) -> Self {
        let mut routes: Vec<_> = routes.into_iter().collect();
        routes.iter_mut().for_each(|route| route.methods.sort());
        routes.sort_by(|a, b| (a.reach().rank(), &a.name).cmp(&(b.reach().rank(), &b.name)));
        Self(routes)
    }

    /// Whether any request that is guarded by this table could get another key by `after`. If none could, no
    /// record need be looked at.
    pub fn may_lose_to(&self, after: &Self) -> bool {
        let added = || after.0.iter().filter(|new| !self.0.iter().any(|old| old.is_like(new)));
        self.0.iter().filter(|old| old.keys.is_some()).any(|old| {
            let stays = after.0.iter().any(|new| new.is_like(old));
            let takes_from = |new: &RouteEntry| {
                new.reach().meets(&old.reach())
                    && new.reach().rank() <= old.reach().rank()
                    && !new.makes_keys_of(old)
            };
            !stays || added().any(takes_from)
        })
    }

    /// How the operation of a record would get another key by `after`, in words. `None`: its key stays, or
    /// its policy already differs from this table's, which was accepted before.
    pub fn loss(&self, after: &Self, origin: &Origin) -> Option<String> {
        let old = self.find(origin)?;
        let keys = old.keys.as_ref().filter(|keys| keys.policy == *origin.policy)?;
        let (name, policy) = (&old.name, &keys.policy);
        let Some(new) = after.find(origin) else {
            return Some(format!("requests of route `{name}` (policy `{policy}`) would meet no route"));
        };
        let to = &new.name;
        let guards = new.keys.as_ref().filter(|_| new.reach().may_guard(&origin.method));
        let Some(others) = guards else {
            return Some(format!(
                "requests of route `{name}` (policy `{policy}`) would go unguarded, by route `{to}`"
            ));
        };
        if others.policy != *policy {
            let other = &others.policy;
            return Some(format!(
                "requests of route `{name}` would go from policy `{policy}` to policy `{other}`, by route `{to}`"
            ));
        }
        if others.principal != keys.principal {
            let (was, is) = (&keys.principal, &others.principal);
            return Some(format!("route `{to}` would take principals from {is}, and took them from {was}"));
        }
        (!new.makes_keys_of(old)).then(|| {
            format!("policy `{policy}` sees the name of the route, which would be `{to}` instead of `{name}`")
        })
    }

    /// A table with this policy for every request.
    #[cfg(test)]
    pub(super) fn all_to(policy: &str) -> Self {
        let keys = RouteKeys { policy: policy.into(), principal: "\"all\"".into(), by_name: false };
        let (name, path) = ("all".to_owned(), String::new());
        Self::new([RouteEntry { name, host: None, path, methods: Vec::new(), keys: Some(keys) }])
    }

    fn find(&self, origin: &Origin) -> Option<&RouteEntry> {
        let takes = |route: &&RouteEntry| {
            route.reach().takes(host_of(&origin.authority), &origin.path, &origin.method)
        };
        self.0.iter().find(takes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;
    use oncegate_core::PrincipalId;

    fn entry(name: &str, path: &str, policy: &str) -> RouteEntry {
        let keys = (!policy.is_empty()).then(|| RouteKeys {
            policy: policy.into(),
            principal: "\"all\"".into(),
            by_name: policy == "named",
        });
        RouteEntry { name: name.into(), host: None, path: path.into(), methods: Vec::new(), keys }
    }

    fn from(source: &str, entry: RouteEntry) -> RouteEntry {
        let keys = entry.keys.map(|keys| RouteKeys { principal: source.into(), ..keys });
        RouteEntry { keys, ..entry }
    }

    fn taking(methods: &[&str], entry: RouteEntry) -> RouteEntry {
        RouteEntry { methods: methods.iter().map(|&method| method.into()).collect(), ..entry }
    }

    fn at(host: &str, entry: RouteEntry) -> RouteEntry {
        RouteEntry { host: Some(host.into()), ..entry }
    }

    fn record(method: &str, path: &str, policy: &str) -> Origin {
        Origin {
            route: "whatever".into(),
            policy: policy.into(),
            key_schema: "s/1".into(),
            key_epoch: 0,
            normalisation: 1,
            method: method.into(),
            authority: "api.example:8080".into(),
            path: path.into(),
            principal: PrincipalId([7; 32]),
            first_sent: None,
        }
    }

    fn table(routes: &[RouteEntry]) -> RouteTable {
        RouteTable::new(routes.iter().cloned())
    }

    /// The loss of a record of `POST /v1/charges` by policy `pay`, which route `a` took at `/v1`.
    #[track_caller]
    fn becomes(after: &[RouteEntry], expected: Option<&str>) {
        let (before, after) = (table(&[entry("a", "/v1", "pay"), entry("rest", "", "")]), table(after));
        let loss = before.loss(&after, &record("POST", "/v1/charges", "pay"));
        match expected {
            Some(words) => {
                let loss = loss.unwrap();
                assert!(loss.contains(words), "{loss}");
                assert!(before.may_lose_to(&after), "a loss that would not be looked for");
            }
            None => assert_eq!(loss, None),
        }
    }

    #[test]
    fn a_live_record_is_lost_where_its_request_meets_other_keys() {
        let a = || entry("a", "/v1", "pay");
        becomes(&[], Some("no route"));
        becomes(&[entry("a", "/v2", "pay")], Some("no route"));
        becomes(&[entry("a", "/v1", "")], Some("unguarded"));
        becomes(&[entry("a", "/v1", "other")], Some("from policy `pay` to policy `other`, by route `a`"));
        becomes(&[a(), entry("b", "/v1/charges", "other")], Some("by route `b`"));
        becomes(&[a(), entry("b", "/v1/charges", "")], Some("unguarded, by route `b`"));
        becomes(&[a(), at("api.example", entry("b", "", "other"))], Some("by route `b`"));
        becomes(&[a(), taking(&["POST"], entry("b", "/v1", "other"))], Some("by route `b`"));
        becomes(&[taking(&["PUT"], a())], Some("no route"));
        becomes(&[from("authorization", a())], Some("from authorization, and took them from \"all\""));
        becomes(&[a(), from("cookie:sid", entry("b", "/v1/charges", "pay"))], Some("cookie:sid"));
    }

    #[test]
    fn what_makes_the_same_keys_loses_nothing() {
        let a = || entry("a", "/v1", "pay");
        becomes(&[entry("rest", "", "other"), a()], None);
        becomes(&[entry("renamed", "/v1", "pay")], None);
        becomes(&[entry("a", "", "pay")], None);
        becomes(&[a(), entry("b", "/v1/charges", "pay")], None);
        becomes(&[a(), entry("b", "/v1/refunds", "other")], None);
        becomes(&[a(), at("other.example", entry("b", "/v1", "other"))], None);
        becomes(&[a(), taking(&["GET", "DELETE"], entry("b", "/v1/charges", "other"))], None);
    }

    #[test]
    fn what_was_given_up_before_is_not_lost_again() {
        let before = table(&[entry("a", "/v1", "other")]);
        let after = table(&[entry("a", "/v1", "third")]);
        assert_eq!(before.loss(&after, &record("POST", "/v1/charges", "pay")), None);
        assert!(before.loss(&after, &record("POST", "/v1/charges", "other")).is_some());
    }

    #[test]
    fn a_get_is_lost_where_it_is_no_longer_named() {
        let before = table(&[taking(&["GET", "POST"], entry("a", "/v1", "pay"))]);
        let after = table(&[entry("a", "/v1", "pay")]);
        assert!(before.loss(&after, &record("GET", "/v1/charges", "pay")).unwrap().contains("unguarded"));
        assert_eq!(before.loss(&after, &record("POST", "/v1/charges", "pay")), None);
    }

    #[test]
    fn a_name_counts_where_the_policy_sees_it() {
        let (before, after) = (table(&[entry("a", "/v1", "named")]), table(&[entry("b", "/v1", "named")]));
        let loss = before.loss(&after, &record("POST", "/v1/charges", "named")).unwrap();
        assert!(before.may_lose_to(&after) && loss.contains("instead of `a`"), "{loss}");
    }

    #[test]
    fn routes_where_nothing_was_guarded_need_no_look_at_records() {
        let before = table(&[entry("a", "/v1", "pay"), entry("static", "/static", "")]);
        for after in [
            table(&[entry("static", "/static", "pay"), entry("a", "/v1", "pay")]),
            table(&[entry("a", "/v1", "pay")]),
            table(&[entry("a", "/v1", "pay"), entry("b", "/v2", "other"), entry("c", "", "other")]),
            table(&[entry("renamed", "/v1", "pay"), entry("static", "/static", "")]),
        ] {
            assert!(!before.may_lose_to(&after), "{after:?}");
        }
        assert_eq!(table(&[entry("a", "/v1", "pay"), entry("b", "", "")]), {
            table(&[entry("b", "", ""), entry("a", "/v1", "pay")])
        });
    }
}
