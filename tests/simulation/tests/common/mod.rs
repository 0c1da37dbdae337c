//! What the tests of leases and of threads ask for.

use oncegate_core::{Origin, PrincipalId};

pub fn origin() -> Origin {
    Origin {
        route: "charges".into(),
        policy: "payments".into(),
        key_schema: "test/1".into(),
        key_epoch: 0,
        normalisation: 1,
        method: "POST".into(),
        authority: "api.example.com".into(),
        path: "/v1/charges".into(),
        principal: PrincipalId([0; 32]),
        first_sent: None,
    }
}
