//! Senders of webhooks, and what each calls the id of a delivery: the same in each attempt to deliver
//! it. Knows neither the interface nor the operator.

/// A sender, or a format that several send.
#[derive(Debug)]
pub struct Sender {
    /// Its name in the settings, and in keys.
    pub name: &'static str,
    /// What is read of the headers, all of it part of the id.
    pub headers: &'static [&'static str],
    /// What is read of the body, where the headers have nothing.
    pub pointers: &'static [&'static str],
    /// A header without which it is not this sender's.
    mark: Option<&'static str>,
}

/// In the order in which they are looked for: those with a header of their own first.
pub const SENDERS: [Sender; 7] = [
    // https://www.standardwebhooks.com: `webhook-id` is the same in each attempt.
    Sender { name: "standard", headers: &["webhook-id"], pointers: &[], mark: None },
    // https://docs.github.com/webhooks: a redelivery has the delivery's GUID.
    Sender { name: "github", headers: &["x-github-delivery"], pointers: &[], mark: None },
    // https://shopify.dev: `X-Shopify-Webhook-Id` names the delivery, of one shop.
    Sender {
        name: "shopify",
        headers: &["x-shopify-webhook-id", "x-shopify-shop-domain"],
        pointers: &[],
        mark: None,
    },
    // Amazon SNS over HTTP: the message's id, of one topic.
    Sender {
        name: "sns",
        headers: &["x-amz-sns-message-id", "x-amz-sns-topic-arn"],
        pointers: &[],
        mark: None,
    },
    // CloudEvents 1.0: source and id together are unique; in headers, or in the document.
    Sender {
        name: "cloudevents",
        headers: &["ce-id", "ce-source"],
        pointers: &["/id", "/source"],
        mark: None,
    },
    // Stripe: the event's id, in the body alone.
    Sender {
        name: "stripe",
        headers: &["stripe-signature"],
        pointers: &["/id"],
        mark: Some("stripe-signature"),
    },
    // Google Pub/Sub push: the message's id, of one subscription.
    Sender { name: "pubsub", headers: &[], pointers: &["/message/messageId", "/subscription"], mark: None },
];

/// Longer ones are no ids.
const ID_BYTES_MAX: usize = 512;

impl Sender {
    /// The delivery's id, part by part; none where it isn't this sender's. An `Err` is for the
    /// caller to read.
    pub fn delivery<'a>(
        &self,
        header: &dyn Fn(&'static str) -> Vec<&'a str>,
        pointer: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Vec<String>>, String> {
        if let Some(mark) = self.mark
            && header(mark).is_empty()
        {
            return Ok(None);
        }
        let in_headers = self.headers.iter().filter(|name| Some(**name) != self.mark);
        let mut id = Vec::new();
        for name in in_headers {
            match header(name)[..] {
                [] => {}
                [one] => id.push(one.to_owned()),
                [_, _, ..] => return Err(format!("{name} is there more than once")),
            }
        }
        let wanted = self.headers.iter().filter(|name| Some(**name) != self.mark).count();
        if wanted == 0 || id.is_empty() {
            id = self.pointers.iter().filter_map(|place| pointer(place)).collect();
            if self.pointers.is_empty() || id.len() < self.pointers.len() {
                return Ok(None);
            }
        } else if id.len() < wanted {
            return Err(format!("{} names a delivery by {} together", self.name, self.headers.join(" and ")));
        }
        if let Some(wrong) = id.iter().find(|part| part.is_empty() || part.len() > ID_BYTES_MAX) {
            return Err(format!("an id has 1 to {ID_BYTES_MAX} bytes, and this one has {}", wrong.len()));
        }
        Ok(Some(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        name: &str,
        headers: &[(&'static str, &'static str)],
        places: &[(&str, &str)],
    ) -> Result<Option<Vec<String>>, String> {
        let sender = SENDERS.iter().find(|sender| sender.name == name).expect("a sender");
        let header = |name: &'static str| {
            headers.iter().filter(|(n, _)| *n == name).map(|(_, value)| *value).collect::<Vec<&str>>()
        };
        let pointer = |place: &str| places.iter().find(|(p, _)| *p == place).map(|(_, v)| (*v).to_owned());
        sender.delivery(&header, &pointer)
    }

    #[test]
    fn each_sender_names_its_deliveries() {
        let some = |parts: &[&str]| Ok(Some(parts.iter().map(|part| (*part).to_owned()).collect()));
        assert_eq!(found("standard", &[("webhook-id", "msg_1")], &[]), some(&["msg_1"]));
        assert_eq!(found("github", &[("x-github-delivery", "g")], &[]), some(&["g"]));
        let shop = [("x-shopify-webhook-id", "w"), ("x-shopify-shop-domain", "a.example")];
        assert_eq!(found("shopify", &shop, &[]), some(&["w", "a.example"]));
        assert_eq!(found("cloudevents", &[("ce-id", "1"), ("ce-source", "/s")], &[]), some(&["1", "/s"]));
        assert_eq!(found("cloudevents", &[], &[("/id", "1"), ("/source", "/s")]), some(&["1", "/s"]));
        assert_eq!(found("stripe", &[("stripe-signature", "t=1")], &[("/id", "evt_1")]), some(&["evt_1"]));
        let push = [("/message/messageId", "5"), ("/subscription", "projects/p")];
        assert_eq!(found("pubsub", &[], &push), some(&["5", "projects/p"]));
    }

    #[test]
    fn what_is_another_senders_is_none_and_half_an_id_is_malformed() {
        assert_eq!(found("standard", &[], &[]), Ok(None));
        assert_eq!(found("stripe", &[], &[("/id", "evt_1")]), Ok(None), "without a signature");
        assert_eq!(found("cloudevents", &[], &[("/id", "1")]), Ok(None));
        assert!(found("cloudevents", &[("ce-id", "1")], &[]).is_err());
        assert!(found("standard", &[("webhook-id", "a"), ("webhook-id", "b")], &[]).is_err());
        assert!(found("standard", &[("webhook-id", "")], &[]).is_err());
    }
}
