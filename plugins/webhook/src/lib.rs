//! `builtin:webhook`: deliveries of webhooks, named by what each sender calls the id of a delivery.
//!
//! A receiver proves who sent a delivery by its signature, which this policy doesn't see. So nothing
//! that the service turns away may keep the id: any answer but a 2xx (and but 502 and 504, after which
//! nobody knows) frees it, and a forged delivery can't squat a real one's id. Senders disable an
//! endpoint that answers 4xx for long, and drop a message on some: what is under way or unknown is
//! answered 503, so that they come back, and what is done 2xx, so that they don't.

mod sender;

use oncegate_policy::*;
use sender::{Delivery, Id, SENDERS, Sender};

struct Webhook {
    senders: Vec<&'static Sender>,
    required: bool,
}

impl Policy for Webhook {
    fn configure(settings: &str) -> Result<(Self, Plan), String> {
        let mut settings = Settings::parse(settings)?;
        let senders = senders(settings.texts("senders")?)?;
        let required = settings.flag("required")?;
        settings.done()?;
        let names: Vec<&str> = senders.iter().map(|sender| sender.name).collect();
        let mut plan = Plan::new(format!("webhook/2 senders={}", names.join(",")));
        plan.request_fields = unique(senders.iter().flat_map(|sender| sender.reads()));
        let pointers = unique(senders.iter().flat_map(|sender| sender.reads_body()));
        if !pointers.is_empty() {
            plan.request_payload = PayloadWant::Pointers(pointers);
        }
        plan.outcomes = outcomes();
        Ok((Self { senders, required }, plan))
    }

    fn decide(&self, operation: &Operation) -> Result<Verdict, String> {
        let places = unique(self.senders.iter().flat_map(|sender| sender.reads_body()));
        let text = |wanted: &str| {
            let place = places.iter().position(|place| place == wanted)?;
            operation.text_at(place).map(str::to_owned)
        };
        let header = |name: &str| {
            let named = operation.fields.iter().filter(|field| field.name == name);
            named.map(|field| field.value.as_str()).collect()
        };
        let unread = operation.payload.unread();
        let delivery = Delivery { header: &header, text: &text, media_type: &operation.media_type(), unread };
        // No signature covers the fields of another sender: whoever adds them would name the delivery anew. What the
        // body says may be the one sender's way to write and the other's delivery: the operator knows.
        let announced = |own: &Sender| {
            self.senders.iter().find(|other| other.name != own.name && other.announced(&delivery))
        };
        for sender in &self.senders {
            return Ok(match (sender.id(&delivery), announced(sender)) {
                (Ok(None), _) => continue,
                (Ok(Some(_)), Some(other)) => refuse("key-malformed", of_two(sender, other)),
                (Ok(Some(id)), None) => guard(sender, id),
                (Err(why), _) => refuse("key-malformed", why),
            });
        }
        // A mark counts where no sender's id is there: several of them may sign in one way.
        if let Some(why) = self.senders.iter().find_map(|sender| sender.nameless(&delivery)) {
            return Ok(refuse("key-malformed", why));
        }
        Ok(match unread {
            Some(why) if self.required => {
                refuse("key-malformed", format!("the body can't be read for the delivery's id: {why}"))
            }
            None if self.required => {
                refuse("key-missing", "this endpoint takes deliveries of webhooks, which have an id")
            }
            _ => bypass("not a delivery of a sender that is named here"),
        })
    }
}

fn of_two(one: &Sender, other: &Sender) -> String {
    format!(
        "the delivery is named by two senders, {} and {}: send the id of one, or have the operator name the one whose \
         deliveries come here in `senders`",
        one.name, other.name
    )
}

fn senders(names: Option<Vec<String>>) -> Result<Vec<&'static Sender>, String> {
    let Some(names) = names else { return Ok(SENDERS.iter().collect()) };
    if names.is_empty() {
        return Err("`senders` names none".into());
    }
    let one = |name: &String| {
        let known: Vec<&str> = SENDERS.iter().map(|sender| sender.name).collect();
        let missing = || format!("`senders` names {name:?}; there are {}", known.join(", "));
        SENDERS.iter().find(|sender| sender.name == name).ok_or_else(missing)
    };
    names.iter().map(one).collect()
}

fn unique(names: impl Iterator<Item = &'static str>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        if !all.iter().any(|other| other == name) {
            all.push(name.into());
        }
    }
    all
}

/// The id names the delivery: some senders word it anew each time, with a count of the tries. One delivery may
/// go to several receivers, which host, path and query tell apart.
fn guard(sender: &Sender, id: Id) -> Verdict {
    let mut key = vec![authority(), path(), Part::Of(Attribute::Query), text(sender.name)];
    key.extend(id.into_iter().map(|part| part.map_or(Part::Missing, text)));
    // Whoever was turned away may have been another than those who wait.
    let options = vec![field("unvouched", "")];
    Guard { fingerprint: Fingerprint::KeyOnly, options, ..Guard::new(key) }.into()
}

fn outcomes() -> Vec<StatusRule> {
    let rule = |lowest, highest, disposition| StatusRule { lowest, highest, disposition };
    vec![
        rule(200, 299, Disposition::Completed),
        rule(502, 502, Disposition::Unknown),
        rule(504, 504, Disposition::Unknown),
        rule(300, 599, Disposition::NotApplied),
    ]
}

impl Presentation for Webhook {
    fn explain(&self, _: &Operation, problem: &Problem) -> Result<Option<Wording>, String> {
        let status = match problem.code.as_str() {
            "in-flight" | "outcome-unknown" => 503,
            "consumed" | "expired" => 200,
            _ => return Ok(None),
        };
        Ok(Some(Wording::new(status, "text/plain; charset=utf-8", problem.detail.as_str())))
    }
}

policy!(Webhook: Presentation);
