//! What a policy's `settle` leaves on the record (design/life.md, `policy.wit`): a note, and a shorter
//! retention.

use crate::guests::Guest;
use crate::policies::bad_components::put;
use crate::support::*;

/// `completed`, with a memo of five characters and a retention of a second.
const NOTES: &str = r"(i32.store8 offset=4 (i32.const 1024) (i32.const 1))
    (i32.store8 offset=8 (i32.const 1024) (i32.const 0))
    (i32.store8 offset=12 (i32.const 1024) (i32.const 1))
    (i32.store (i32.const 4096) (i32.const 0x65746f6e))
    (i32.store8 offset=4 (i32.const 4096) (i32.const 0x64))
    (i32.store offset=16 (i32.const 1024) (i32.const 4096))
    (i32.store offset=20 (i32.const 1024) (i32.const 5))
    (i32.store8 offset=24 (i32.const 1024) (i32.const 1))
    (i32.store offset=28 (i32.const 1024) (i32.const 1))
    i32.const 1024";

#[test]
fn a_policy_leaves_a_note_and_shortens_the_replay() {
    let upstream = Upstream::numbering();
    let setup = Setup::new(&upstream.url());
    let guest = Guest { settle: Some(NOTES.into()), ..Guest::default() };
    let gateway = setup.clone().component(put(&setup, "notes.wasm", &guest.component())).start();
    let first = gateway.send(&Request::keyed("/charges", "k"));
    first.assert_executed(201);
    let shown = gateway.admin("GET", &format!("/v1/operations/{}", first.operation()));
    assert_eq!(shown.json()["memo"], "noted", "{}", shown.text());
    // The route would replay it for a day.
    let expired = eventually("its retention ends", || {
        let reply = gateway.send(&Request::keyed("/charges", "k"));
        if reply.status == 201 {
            reply.assert_replay_of(&first);
            return None;
        }
        Some(reply)
    });
    expired.assert_problem(410, "expired");
    assert_eq!(upstream.count(), 1);
}
