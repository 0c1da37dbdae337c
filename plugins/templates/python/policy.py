"""my-policy: the client names its operation in a header.

It makes the keys of builtin:idempotency-key, and says so: its key-schema is the same. As soon as
yours are made in another way, give them a name of your own.
"""

import json
import re
from dataclasses import dataclass

from wit_world import exports

from key import parse_key
from oncegate import Attribute, Err, bypass, guard, of, plan, refuse, text, values

LONGEST = 255

# Compiled when the component is built: what Python would import later isn't there any more.
HEADER_NAME = re.compile("header:([A-Za-z0-9_-]+)")


@dataclass
class Keys:
    """What the settings say."""

    header: str
    required: bool
    strict: bool


# Set by configure. A global, because each call has a Policy of its own.
keys: Keys


class Policy(exports.Policy):
    def configure(self, settings: str):
        """Called first, once in each instance, with the settings as a JSON object."""
        global keys
        settings = json.loads(settings)
        source = settings.pop("from", ["header:idempotency-key"])
        required, strict = settings.pop("required", False), settings.pop("strict", False)
        if settings:
            raise Err(f"there is no setting {next(iter(settings))}: there are from, required, strict")
        source = source[0] if isinstance(source, list) and len(source) == 1 else source
        name = HEADER_NAME.fullmatch(source) if isinstance(source, str) else None
        if name is None:
            raise Err('`from` must be ["header:NAME"], with one name of letters, digits, - and _')
        if not isinstance(required, bool) or not isinstance(strict, bool):
            raise Err("`required` and `strict` must be true or false")
        keys = Keys(name[1].lower(), required, strict)
        # All that goes into a key, and nothing else: records live on while this text is the same.
        return plan(f"idempotency-key/2 from=header:{keys.header}", [keys.header])

    def decide(self, operation):
        """Called for each request that the plan is about. Equal requests have equal answers."""
        found = values(operation, keys.header)
        if not found:
            absence = f"there is no idempotency key in the header {keys.header}"
            return refuse("key-missing", absence) if keys.required else bypass(absence)
        if len(found) > 1:
            return refuse("key-malformed", f"the header {keys.header} comes twice")
        key, fault = parse_key(found[0], keys.strict)
        if fault is not None:
            return refuse("key-malformed", f"the header {keys.header}: {fault}")
        if len(key) > LONGEST:
            return refuse("key-malformed", f"the header {keys.header} is longer than 255 bytes")
        return guard([of(Attribute.AUTHORITY), of(Attribute.METHOD), of(Attribute.PATH), text(key)])
