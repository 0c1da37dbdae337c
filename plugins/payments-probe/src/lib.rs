//! A worked example of a policy that learns what became of a lost payment.
//!
//! The client's `Idempotency-Key` is the payment's reference: it goes to the service as
//! `X-Payment-Reference` and into the memo, which is all that is left when the request is gone. Where
//! nobody knows the outcome, `question` asks `GET /payments?reference=…`; the list names the payment,
//! `reading` asks for it by its id, and what the service says of it is the answer to replay.
//!
//! This file is the way from the interface of `policy.wit` to [`payment`], which knows the service
//! and not the interface.

mod payment;

use exports::oncegate::policy::{outcome, policy, resolution};
use oncegate::policy::types::*;
use payment::{Listed, Status};
use std::sync::OnceLock;

wit_bindgen::generate!({
    path: "../../wit/v0.1",
    inline: "
        package example:payments-probe;
        world payments-probe {
            include oncegate:policy/key-policy@0.1.0;
            export oncegate:policy/outcome@0.1.0;
            export oncegate:policy/resolution@0.1.0;
        }",
    world: "example:payments-probe/payments-probe",
    generate_all,
});

struct PaymentsProbe;

export!(PaymentsProbe);

/// Where the service lists its payments. Set by `configure`, which the host calls first.
static PAYMENTS: OnceLock<String> = OnceLock::new();

impl policy::Guest for PaymentsProbe {
    fn configure(settings: String) -> Result<Plan, String> {
        let payments = payment::path_of(&settings)?;
        PAYMENTS.set(payments).map_err(|_| "configure was called a second time")?;
        Ok(Plan {
            // Where questions go changes no key, so it is not in here.
            key_schema: "payments-probe/1".into(),
            methods: vec!["POST".into()],
            request_fields: vec!["idempotency-key".into()],
            request_payload: PayloadWant::Nothing,
            response_fields: vec![],
            response_payload: PayloadWant::Pointers(vec!["/status".into()]),
            outcomes: vec![],
            options: vec![],
        })
    }

    fn decide(operation: Operation) -> Result<Verdict, String> {
        let reference = match &operation.fields[..] {
            [] => return Ok(refuse("key-missing", "payments need an Idempotency-Key: it is their reference")),
            [one] => payment::reference(&one.value),
            [_, _, ..] => None,
        };
        let Some(reference) = reference else {
            return Ok(refuse("key-malformed", "one Idempotency-Key of 1 to 64 letters, digits, `-` or `_`"));
        };
        Ok(Verdict::Guard(guard(reference)))
    }
}

fn guard(reference: &str) -> Guard {
    Guard {
        key: vec![Part::Of(Attribute::Path), Part::Text(reference.into())],
        fingerprint: Fingerprint::Request,
        while_running: WhileRunning::RouteDefault,
        // Whatever the route says of others: these can be asked about.
        when_unknown: WhenUnknown::Probe,
        retention_seconds: None,
        tombstone_seconds: None,
        first_sent: None,
        forward: vec![field("x-payment-reference", reference)],
        memo: Some(reference.into()),
        labels: vec![],
        options: vec![],
    }
}

impl outcome::Guest for PaymentsProbe {
    /// The service answers 200 also where it lost its own way to the bank and says so in the body.
    fn settle(_: Receipt, reply: Reply) -> Result<Option<outcome::Settlement>, String> {
        let status = match &reply.payload {
            Payload::Selected(found) => match found.first() {
                Some(Found::Text(status)) => payment::status(status),
                _ => None,
            },
            _ => None,
        };
        let disposition = match status {
            Some(Status::Lost) => Disposition::Unknown,
            // Turned away before the bank was asked; of a cut answer that can't be told.
            Some(Status::Refused) if reply.complete => Disposition::NotApplied,
            _ => return Ok(None),
        };
        Ok(Some(outcome::Settlement { disposition, memo: None, retention_seconds: None }))
    }
}

impl resolution::Guest for PaymentsProbe {
    fn question(receipt: Receipt) -> Result<Option<Outbound>, String> {
        let reference = receipt.memo.ok_or("the record has no memo of ours")?;
        Ok(Some(get(payment::list(payments()?, &reference))))
    }

    fn reading(receipt: Receipt, asked: Outbound, answer: Reply) -> Result<resolution::Finding, String> {
        use resolution::Finding;
        let reference = receipt.memo.ok_or("the record has no memo of ours")?;
        let (200, Payload::Whole(body)) = (answer.status, &answer.payload) else {
            // An error of the service says nothing of the payment.
            return Ok(Finding::StillUnknown);
        };
        if asked.path == payment::list(payments()?, &reference) {
            return Ok(match payment::listed(body, &reference)? {
                Listed::None => Finding::DidNotHappen,
                Listed::One(id) => Finding::Ask(get(payment::one(payments()?, &id))),
                // Nobody can tell which is ours.
                Listed::Several => Finding::StillUnknown,
            });
        }
        Ok(match payment::status_of(body)? {
            Some(Status::Done) => Finding::Happened(Reply {
                // As the service answers a payment that it has just taken.
                status: 201,
                fields: vec![field("content-type", "application/json"), field("location", &asked.path)],
                trailers: vec![],
                payload: Payload::Whole(body.clone()),
                complete: true,
            }),
            Some(Status::Refused) => Finding::DidNotHappen,
            Some(Status::Pending | Status::Lost) | None => Finding::StillUnknown,
        })
    }
}

fn payments() -> Result<&'static str, String> {
    Ok(PAYMENTS.get().ok_or("a hook was called before configure")?)
}

fn get(path: String) -> Outbound {
    Outbound { method: "GET".into(), path, fields: vec![field("accept", "application/json")], body: None }
}

fn field(name: &str, value: &str) -> Field {
    Field { name: name.into(), value: value.into() }
}

fn refuse(code: &str, detail: &str) -> Verdict {
    Verdict::Refuse(Refusal { status: 400, code: code.into(), detail: detail.into(), fields: vec![] })
}
