"""idempotency-key: the client names its operation in a header, the query or the body.

The same policy as builtin:idempotency-key, to the letter: ../vectors.json is what both pass.
"""

from wit_world import exports

import places
from judge import judge
from key import parse_key
from oncegate import Attribute, bypass, guard, of, plan, pointers, refuse, text, values
from settings import Place, Settings, read_settings

# Set by configure. A global, because each call has a Policy of its own.
settings: Settings


class Policy(exports.Policy):
    def configure(self, json: str):
        global settings
        settings = read_settings(json)
        in_body = [place.name for place in settings.places if place.kind == "body"]
        wanted = pointers(*in_body) if in_body else None
        return plan(settings.key_schema(), settings.fields(), wanted, settings.methods)

    def decide(self, operation):
        pointer = 0
        for place in settings.places:
            try:
                key = look(operation, place, pointer)
                pointer += place.kind == "body"
                if key is None:
                    continue
                key, first_sent = judge(key, settings)
            except places.Malformed as fault:
                return refuse("key-malformed", f"{place.spoken()}: {fault}")
            parts = [of(Attribute.AUTHORITY), of(Attribute.METHOD), of(Attribute.PATH), text(key)]
            return guard(parts, first_sent=first_sent)
        absence = settings.absence()
        return refuse("key-missing", absence) if settings.required else bypass(absence)


def look(operation, place: Place, pointer: int):
    """The key in this place; None where there is none."""
    if place.kind == "query":
        return places.key_in_query(next(iter(values(operation, ":query")), ""), place.name)
    if place.kind == "body":
        return places.key_in_body(operation, pointer)
    found = values(operation, place.name)
    if len(found) > 1:
        raise places.Malformed(places.TWICE)
    if not found:
        return None
    key, fault = parse_key(found[0], settings.strict)
    if fault is not None:
        raise places.Malformed(fault)
    return key
