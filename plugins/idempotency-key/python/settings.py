"""What the operator wants, read from the settings' JSON."""

import json
import re
from dataclasses import dataclass
from typing import List, Optional
from urllib.parse import quote

from wit_world.imports import digest

from oncegate import Err
from pattern import compile_pattern

NAMES = ["from", "required", "strict", "methods", "pattern", "min", "max", "key_time"]
PLACE = re.compile(r"(header|query|body):(.+)", re.DOTALL)
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
MOST_PLACES = 32
LONGEST = 4096
LONGEST_SCHEMA = 256
# A name is cut in what a caller reads, because a refusal's detail has a bound.
SPOKEN = 40
# What a key-schema may have; a comma or a space would end a name.
PLAIN = "!\"#$&'()*+-./:;<=>?@[\\]^_`{|}~"


@dataclass(frozen=True)
class Place:
    """Where a key may be: `header`, `query` or `body`, and its name or JSON pointer."""

    kind: str
    name: str

    def written(self) -> str:
        """As an operator would write it, in the characters that a key-schema may have."""
        return f"{self.kind}:{quote(self.name, safe=PLAIN)}"

    def spoken(self) -> str:
        """As a caller is told."""
        name = self.name[:SPOKEN]
        if self.kind == "body":
            return f"{name} of the body"
        return f"the header {name}" if self.kind == "header" else f"the query parameter {name}"


@dataclass
class Settings:
    places: List[Place]
    required: bool
    strict: bool
    methods: List[str]
    pattern: Optional[re.Pattern]
    min: int
    max: int
    key_time: Optional[str]

    def key_schema(self) -> str:
        """What goes into keys, and which requests have one. Equal texts promise equal keys."""
        schema = "idempotency-key/2 from=" + ",".join(place.written() for place in self.places)
        if self.methods:
            schema += " methods=" + ",".join(self.methods)
        if self.key_time is not None:
            schema += f" key_time={self.key_time}"
        if len(schema) <= LONGEST_SCHEMA:
            return schema
        return f"idempotency-key/2 sha256={digest.sha256(schema.encode()).hex()}"

    def fields(self) -> List[str]:
        """What the plan declares, each once."""
        kinds = {place.kind for place in self.places}
        headers = [place.name for place in self.places if place.kind == "header"]
        query, body = [":query"] * ("query" in kinds), ["content-type"] * ("body" in kinds)
        return list(dict.fromkeys(query + headers + body))

    def absence(self) -> str:
        """What to say where there is no key."""
        more = " or elsewhere" if len(self.places) > 4 else ""
        named = " or ".join(place.spoken() for place in self.places[:4])
        return f"there is no idempotency key in {named}{more}"


def read_settings(text: str) -> Settings:
    given = json.loads(text)
    if not isinstance(given, dict):
        raise Err("the settings must be a JSON object")
    for name in given:
        if name not in NAMES:
            raise Err(f"there is no setting {name}: there are {', '.join(NAMES)}")
    required, strict = given.get("required", False), given.get("strict", False)
    if not isinstance(required, bool) or not isinstance(strict, bool):
        raise Err("`required` and `strict` must be true or false")
    least, most = given.get("min", 1), given.get("max", 255)
    # A truth is an int to Python.
    if type(least) is not int or type(most) is not int or not 1 <= least <= most <= LONGEST:
        raise Err(f"`min` and `max` must be whole numbers from 1 to {LONGEST}")
    key_time = given.get("key_time")
    if "key_time" in given and key_time not in ("uuidv7", "ulid"):
        raise Err('`key_time` must be "uuidv7" or "ulid"')
    pattern = compile_pattern(given["pattern"]) if "pattern" in given else None
    methods = sorted(set(texts("methods", given.get("methods", []))))
    places = read_places(given.get("from", "header:idempotency-key"))
    if strict and not any(place.kind == "header" for place in places):
        raise Err("`strict` is about headers, and `from` names none")
    return Settings(places, required, strict, methods, pattern, least, most, key_time)


def read_places(value) -> List[Place]:
    places = []
    for text in texts("from", value):
        found = PLACE.fullmatch(text)
        if found is None:
            raise Err(f"`from` names {text}: write header:NAME, query:NAME or body:/POINTER")
        kind, name = found.groups()
        if kind == "header" and TOKEN.fullmatch(name) is None:
            raise Err(f"`from` names {text}, which is no name of a header")
        if kind == "body" and not name.startswith("/"):
            raise Err(f"`from` names {text}, which is no JSON pointer")
        places.append(Place(kind, name.lower() if kind == "header" else name))
    if not 1 <= len(places) <= MOST_PLACES:
        raise Err(f"`from` names {len(places)} places: name 1 to {MOST_PLACES}")
    if len(set(places)) < len(places):
        raise Err("`from` names a place twice")
    return places


def texts(name: str, value) -> List[str]:
    """One text is as good as a list of one."""
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise Err(f"`{name}` must be a list of texts")
    return value
