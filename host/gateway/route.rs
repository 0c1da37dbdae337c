//! Which route a request takes: the most specific one by host, then path, then method.

use crate::config;
use crate::metrics::RouteMetrics;
use crate::policy::Generation;
use http::Method;
use std::sync::Arc;

/// A route with everything that serving it needs.
#[derive(Debug)]
pub struct Route {
    /// Its configuration.
    pub config: Arc<config::Route>,
    /// Its upstream.
    pub upstream: Arc<config::Upstream>,
    /// The active generation of its policy; none: plain proxying.
    pub generation: Option<Arc<Generation>>,
    /// Its counters.
    pub metrics: RouteMetrics,
}

impl Route {
    /// The policy that judges this method here, if one does.
    pub fn judge(&self, method: &Method) -> Option<&Arc<Generation>> {
        let generation = self.generation.as_ref()?;
        let plan = generation.plan();
        let planned = |method: &Method| plan.methods.iter().any(|planned| planned == method.as_str());
        let judged = match *method {
            Method::HEAD | Method::OPTIONS | Method::TRACE | Method::CONNECT => false,
            Method::GET => planned(method) && self.config.methods.iter().any(|named| named == "GET"),
            _ => plan.methods.is_empty() || planned(method),
        };
        judged.then_some(generation)
    }

    fn matches(&self, host: &str, path: &str, method: &Method) -> bool {
        let config = &self.config;
        config.host.as_deref().is_none_or(|own| own == host)
            && is_prefix(&config.path, path)
            && (config.methods.is_empty() || config.methods.iter().any(|own| own == method.as_str()))
    }
}

/// Whether `prefix` (without a slash at its end) is a prefix of `path` on a segment border.
fn is_prefix(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// All routes, the most specific one first.
#[derive(Debug)]
pub struct Router(Vec<Arc<Route>>);

impl Router {
    /// Puts the routes in order.
    pub fn new(mut routes: Vec<Arc<Route>>) -> Self {
        routes.sort_by_key(|route| {
            let config = &route.config;
            (config.host.is_none(), usize::MAX - config.path.len(), config.methods.is_empty())
        });
        Self(routes)
    }

    /// The route of a request. `host`: in lower case, without a port.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Option<&Arc<Route>> {
        self.0.iter().find(|route| route.matches(host, path, method))
    }

    /// The route with this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Route>> {
        self.0.iter().find(|route| *route.config.name == *name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::is_prefix;

    #[test]
    fn a_prefix_ends_on_a_segment_border() {
        for (prefix, path, expected) in [
            ("", "/", true),
            ("", "/a/b", true),
            ("/v1", "/v1", true),
            ("/v1", "/v1/x", true),
            ("/v1", "/v10", false),
            ("/v1", "/v", false),
        ] {
            assert_eq!(is_prefix(prefix, path), expected, "{prefix} {path}");
        }
    }
}
