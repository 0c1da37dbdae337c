"""Keys in the query and in the body."""

import re
from typing import Optional
from urllib.parse import parse_qsl

from wit_world.imports.types import (
    Found_Json,
    Found_Text,
    Operation,
    Payload_Malformed,
    Payload_Oversize,
    Payload_Selected,
)

from oncegate import field

TWICE = "it comes more than once: send it once, with one key"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DOCUMENTS = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")


class Malformed(Exception):
    """There is a key, and it can't be taken; the text is for the caller to read."""


def key_in_query(query: str, name: str) -> Optional[str]:
    """The key; None where there is none."""
    found = [value for there, value in parse_qsl(query, keep_blank_values=True) if there == name]
    if not found:
        return None
    if len(found) > 1:
        raise Malformed(TWICE)
    if "\ufffd" in found[0]:
        raise Malformed("it isn't UTF-8: send letters, digits and hyphens")
    return of_text(found[0])


def key_in_body(operation: Operation, pointer: int) -> Optional[str]:
    """The key at this pointer of the plan; None where there is none."""
    payload = operation.payload
    if isinstance(payload, Payload_Oversize):
        raise Malformed("the body is too large to be read for a key: send a smaller one")
    if isinstance(payload, Payload_Malformed) and is_document(field(operation, "content-type")):
        raise Malformed(f"the body can't be read for a key ({payload.value}): send a well-formed one")
    if not isinstance(payload, Payload_Selected):
        return None
    found = payload.value[pointer]
    if isinstance(found, Found_Text):
        return of_text(found.value)
    if not isinstance(found, Found_Json) or found.value == "null":
        return None
    # A number, in canonical form, is as good as a string.
    if found.value[0] not in "-0123456789":
        raise Malformed("it is neither a string nor a number: send a string")
    return found.value


def is_document(content_type: Optional[str]) -> bool:
    """Whether a body that can't be read is at fault. Others merely are no documents and hold no key."""
    essence = (content_type or "").split(";")[0].strip().lower()
    return essence.endswith("json") or essence in DOCUMENTS


def of_text(key: str) -> str:
    if key == "":
        raise Malformed("it is empty: send a key of your own for each operation, or leave it out")
    if CONTROL.search(key):
        raise Malformed("it holds a control character: send it without")
    return key
