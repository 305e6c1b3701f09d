"""What names a set in result rows, whenever they were written."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

# Rows from before fingerprints covered how tensors are read have the first part alone.
_OF_TENSORS = r"^([0-9a-f]{64})-[0-9a-f]+$"
_FINGERPRINT = re.compile(_OF_TENSORS)


def set_of(row: Mapping[str, Any]) -> str:
    """Return what names a row's set: the part of its fingerprint that covers the tensors.

    Joined by it, rows of one set are recognised as such whenever they were written.
    """
    name = str(row["set_fingerprint"])
    return match[1] if (match := _FINGERPRINT.fullmatch(name)) else name


def set_name() -> "pl.Expr":
    """Return :func:`set_of` of a frame's rows, under the name of its column."""
    import polars as pl

    return pl.col("set_fingerprint").str.replace(_OF_TENSORS, "$1")
