//! Senders of webhooks, and what each calls the id of a delivery: the same in each attempt to deliver
//! it. Knows neither the interface nor the operator.

/// A sender, or a format that several send.
#[derive(Debug)]
pub struct Sender {
    /// Its name in the settings, and in keys.
    pub name: &'static str,
    /// Headers that name a delivery together.
    headers: &'static [&'static str],
    /// Other names of these headers, one by one, that the sender uses as well.
    aliases: &'static [&'static str],
    /// True if an id that is a GUID is one in capitals and in small letters.
    guid: bool,
    /// Headers that come with these. If one of them is there, the headers that name the delivery must be.
    companions: &'static [&'static str],
    /// Headers that tell the receivers of one delivery apart; part of the id, if they are there.
    receivers: &'static [&'static str],
    /// The places in the body that name a delivery together, if the headers don't.
    places: &'static [&'static str],
    /// A request is this sender's if it has one of these marks. No mark: the places are the mark.
    marks: &'static [Mark],
}

#[derive(Debug)]
enum Mark {
    /// A header of this name.
    Header(&'static str),
    /// A header of this name, which other senders use as well.
    Shared(&'static str),
    /// A media type that begins so.
    Type(&'static str),
    /// A text at each of these places of the body.
    Texts(&'static [&'static str]),
}

/// What is there of a request.
pub struct Delivery<'a> {
    /// The values of a header.
    pub header: &'a dyn Fn(&str) -> Vec<&'a str>,
    /// The text at a place of the body.
    pub text: &'a dyn Fn(&str) -> Option<String>,
    /// The body's media type, in lower case.
    pub media_type: &'a str,
    /// Why the body can't be read, if it can't.
    pub unread: Option<&'a str>,
}

/// The id of a delivery, part by part; `None` stands for a receiver's header that isn't there.
pub type Id = Vec<Option<String>>;

const NONE: Sender = Sender {
    name: "",
    headers: &[],
    aliases: &[],
    guid: false,
    companions: &[],
    receivers: &[],
    places: &[],
    marks: &[],
};

/// In the order in which they are looked for: those with a header of their own first.
pub const SENDERS: [Sender; 7] = [
    // https://www.standardwebhooks.com: `webhook-id` is the same in each attempt. Svix calls it by its own name.
    Sender {
        name: "standard",
        headers: &["webhook-id"],
        aliases: &["svix-id"],
        marks: &[
            Mark::Header("webhook-timestamp"),
            Mark::Header("webhook-signature"),
            Mark::Header("svix-timestamp"),
            Mark::Header("svix-signature"),
        ],
        ..NONE
    },
    // https://docs.github.com/webhooks: a redelivery has the delivery's GUID. Hooks of a repository and of its
    // organisation may deliver to one place; some who imitate GitHub name no hook.
    Sender {
        name: "github",
        headers: &["x-github-delivery"],
        guid: true,
        receivers: &["x-github-hook-id"],
        marks: &[
            Mark::Header("x-github-event"),
            Mark::Header("x-github-hook-id"),
            Mark::Shared("x-hub-signature"),
            Mark::Shared("x-hub-signature-256"),
        ],
        ..NONE
    },
    // https://shopify.dev: `X-Shopify-Webhook-Id` names the delivery, of one shop.
    Sender {
        name: "shopify",
        headers: &["x-shopify-webhook-id", "x-shopify-shop-domain"],
        guid: true,
        marks: &[
            Mark::Header("x-shopify-topic"),
            Mark::Header("x-shopify-hmac-sha256"),
            Mark::Header("x-shopify-event-id"),
        ],
        ..NONE
    },
    // Amazon SNS over HTTP: the message's id, of one topic, to one subscription.
    Sender {
        name: "sns",
        headers: &["x-amz-sns-message-id", "x-amz-sns-topic-arn"],
        guid: true,
        receivers: &["x-amz-sns-subscription-arn"],
        marks: &[
            Mark::Header("x-amz-sns-message-type"),
            Mark::Header("x-amz-sns-subscription-arn"),
            Mark::Header("x-amz-sns-rawdelivery"),
        ],
        ..NONE
    },
    // CloudEvents 1.0: source and id together are unique; in headers, or in a document that says what it is.
    // Amazon EventBridge names its events by the same members.
    Sender {
        name: "cloudevents",
        headers: &["ce-id", "ce-source"],
        companions: &["ce-specversion", "ce-type"],
        places: &["/id", "/source"],
        marks: &[
            Mark::Type("application/cloudevents"),
            Mark::Texts(&["/specversion"]),
            Mark::Texts(&["/version", "/detail-type"]),
        ],
        ..NONE
    },
    // Stripe: the event's id, in the body alone.
    Sender { name: "stripe", places: &["/id"], marks: &[Mark::Header("stripe-signature")], ..NONE },
    // Google Pub/Sub push: the message's id, of one subscription.
    Sender { name: "pubsub", places: &["/message/messageId", "/subscription"], ..NONE },
];

/// Longer ones are no ids.
const ID_BYTES_MAX: usize = 512;

impl Sender {
    /// All headers that are read.
    pub fn reads(&self) -> impl Iterator<Item = &'static str> {
        let marks = self.marks.iter().filter_map(|mark| match mark {
            Mark::Header(name) | Mark::Shared(name) => Some(*name),
            Mark::Type(_) => Some("content-type"),
            Mark::Texts(_) => None,
        });
        [self.headers, self.aliases, self.companions, self.receivers]
            .into_iter()
            .flatten()
            .copied()
            .chain(marks)
    }

