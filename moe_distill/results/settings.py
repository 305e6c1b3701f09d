"""What a job set on its command line, as the column ``overrides`` of its rows stores it."""

_OPENING, _CLOSING, _QUOTES = "[{(", "]})", "'\""


def parse_settings(overrides: str) -> dict[str, str]:
    """Return the settings of a command line by their keys.

    A comma within brackets or quotes belongs to a value. The plus signs that tell Hydra to add a key are left
    out.

    >>> parse_settings("data=digits,ipc=[7,3],+protocol.first=1")
    {'data': 'digits', 'ipc': '[7,3]', 'protocol.first': '1'}
    """
    parts = (part.partition("=") for part in _split_at_commas(overrides) if part)
    return {key.lstrip("+"): value for key, _, value in parts}


def _split_at_commas(text: str) -> list[str]:
    parts: list[str] = []
    begin = depth = 0
    quote = ""
    for place, char in enumerate(text):
        if quote:
            # As in Hydra's grammar, a backslash before the quote makes it a character of the text.
            quote = "" if char == quote and text[place - 1] != "\\" else quote
        elif char in _QUOTES:
            quote = char
        elif char in _OPENING:
            depth += 1
        elif char in _CLOSING:
            depth = max(0, depth - 1)  # a bracket too many must not join all that follows
        elif char == "," and depth == 0:
            parts.append(text[begin:place])
            begin = place + 1
    return [*parts, text[begin:]]
