//! The smallest useful policy: the operation is named by `x-request-id`.

use oncegate_policy::*;

struct HeaderKey;

impl Policy for HeaderKey {
    fn configure(_settings: &str) -> Result<(Self, Plan), String> {
        Ok((Self, Plan::new("header-key/1").reads(&["x-request-id"])))
    }

    fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
        let mut key = vec![method(), path()];
        for id in operation.values("x-request-id") {
            if !id.is_empty() {
                key.push(text(id));
            }
        }
        Ok(if key.len() > 2 { Guard::new(key).into() } else { refuse("key-missing", MISSING) })
    }
}

const MISSING: &str = if cfg!(feature = "v2") {
    "this service runs each x-request-id once (v2 speaking): send one"
} else {
    "this service runs each x-request-id once: send one"
};

policy!(HeaderKey);
