"""A policy with all hooks, which says what it was told: all of it must arrive, both ways."""

from wit_world import exports
from wit_world.imports.types import StatusRule, WhenUnknown, WhileRunning

from oncegate import (
    Disposition, Err, Field, ask, body_text, bypass, changes, consumed, did_not_happen, field, get, guard, happened, plan,
    pointers, settlement, still_unknown, text, text_at, wording,
)


def either(value):
    return "-" if value is None else str(value)


class Policy(exports.Policy):
    def configure(self, settings):
        rules = [StatusRule(418, 418, Disposition.NOT_APPLIED), StatusRule(500, 504, Disposition.UNKNOWN)]
        return plan(
            "hooks/1",
            ["x-key"],
            pointers("/id"),
            response_fields=["x-status"],
            response_payload=pointers("/status"),
            outcomes=rules,
        )

    def decide(self, operation):
        key = field(operation, "x-key")
        if key is None:
            return bypass("no key")
        return guard([text(key)], memo=key, while_running=WhileRunning.WAIT, when_unknown=WhenUnknown.PROBE)


class Outcome(exports.Outcome):
    def settle(self, receipt, reply):
        said = [field.value for field in reply.fields + reply.trailers]
        status = text_at(reply, 0)
        if "fail" in said:
            raise Err(f"no word on {reply.status}")
        if not reply.complete:
            return settlement(Disposition.COMPLETED)
        if "refused" in said:
            return settlement(Disposition.NOT_APPLIED)
        if status == "lost":
            return settlement(Disposition.UNKNOWN)
        if status == "half":
            return settlement(Disposition.CONSUMED, memo=f"{receipt.memo}!", retention_seconds=5)
        return None


class Resolution(exports.Resolution):
    def question(self, receipt):
        r = receipt
        if r.memo == "":
            return None
        if r.memo == "fail":
            raise Err("no question")
        all_of_it = [r.route, r.method, r.authority, r.path, either(r.principal), r.key_schema, r.first_attempt, r.memo]
        return get(f"/q?n={r.attempts}", [Field("x-all", " ".join(map(str, all_of_it)))])

    def reading(self, receipt, asked, answer):
        if answer.status == 409:
            return consumed()
        if answer.status == 404:
            return did_not_happen()
        if answer.status == 202:
            return still_unknown()
        if answer.status == 500:
            raise Err("status 500")
        if asked.path.startswith("/q"):
            return ask(get(f"/one/{body_text(answer)}"))
        fields = [
            Field("content-type", "text/plain"),
            Field("x-asked", asked.path),
            Field("x-ref", either(field(answer, "x-ref"))),
        ]
        return happened(201, fields, body_text(answer))


class Presentation(exports.Presentation):
    def present(self, receipt, operation, reply):
        id = text_at(operation, 0)
        if id is None:
            return None
        if id == "fail":
            raise Err("no words")
        return changes([Field("x-for", either(receipt.principal))], ["x-kept"], f"{id}:{body_text(reply)}")

    def explain(self, operation, problem):
        p = problem
        if p.code == "expired":
            return None
        if p.code == "draining":
            raise Err(p.code)
        outcome = None if p.outcome is None else p.outcome.name.lower().replace("_", "-")
        all_of_it = [
            p.code, p.status, p.detail, either(p.operation_id), either(outcome), "yes" if p.retryable else "no",
            either(p.retry_after_seconds), either(p.first_status), either(p.first_location), either(text_at(operation, 0)),
        ]
        return wording(200, "text/plain", " ".join(map(str, all_of_it)))
