//! Which requests a route takes, and which of two routes takes them first.

/// The requests of a route: the most specific one wins by host, then path, then methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach<'a> {
    /// Host name in lower case without port; `None`: any.
    pub host: Option<&'a str>,
    /// Path prefix on segment borders, without a slash at the end.
    pub path: &'a str,
    /// Methods; empty: all.
    pub methods: &'a [String],
}

impl Reach<'_> {
    /// Whether the route takes a request. `host`: in lower case, without a port.
    pub fn takes(&self, host: &str, path: &str, method: &str) -> bool {
        self.host.is_none_or(|own| own == host)
            && is_prefix(self.path, path)
            && (self.methods.is_empty() || self.names(method))
    }

    /// Whether the route takes a request that names no host.
    pub fn takes_hostless(&self, path: &str, method: &str) -> bool {
        Self { host: None, ..*self }.takes("", path, method)
    }

    /// The route's place in the order of routes: the lowest that takes a request wins.
    pub fn rank(&self) -> (bool, usize, bool) {
        (self.host.is_none(), usize::MAX - self.path.len(), self.methods.is_empty())
    }

    /// Whether a policy could guard requests with this method here. HEAD, OPTIONS and TRACE are never
    /// guarded, GET only where the route names it.
    pub fn may_guard(&self, method: &str) -> bool {
        match method {
            "HEAD" | "OPTIONS" | "TRACE" | "CONNECT" => false,
            "GET" => self.names(method),
            _ => true,
        }
    }

    /// Whether there are requests that both routes take.
    pub fn meets(&self, other: &Self) -> bool {
        let hosts = self.host.is_none() || other.host.is_none() || self.host == other.host;
        let paths = is_prefix(self.path, other.path) || is_prefix(other.path, self.path);
        let all = self.methods.is_empty() || other.methods.is_empty();
        hosts && paths && (all || self.methods.iter().any(|method| other.names(method)))
    }

    fn names(&self, method: &str) -> bool {
        self.methods.iter().any(|own| own == method)
    }
}

/// The host name of an authority, without its port.
pub fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Whether `prefix` (without a slash at its end) is a prefix of `path` on a segment border. `*`, which asks about the
/// server as a whole, is for who has all of it.
fn is_prefix(prefix: &str, path: &str) -> bool {
    let is_border = |rest: &str| rest.is_empty() || rest.starts_with('/');
    path.strip_prefix(prefix).is_some_and(is_border) || (prefix.is_empty() && path == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_on_a_segment_border() {
        for (prefix, path, expected) in [
            ("", "/", true),
            ("", "/a/b", true),
            ("/v1", "/v1", true),
            ("/v1", "/v1/x", true),
            ("/v1", "/v10", false),
            ("/v1", "/v", false),
            ("", "*", true),
            ("/v1", "*", false),
        ] {
            assert_eq!(is_prefix(prefix, path), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn routes_that_share_a_request_meet() {
        let post = ["POST".to_owned()];
        let put = ["PUT".to_owned()];
        let reach = |host, path, methods| Reach { host, path, methods };
        let charges = reach(None, "/v1/charges", &post[..]);
        for (other, expected) in [
            (reach(None, "", &[]), true),
            (reach(Some("a.example"), "/v1/charges/x", &post[..]), true),
            (reach(None, "/v1/charge", &[]), false),
            (reach(None, "/v1", &put[..]), false),
        ] {
            assert_eq!(charges.meets(&other), expected, "{other:?}");
            assert_eq!(other.meets(&charges), expected, "{other:?}");
        }
        assert!(!reach(Some("a"), "", &[]).meets(&reach(Some("b"), "", &[])));
    }

    #[test]
    fn a_get_is_guarded_only_where_named() {
        let get = ["GET".to_owned()];
        let reach = |methods| Reach { host: None, path: "", methods };
        assert!(reach(&get[..]).may_guard("GET"));
        assert!(!reach(&[]).may_guard("GET"));
        assert!(reach(&[]).may_guard("PUT"));
        assert!(!reach(&[]).may_guard("HEAD"));
    }
}
