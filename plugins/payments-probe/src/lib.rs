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

use oncegate_policy::*;
use payment::{Listed, Status};

struct PaymentsProbe {
    /// Where the service lists its payments.
    payments: String,
}

impl Policy for PaymentsProbe {
    fn configure(settings: &str) -> Result<(Self, Plan), String> {
        let mut settings = Settings::parse(settings)?;
        let payments = payment::path_of(settings.text("payments")?)?;
        settings.done()?;
        // Where questions go changes no key, so it is not in the key-schema.
        let plan = Plan::new("payments-probe/1").reads(&["idempotency-key"]).reads_answers_body(&["/status"]);
        Ok((Self { payments }, Plan { methods: vec!["POST".into()], ..plan }))
    }

    fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
        let reference = match &operation.fields[..] {
            [] => {
                return Ok(refuse("key-missing", "payments need an Idempotency-Key: it is their reference"));
            }
            [one] => payment::reference(&one.value),
            [_, _, ..] => None,
        };
        let Some(reference) = reference else {
            return Ok(refuse("key-malformed", "one Idempotency-Key of 1 to 64 letters, digits, `-` or `_`"));
        };
        let guard = Guard {
            // Whatever the route says of others: these can be asked about.
            when_unknown: WhenUnknown::Probe,
            forward: vec![field("x-payment-reference", reference)],
            memo: Some(reference.into()),
            ..Guard::new([path(), text(reference)])
        };
        Ok(guard.into())
    }
}

impl Outcome for PaymentsProbe {
    /// The service answers 200 also where it lost its own way to the bank and says so in the body.
    fn settle(&self, _: &Receipt, reply: &Reply) -> Result<Option<Settlement>, String> {
        Ok(match reply.payload.text_at(0).and_then(payment::status) {
            Some(Status::Lost) => Some(Disposition::Unknown.into()),
            // Turned away before the bank was asked; of a cut answer that can't be told.
            Some(Status::Refused) if reply.complete => Some(Disposition::NotApplied.into()),
            _ => None,
        })
    }
}

impl Resolution for PaymentsProbe {
    fn question(&self, receipt: &Receipt) -> Result<Option<Outbound>, String> {
        Ok(Some(get(payment::list(&self.payments, reference(receipt)?))))
    }

    fn reading(&self, receipt: &Receipt, asked: &Outbound, answer: &Reply) -> Result<Finding, String> {
        let (200, Some(body)) = (answer.status, answer.payload.whole()) else {
            // An error of the service says nothing of the payment.
            return Ok(Finding::StillUnknown);
        };
        let reference = reference(receipt)?;
        if asked.path == payment::list(&self.payments, reference) {
            return Ok(match payment::listed(body, reference)? {
                Listed::None => Finding::DidNotHappen,
                Listed::One(id) => Finding::Ask(get(payment::one(&self.payments, &id))),
                // Nobody can tell which is ours.
                Listed::Several => Finding::StillUnknown,
            });
        }
        Ok(match payment::status_of(body)? {
            Some(Status::Done) => {
                let fields =
                    vec![field("content-type", "application/json"), field("location", asked.path.as_str())];
                // As the service answers a payment that it has just taken.
                Finding::Happened(Reply::new(201, fields, body))
            }
            Some(Status::Refused) => Finding::DidNotHappen,
            Some(Status::Pending | Status::Lost) | None => Finding::StillUnknown,
        })
    }
}

fn reference(receipt: &Receipt) -> Result<&str, String> {
    Ok(receipt.memo.as_deref().ok_or("the record has no memo of ours")?)
}

fn get(path: String) -> Outbound {
    Outbound::get(path).with("accept", "application/json")
}

policy!(PaymentsProbe: Outcome + Resolution);