    /// All places of the body that are read.
    pub fn reads_body(&self) -> impl Iterator<Item = &'static str> {
        let marks = self.marks.iter().flat_map(|mark| match mark {
            Mark::Texts(places) => *places,
            Mark::Header(_) | Mark::Shared(_) | Mark::Type(_) => &[],
        });
        self.places.iter().chain(marks).copied()
    }

    /// The delivery's id; none where it isn't this sender's. An `Err` is for the caller to read.
    pub fn id(&self, delivery: &Delivery<'_>) -> Result<Option<Id>, String> {
        let Some(mut id) = self
            .named_in_headers(delivery)?
            .map_or_else(|| self.named_in_body(delivery), |id| Ok(Some(id)))?
        else {
            return Ok(None);
        };
        for name in self.receivers {
            id.push(one(delivery, name)?);
        }
        match id.iter().flatten().find(|part| part.is_empty() || part.len() > ID_BYTES_MAX) {
            Some(wrong) => {
                Err(format!("an id has 1 to {ID_BYTES_MAX} bytes, and this one has {}", wrong.len()))
            }
            None => Ok(Some(id)),
        }
    }

    fn named_in_headers(&self, delivery: &Delivery<'_>) -> Result<Option<Id>, String> {
        let mut id = Vec::new();
        for (place, name) in self.headers.iter().enumerate() {
            let alias = self.aliases.get(place).map_or(Ok(None), |alias| one(delivery, alias))?;
            let part = match (one(delivery, name)?, alias) {
                (Some(one), Some(other)) if one != other => {
                    return Err(format!("{name} is there under two names, with two values"));
                }
                (part, alias) => part.or(alias),
            };
            let one_form = |part: String| match self.guid && is_guid(&part) {
                true => part.to_ascii_lowercase(),
                false => part,
            };
            id.push(part.map(one_form));
        }
        let announced = self.companions.iter().any(|name| !(delivery.header)(name).is_empty());
        match id.iter().flatten().count() {
            0 if !announced => Ok(None),
            named if named == self.headers.len() => Ok(Some(id)),
            _ => Err(format!("{} names a delivery by {} together", self.name, self.headers.join(" and "))),
        }
    }

    /// True if a field or the body says that the request is this sender's. Not a mark that several senders sign with.
    pub fn announced(&self, delivery: &Delivery<'_>) -> bool {
        let marks = self.marks.iter().filter_map(|mark| match mark {
            Mark::Header(name) => Some(name),
            Mark::Shared(_) | Mark::Type(_) | Mark::Texts(_) => None,
        });
        let fields = [self.headers, self.aliases, self.companions, self.receivers].into_iter().flatten();
        fields.chain(marks).any(|name| !(delivery.header)(name).is_empty())
            || self.named_in_body(delivery) != Ok(None)
    }

    /// Why a request that no sender's id names can't pass: it has a mark of this one.
    pub fn nameless(&self, delivery: &Delivery<'_>) -> Option<String> {
        let named_by = || self.headers.join(" and ");
        self.marked(delivery).then(|| format!("{} names a delivery by {}: send that", self.name, named_by()))
    }

    fn marked(&self, delivery: &Delivery<'_>) -> bool {
        self.marks.iter().any(|mark| match mark {
            Mark::Header(name) | Mark::Shared(name) => !(delivery.header)(name).is_empty(),
            Mark::Type(prefix) => delivery.media_type.starts_with(prefix),
            Mark::Texts(places) => places.iter().all(|place| (delivery.text)(place).is_some()),
        })
    }

    /// A body with a mark must name its delivery, or a second attempt would be handled as another one.
    fn named_in_body(&self, delivery: &Delivery<'_>) -> Result<Option<Id>, String> {
        let marked = self.marked(delivery);
        if self.places.is_empty() || !marked && !self.marks.is_empty() {
            return Ok(None);
        }
        let id: Id = self.places.iter().filter_map(|place| (delivery.text)(place)).map(Some).collect();
        match delivery.unread {
            _ if id.len() == self.places.len() => Ok(Some(id)),
            _ if !marked => Ok(None),
            Some(why) => Err(format!("the body of {} can't be read for its id: {why}", self.name)),
            None => Err(format!("{} names a delivery by {} together", self.name, self.places.join(" and "))),
        }
    }
}

