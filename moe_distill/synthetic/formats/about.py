"""Reading ``about.json``, which describes a set exported by this package."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.data.real_set import Statistics

FILE = "about.json"
_MOST_BYTES = 1 << 22  # exports write far less; a larger file is another program's


@dataclass(frozen=True)
class About:
    """How to read a set's labels and pixel values; None for what is not known.

    Args:
        classes: Class names in the order of the labels.
        statistics: Mean and std of each channel that the values are standardised by.
        logits: Whether learned labels are logits, as they are in all exports.
    """

    classes: tuple[str, ...] | None = None
    statistics: tuple[Statistics, Statistics] | None = None
    logits: bool = False


def read_about(folder: Path) -> About:
    """Return the content of a folder's ``about.json``; nothing is known if there is none of this package."""
    file = folder / FILE
    if not file.is_file() or file.stat().st_size > _MOST_BYTES:
        return About()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # not JSON, or nested so deep that it was made to crash readers
        return About()
    # Other programs may have a file of this name, but none with the fingerprint of a set.
    if not isinstance(content, dict) or "set_fingerprint" not in content:
        return About()
    mean, std = _numbers(content.get("mean")), _numbers(content.get("std"))
    statistics = (mean, std) if mean and std and min(std) > 0 else None
    return About(_texts(content.get("classes")), statistics, logits=True)


def _texts(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and all(isinstance(text, str) for text in value) else None


def _numbers(value: Any) -> Statistics | None:
    # ``type`` and not isinstance, to which True is an int; the bound leaves out NaN and infinity as well.
    are_numbers = isinstance(value, list) and all(type(n) in (int, float) and abs(n) < 1e3 for n in value)
    return tuple(map(float, value)) if are_numbers else None
