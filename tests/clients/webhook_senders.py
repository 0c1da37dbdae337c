"""Senders of webhooks: Standard Webhooks (three attempts, each signed anew) and CloudEvents (one event
in both of its forms). Tells what the gateway said of each."""

import datetime
import json
import sys

import requests
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks import Webhook

url = sys.argv[1]


def send(headers, body):
    answer = requests.post(url, data=body, headers=dict(headers), timeout=60)
    answer.raise_for_status()
    return answer.headers.get("Idempotent-Replayed")


hook = Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
now = datetime.datetime.now(datetime.timezone.utc)
standard = []
for attempt in range(3):
    at = now + datetime.timedelta(seconds=attempt)
    body = json.dumps({"type": "invoice.paid", "data": {"id": 1}})
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": hook.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body),
        "content-type": "application/json",
    }
    standard.append(send(headers, body.encode()))

event = CloudEvent({"id": "e-1", "source": "/shop", "type": "order.placed", "specversion": "1.0", "datacontenttype": "application/json"}, {"order": 7})
events = [send(message.headers, message.body) for message in (to_binary_event(event), to_structured_event(event))]
print(json.dumps({"standard": standard, "cloudevents": events}))