/// True for 32 hex digits in groups of 8, 4, 4, 4 and 12.
fn is_guid(text: &str) -> bool {
    let groups = || text.split('-');
    groups().map(str::len).eq([8, 4, 4, 4, 12])
        && groups().flat_map(str::bytes).all(|c| c.is_ascii_hexdigit())
}

fn one(delivery: &Delivery<'_>, name: &str) -> Result<Option<String>, String> {
    match (delivery.header)(name)[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.to_owned())),
        [_, _, ..] => Err(format!("{name} is there more than once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        name: &str,
        headers: &[(&str, &'static str)],
        places: &[(&str, &str)],
    ) -> Result<Option<Id>, String> {
        asked(name, headers, places, Sender::id)
    }

    fn asked<T>(
        name: &str,
        headers: &[(&str, &'static str)],
        places: &[(&str, &str)],
        what: impl Fn(&Sender, &Delivery<'_>) -> T,
    ) -> T {
        let sender = SENDERS.iter().find(|sender| sender.name == name).expect("a sender");
        let values =
            |name: &str| headers.iter().filter(|(n, _)| *n == name).map(|(_, value)| *value).collect();
        let text = |place: &str| places.iter().find(|(p, _)| *p == place).map(|(_, v)| (*v).to_owned());
        let media_type = headers.iter().find(|(n, _)| *n == "content-type").map_or("", |(_, value)| *value);
        let unread = places.is_empty().then_some("broken");
        what(sender, &Delivery { header: &values, text: &text, media_type, unread })
    }

    fn some(parts: &[&str]) -> Result<Option<Id>, String> {
        Ok(Some(parts.iter().map(|part| (*part != "-").then(|| (*part).to_owned())).collect()))
    }

    #[test]
    fn each_sender_names_its_deliveries() {
        assert_eq!(found("standard", &[("webhook-id", "msg_1")], &[]), some(&["msg_1"]));
        assert_eq!(found("github", &[("x-github-delivery", "g")], &[]), some(&["g", "-"]));
        let hook = [("x-github-delivery", "g"), ("x-github-hook-id", "7")];
        assert_eq!(found("github", &hook, &[]), some(&["g", "7"]));
        let shop = [("x-shopify-webhook-id", "w"), ("x-shopify-shop-domain", "a.example")];
        assert_eq!(found("shopify", &shop, &[]), some(&["w", "a.example"]));
        assert_eq!(found("cloudevents", &[("ce-id", "1"), ("ce-source", "/s")], &[]), some(&["1", "/s"]));
        let event = [("/id", "1"), ("/source", "/s")];
        let typed = [("content-type", "application/cloudevents+json")];
        assert_eq!(found("cloudevents", &typed, &event), some(&["1", "/s"]));
        let versioned = [event[0], event[1], ("/specversion", "1.0")];
        assert_eq!(found("cloudevents", &[], &versioned), some(&["1", "/s"]));
        let bridge = [event[0], event[1], ("/version", "0"), ("/detail-type", "t")];
        assert_eq!(found("cloudevents", &[], &bridge), some(&["1", "/s"]));
        assert_eq!(found("stripe", &[("stripe-signature", "t=1")], &[("/id", "evt_1")]), some(&["evt_1"]));
        let push = [("/message/messageId", "5"), ("/subscription", "projects/p")];
        assert_eq!(found("pubsub", &[], &push), some(&["5", "projects/p"]));
    }

    #[test]
    fn a_guid_is_one_in_any_letters() {
        let small = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
        for guid in [small, "72D3162E-CC78-11E3-81AB-4C9367DC0958", "72d3162E-cc78-11e3-81ab-4C9367dc0958"] {
            assert_eq!(found("github", &[("x-github-delivery", guid)], &[]), some(&[small, "-"]));
            let shop = [("x-shopify-webhook-id", guid), ("x-shopify-shop-domain", "a.example")];
            assert_eq!(found("shopify", &shop, &[]), some(&[small, "a.example"]));
            let topic = [("x-amz-sns-message-id", guid), ("x-amz-sns-topic-arn", "arn:T")];
            assert_eq!(found("sns", &topic, &[]), some(&[small, "arn:T", "-"]));
            assert_eq!(
                found("standard", &[("webhook-id", guid)], &[]),
                some(&[guid]),
                "no GUID by its rules"
            );
        }
        for other in ["G", "72D3162E-CC78-11E3-81AB-4C9367DC095", "72D3162ECC7811E381AB4C9367DC0958"] {
            assert_eq!(found("github", &[("x-github-delivery", other)], &[]), some(&[other, "-"]));
        }
    }

    #[test]
    fn an_id_under_another_name_is_the_same() {
        assert_eq!(found("standard", &[("svix-id", "msg_1")], &[]), some(&["msg_1"]));
        assert_eq!(
            found("standard", &[("svix-id", "msg_1"), ("webhook-id", "msg_1")], &[]),
            some(&["msg_1"])
        );
        assert!(found("standard", &[("svix-id", "msg_1"), ("webhook-id", "msg_2")], &[]).is_err());
    }

    #[test]
    fn a_header_of_a_sender_is_its_mark() {
        let marks = [
            ("standard", "webhook-timestamp"),
            ("standard", "webhook-signature"),
            ("standard", "svix-timestamp"),
            ("standard", "svix-signature"),
            ("github", "x-github-event"),
            ("github", "x-github-hook-id"),
            ("github", "x-hub-signature"),
            ("github", "x-hub-signature-256"),
            ("shopify", "x-shopify-topic"),
            ("shopify", "x-shopify-hmac-sha256"),
            ("sns", "x-amz-sns-message-type"),
            ("sns", "x-amz-sns-subscription-arn"),
        ];
        for (sender, mark) in marks {
            assert_eq!(found(sender, &[(mark, "x")], &[]), Ok(None), "{mark}");
            assert!(asked(sender, &[(mark, "x")], &[], Sender::nameless).is_some(), "{mark}");
        }
        assert_eq!(asked("github", &[("webhook-signature", "x")], &[], Sender::nameless), None);
        assert_eq!(asked("pubsub", &[], &[("/subscription", "p")], Sender::nameless), None);
    }

    #[test]
    fn a_field_of_its_own_announces_a_sender() {
        for (sender, field) in [
            ("standard", "webhook-id"),
            ("standard", "svix-signature"),
            ("github", "x-github-event"),
            ("shopify", "x-shopify-shop-domain"),
            ("sns", "x-amz-sns-subscription-arn"),
            ("cloudevents", "ce-type"),
            ("stripe", "stripe-signature"),
        ] {
            for other in &SENDERS {
                let is_announced = asked(other.name, &[(field, "x")], &[], Sender::announced);
                assert_eq!(is_announced, other.name == sender, "{field}: {}", other.name);
            }
        }
        let announced =
            |other: &&Sender| asked(other.name, &[("x-hub-signature", "x")], &[], Sender::announced);
        assert!(SENDERS.iter().find(announced).is_none(), "several sign so");
    }

    #[test]
    fn a_body_that_names_a_delivery_announces_its_sender() {
        let push = [("/message/messageId", "5"), ("/subscription", "p")];
        let event = [("/id", "1"), ("/source", "/s"), ("/specversion", "1.0")];
        let bridge = [("/id", "1"), ("/source", "/s"), ("/version", "0"), ("/detail-type", "t")];
        let typed = ("content-type", "application/cloudevents+json");
        for (sender, header, places) in [
            ("pubsub", None, &push[..]),
            ("cloudevents", None, &event),
            ("cloudevents", None, &event[2..]),
            ("cloudevents", None, &bridge),
            ("cloudevents", Some(typed), &[]),
        ] {
            for other in &SENDERS {
                let is_announced = asked(other.name, header.as_slice(), places, Sender::announced);
                assert_eq!(is_announced, other.name == sender, "{places:?}: {}", other.name);
            }
        }
        for places in [&push[..1], &push[1..], &event[..2], &bridge[..3]] {
            let announced = |other: &&Sender| asked(other.name, &[], places, Sender::announced);
            assert!(SENDERS.iter().find(announced).is_none(), "{places:?}");
        }
    }

    #[test]
    fn what_is_another_senders_is_none() {
        assert_eq!(found("standard", &[], &[]), Ok(None));
        assert_eq!(found("stripe", &[], &[("/id", "evt_1")]), Ok(None), "without a signature");
        let charge = [("/id", "ch_1"), ("/source", "card"), ("/version", "2")];
        assert_eq!(found("cloudevents", &[], &charge), Ok(None), "no event says so");
        assert_eq!(found("cloudevents", &[("content-type", "application/json")], &charge), Ok(None));
        assert_eq!(found("pubsub", &[], &[("/message/messageId", "5")]), Ok(None));
    }

    #[test]
    fn a_mark_without_an_id_is_malformed() {
        assert!(found("cloudevents", &[("ce-id", "1")], &[]).is_err());
        assert!(
            found("cloudevents", &[("ce-specversion", "1.0")], &[("/id", "1"), ("/source", "/s")]).is_err()
        );
        assert!(
            found("cloudevents", &[("content-type", "application/cloudevents-batch+json")], &[]).is_err()
        );
        assert!(found("cloudevents", &[], &[("/specversion", "1.0"), ("/id", "1")]).is_err());
        assert!(found("stripe", &[("stripe-signature", "t=1")], &[]).is_err());
        assert!(found("stripe", &[("stripe-signature", "t=1")], &[("/object", "event")]).is_err());
        assert!(found("standard", &[("webhook-id", "a"), ("webhook-id", "b")], &[]).is_err());
        assert!(found("standard", &[("webhook-id", "")], &[]).is_err());
        let hooks = [("x-github-delivery", "g"), ("x-github-hook-id", "7"), ("x-github-hook-id", "8")];
        assert!(found("github", &hooks, &[]).is_err());
    }
}
