"""Short ways to write what is usual in a policy. The types are those of wit/policy.wit.

`raise Err("...")` is the policy failing with an err; any other exception is a trap, which says less.
"""

from typing import List, Optional

from componentize_py_types import Err
from wit_world.imports.types import (
    Attribute,
    Disposition,
    Field,
    Fingerprint_Request,
    Found_Text,
    Guard,
    Operation,
    Outbound,
    Part_Of,
    Part_Text,
    Payload_Absent,
    Payload_Selected,
    Payload_Whole,
    PayloadWant_Nothing,
    PayloadWant_Pointers,
    Plan,
    Refusal,
    Reply,
    Verdict_Bypass,
    Verdict_Guard,
    Verdict_Refuse,
    WhenUnknown,
    WhileRunning,
)

# A policy exports the other interfaces where it has their classes; without them they aren't there.
try:
    from wit_world.exports.outcome import Settlement
except ImportError:
    pass
try:
    from wit_world.exports.resolution import (
        Finding_Ask,
        Finding_Consumed,
        Finding_DidNotHappen,
        Finding_Happened,
        Finding_StillUnknown,
    )
except ImportError:
    pass
try:
    from wit_world.exports.presentation import Changes, Wording
except ImportError:
    pass

__all__ = [
    "Attribute", "Disposition", "Err", "Field", "Operation", "Plan", "ask", "body_text", "bypass", "changes",
    "consumed", "did_not_happen", "field", "get", "guard", "happened", "of", "plan", "pointers", "refuse",
    "settlement", "still_unknown", "text", "text_at", "values", "wording",
]


def values(operation, name: str) -> List[str]:
    """All values of a declared field, as they arrived; of a request or an answer."""
    return [field.value for field in operation.fields if field.name == name]


def field(operation, name: str) -> Optional[str]:
    """The first value of a declared field; None where there is none."""
    return next(iter(values(operation, name)), None)


def text_at(operation, pointer: int) -> Optional[str]:
    """The text at the plan's pointer of this place; None where there is none, or no text."""
    if not isinstance(operation.payload, Payload_Selected):
        return None
    found = operation.payload.value[pointer]
    return found.value if isinstance(found, Found_Text) else None


def body_text(shown) -> Optional[str]:
    """All of a body that the hook is shown, as text; None where there is none."""
    return str(shown.payload.value, "utf-8") if isinstance(shown.payload, Payload_Whole) else None


def plan(
    key_schema: str,
    request_fields: List[str],
    request_payload=None,
    methods=None,
    response_fields=None,
    response_payload=None,
    outcomes=None,
) -> Plan:
    """A plan that asks for these fields; what `settle` reads of answers is the response's."""
    nothing = PayloadWant_Nothing()
    return Plan(
        key_schema,
        methods or [],
        request_fields,
        request_payload or nothing,
        response_fields or [],
        response_payload or nothing,
        outcomes or [],
        [],
    )


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


# The other hooks: `settle`, `question`, `present` and `explain` return None where they have nothing
# to say.


def settlement(disposition: Disposition, memo: Optional[str] = None, retention_seconds: Optional[int] = None):
    """What `settle` says."""
    return Settlement(disposition, memo, retention_seconds)


def get(path: str, fields: Optional[List[Field]] = None) -> Outbound:
    """A question for the upstream: GET of this path, which has the query."""
    return Outbound("GET", path, fields or [], None)


def consumed():
    """What `reading` says: it happened; the answer is not known."""
    return Finding_Consumed()


def did_not_happen():
    """What `reading` says."""
    return Finding_DidNotHappen()


def still_unknown():
    """What `reading` says."""
    return Finding_StillUnknown()


def ask(outbound: Outbound):
    """What `reading` says: ask this next."""
    return Finding_Ask(outbound)


def happened(status: int, fields: List[Field], body: str):
    """What `reading` says: it happened, and this is the answer to replay."""
    payload = Payload_Whole(body.encode()) if body else Payload_Absent()
    return Finding_Happened(Reply(status, fields, [], payload, True))


def changes(set_fields: Optional[List[Field]] = None, remove: Optional[List[str]] = None, body: Optional[str] = None):
    """What `present` says: in what the answer differs from the kept one."""
    return Changes(set_fields or [], remove or [], None if body is None else body.encode())


def wording(status: int, content_type: str, body: str):
    """What `explain` says: the problem in the caller's words."""
    return Wording(status, [Field("content-type", content_type)], body.encode())
