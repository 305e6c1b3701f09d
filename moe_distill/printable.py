"""Text safe to print: characters that would move the cursor or change the text direction become escapes."""

import re

# Control characters, line and paragraph separators, bidirectional overrides and isolates, lone surrogates.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, keep: str = "\n\t") -> str:
    r"""Return a text with every control character written as its escape sequence.

    Args:
        text: Any text, such as a file name or a message of another library.
        keep: Control characters to leave unchanged.

    Example:
        >>> print(printable("red\x1b[31m"))
        red\x1b[31m
    """
    return _CONTROL.sub(
        lambda match: match[0] if match[0] in keep else match[0].encode("unicode_escape").decode(), text
    )
