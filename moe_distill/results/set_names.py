"""What names a set in result rows, whenever they were written."""

import re
from collections.abc import Mapping
from typing import Any

_TENSOR_DIGITS = 64
_FINGERPRINT = re.compile(rf"[0-9a-f]{{{_TENSOR_DIGITS}}}-[0-9a-f]+")


def set_of(row: Mapping[str, Any]) -> str:
    """Return what names the set a row's student was trained on: the part of its fingerprint that covers the tensors.

    Rows from before fingerprints covered how tensors are read have this part alone. Joined by it, rows of one set are
    told as such whenever they were written.
    """
    name = str(row["set_fingerprint"])
    return name[:_TENSOR_DIGITS] if _FINGERPRINT.fullmatch(name) else name
