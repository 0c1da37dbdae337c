"""The key in a header: a string of RFC 9651 or, unless strict, the same without its quotes.

Parameters of a string are read and left out.
"""

import re

STRING = r'"(?:[ !#-\[\]-~]|\\["\\])*"'
# What else a parameter may be: a number, a date, a token, bytes, a truth, a string to be shown.
VALUE = "|".join([
    STRING,
    r"-?[0-9]{1,12}\.[0-9]{1,3}|@?-?[0-9]{1,15}|\?[01]",
    r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*",
    r":(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2,3}=*)?:",
    r'%"(?:[ !#$&-~]|%[0-9a-f]{2})*"',
])
QUOTED = re.compile(rf"({STRING})(.*)")
# What would make it a list, or end it for another reader, must be quoted.
BARE = re.compile(r"([!#-')-+\--:<-~][!#-+\--:<-~]*)?()")
PARAMETERS = re.compile(rf"(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:{VALUE}))?)*")
ESCAPE = re.compile(r'\\(["\\])')


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
        key = ESCAPE.sub(lambda escape: escape[1], key[1:-1])
    if PARAMETERS.fullmatch(rest) is None:
        return None, "what follows it are no parameters"
    return (key, None) if key else (None, "it is empty")
