"""Text of strangers on its way to a terminal or a page: what would move the cursor or turn the writing is
spelt out.
"""

import re

# Control characters, line and paragraph separators, what turns the direction of writing, halves of a pair.
_ACTS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "\n\t") -> str:
    """Return a text in which every character that does something is written as its escape sequence.

    Args:
        text: Of whatever origin.
        keep: Such characters that stay.
    """
    return _ACTS.sub(
        lambda found: found[0] if found[0] in keep else found[0].encode("unicode_escape").decode(), text
    )
