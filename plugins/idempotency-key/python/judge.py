"""Holds a key against the settings."""

import re
from typing import Optional

from places import Malformed
from settings import Settings

UUIDV7 = re.compile(
    "([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE
)
ULID = re.compile("[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII | re.IGNORECASE)
BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def judge(key: str, settings: Settings) -> tuple[str, Optional[int]]:
    """The key in its one form; when it says that it was first sent, in Unix seconds, where it tells."""
    length = len(key.encode())
    if length < settings.min:
        raise Malformed(f"it is {length} bytes long: send at least {settings.min}")
    if length > settings.max:
        raise Malformed(f"it is {length} bytes long: send at most {settings.max}")
    if settings.pattern is not None and settings.pattern.fullmatch(key) is None:
        raise Malformed("it doesn't match the pattern")
    if settings.key_time is None:
        return key, None
    millis = ulid_millis(key) if settings.key_time == "ulid" else uuidv7_millis(key)
    if millis is None:
        raise Malformed(f"it is no {settings.key_time}, which holds the time of its making: send one")
    if millis // 1000 >= 2**32:
        raise Malformed("the time in it is past 2106")
    # The letters' case means nothing in either kind.
    return key.upper() if settings.key_time == "ulid" else key.lower(), millis // 1000


def uuidv7_millis(key: str) -> Optional[int]:
    found = UUIDV7.fullmatch(key)
    return int(found[1] + found[2], 16) if found else None


def ulid_millis(key: str) -> Optional[int]:
    """The first ten of its characters, in Crockford's base 32."""
    if ULID.fullmatch(key) is None:
        return None
    millis = 0
    for character in key[:10].upper():
        millis = millis * 32 + BASE32.index(character)
    return millis
