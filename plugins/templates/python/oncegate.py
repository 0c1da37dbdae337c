"""Short ways to write what is usual in a policy. The types are those of wit/policy.wit.

`raise Err("...")` is the policy failing with an err; any other exception is a trap, which says less.
"""

from typing import List, Optional

from componentize_py_types import Err
from wit_world.imports.types import (
    Attribute,
    Fingerprint_Request,
    Found_Text,
    Guard,
    Operation,
    Part_Of,
    Part_Text,
    Payload_Selected,
    PayloadWant_Nothing,
    PayloadWant_Pointers,
    Plan,
    Refusal,
    Verdict_Bypass,
    Verdict_Guard,
    Verdict_Refuse,
    WhenUnknown,
    WhileRunning,
)

__all__ = [
    "Attribute", "Err", "Operation", "Plan", "bypass", "field", "guard", "of", "plan", "pointers",
    "refuse", "text", "text_at", "values",
]


def values(operation: Operation, name: str) -> List[str]:
    """All values of a declared field, as they arrived."""
    return [field.value for field in operation.fields if field.name == name]


def field(operation: Operation, name: str) -> Optional[str]:
    """The first value of a declared field; None where there is none."""
    return next(iter(values(operation, name)), None)


def text_at(operation: Operation, pointer: int) -> Optional[str]:
    """The text at the plan's pointer of this place; None where there is none, or no text."""
    if not isinstance(operation.payload, Payload_Selected):
        return None
    found = operation.payload.value[pointer]
    return found.value if isinstance(found, Found_Text) else None


def plan(key_schema: str, request_fields: List[str], request_payload=None, methods=None) -> Plan:
    """A plan that asks for these fields."""
    nothing = PayloadWant_Nothing()
    return Plan(key_schema, methods or [], request_fields, request_payload or nothing, [], nothing, [], [])


def pointers(*places: str) -> PayloadWant_Pointers:
    """What a plan wants of the body: these places, by JSON pointer."""
    return PayloadWant_Pointers(list(places))


def text(text: str) -> Part_Text:
    """A part of a key: this text."""
    return Part_Text(text)


def of(attribute: Attribute) -> Part_Of:
    """A part of a key: the host's own value."""
    return Part_Of(attribute)


def guard(key: list, **more) -> Verdict_Guard:
    """Protected under this key; `more` has what is not the route's to say."""
    usual = dict(
        fingerprint=Fingerprint_Request(),
        while_running=WhileRunning.ROUTE_DEFAULT,
        when_unknown=WhenUnknown.ROUTE_DEFAULT,
        retention_seconds=None,
        tombstone_seconds=None,
        first_sent=None,
        forward=[],
        memo=None,
        labels=[],
        options=[],
    )
    return Verdict_Guard(Guard(key=key, **{**usual, **more}))


def bypass(reason: str) -> Verdict_Bypass:
    """Not protected, for this reason."""
    return Verdict_Bypass(reason)


def refuse(code: str, detail: str, status: int = 400) -> Verdict_Refuse:
    """Turned away; the detail is for the caller to read."""
    return Verdict_Refuse(Refusal(status, code, detail, []))
