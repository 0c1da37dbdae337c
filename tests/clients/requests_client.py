"""Python requests: POSTs each body twice under one key and tells what came."""

import json
import sys

import requests

url = sys.argv[1]
told = []
with requests.Session() as session:
    for n, body in enumerate([json.dumps({"amount": 1000, "note": "cafe \u2615"}).encode(), bytes(range(256)) * 800]):
        for _ in range(2):
            answer = session.post(url, data=body, headers={"Idempotency-Key": f'"requests-{n}"'}, timeout=60)
            told.append(
                {
                    "status": answer.status_code,
                    "replayed": answer.headers.get("Idempotent-Replayed"),
                    "body": answer.text,
                }
            )
print(json.dumps(told))
