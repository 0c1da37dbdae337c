"""The part of regular expressions that all languages of this policy read alike.

What is beyond it is refused: `[[:alpha:]]` and `a++` mean one thing to Python and another to Rust.
"""

import re
import warnings

from oncegate import Err

MEMBER = r"(?:[^\\\[\]^-]|\\[\^$\\.*+?()\[\]{}|/-])"
CLASS = rf"\[\^?-?(?:{MEMBER}(?:-{MEMBER})?|\\[dDwW])+-?\]"
ATOM = rf"[^\\.*+?()\[\]{{}}|^$]|\\[dDwW\^$\\.*+?()\[\]{{}}|/]|\.|{CLASS}|\)"
COUNT = r"(?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\??"
KNOWN = re.compile(rf"(?:(?:{ATOM})(?:{COUNT})?|\((?:\?:)?|[|^$])*", re.DOTALL)
# Operators on classes, for some.
DOUBLED = re.compile("&&|~~")

# What `re` finds doubtful is an error: to show a warning Python looks for a file, which is a trap.
warnings.simplefilter("error")


def compile_pattern(pattern) -> re.Pattern:
    """A pattern for `fullmatch`."""
    if not isinstance(pattern, str) or KNOWN.fullmatch(pattern) is None or DOUBLED.search(pattern):
        raise Err("`pattern` must be of literals, classes, \\d, \\w, ., groups, |, *, +, ?, {m,n}, ^ and $")
    try:
        return re.compile(pattern, re.ASCII)
    except (re.error, Warning) as error:
        raise Err(f"`pattern` is no regular expression: {error}") from None
