"""Stripe's published SDK: makes one charge and leaves keys and retries to the SDK."""

import json
import sys

import stripe

client = stripe.StripeClient(
    "sk_test_stand_in",
    base_addresses={"api": sys.argv[1]},
    max_network_retries=3,
    http_client=stripe.RequestsClient(timeout=60),
)
intent = client.v1.payment_intents.create({"amount": 1000, "currency": "gbp"})
headers = {name.lower(): value for name, value in intent.last_response.headers.items()}
print(
    json.dumps(
        {
            "id": intent.id,
            "amount": intent.amount,
            "replayed": headers.get("idempotent-replayed"),
        }
    )
)
