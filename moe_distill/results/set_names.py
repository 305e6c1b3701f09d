"""The name of a set in result rows, the same whenever they were written."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# Older fingerprints have the first part alone: they did not cover how tensors are read.
_OF_TENSORS = r"^([0-9a-f]{64})-[0-9a-f]+$"
_FINGERPRINT = re.compile(_OF_TENSORS)


def set_of(fingerprint: str) -> str:
    """Return the part of a set's fingerprint that covers its tensors, which names the set.

    Rows joined by it are recognised as rows of one set whenever they were written.

    >>> set_of("a" * 64 + "-b7") == set_of("a" * 64) == "a" * 64
    True
    >>> set_of("a name of another form")
    'a name of another form'
    """
    match = _FINGERPRINT.fullmatch(fingerprint)
    return match[1] if match else fingerprint


def set_name() -> "pl.Expr":
    """Return :func:`set_of` of a frame's rows, under the name ``set_fingerprint``."""
    import polars as pl

    return pl.col("set_fingerprint").str.replace(_OF_TENSORS, "$1")
