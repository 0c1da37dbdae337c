"""The key in a header: a string of RFC 9651 or, unless strict, the same without its quotes.

Parameters are read and left out.
"""

import re

LONGEST = 255
QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"(.*)')
BARE = re.compile(r"([!#-')-+\--:<-~][!#-+\--:<-~]*)? *(;.*)?")
ESCAPE = re.compile(r'\\(["\\])')
# `;name` or `;name=value`, any number of times.
PARAMETERS = re.compile(r"""( *; *[a-z*][a-z0-9_.*-]*(=("([ !#-\[\]-~]|\\["\\])*"|[!#-'*+\--:<-~]+))?)* *""")


def parse_key(value: str, strict: bool):
    """The key and None, or None and the fault, for the caller to read."""
    value = value.strip(" \t")
    quoted = value.startswith('"')
    if strict and not quoted:
        return None, "it must be in double quotes"
    found = (QUOTED if quoted else BARE).fullmatch(value)
    if found is None:
        bare = "it has a character that must stand in double quotes"
        return None, "it is no string as RFC 9651 has it" if quoted else bare
    key, rest = found[1] or "", found[2] or ""
    if quoted:
        key = ESCAPE.sub(lambda escape: escape[1], key)
    if PARAMETERS.fullmatch(rest) is None:
        return None, "what follows it are no parameters"
    if key == "":
        return None, "it is empty"
    if len(key) > LONGEST:
        return None, "it is longer than 255 bytes"
    return key, None
