"""What ``about.json``, which this package's exports have beside their files, says of a set."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.synthetic.formats.foreign import Statistics

FILE = "about.json"
_MOST_BYTES = 1 << 22


@dataclass(frozen=True)
class About:
    """What is known of a set's labels and numbers; None where nobody said.

    Args:
        classes: Class names in the order of the labels.
        statistics: Mean and std of each channel by which the numbers are standardised.
        logits: Whether learned labels are logits, as all exports write them.
    """

    classes: tuple[str, ...] | None = None
    statistics: tuple[Statistics, Statistics] | None = None
    logits: bool = False


def beside(folder: Path) -> About:
    """Return what the file in a folder says; another program's file of that name says nothing."""
    file = folder / FILE
    if not file.is_file() or file.stat().st_size > _MOST_BYTES:
        return About()
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return About()
    if not isinstance(told, dict) or "set_fingerprint" not in told:
        return About()
    mean, std = _numbers(told.get("mean")), _numbers(told.get("std"))
    return About(
        _texts(told.get("classes")), (mean, std) if mean and std and min(std) > 0 else None, logits=True
    )


def _texts(value: Any) -> tuple[str, ...] | None:
    return tuple(value) if isinstance(value, list) and all(isinstance(text, str) for text in value) else None


def _numbers(value: Any) -> Statistics | None:
    whole = isinstance(value, list) and all(type(n) in (int, float) and abs(n) < 1e3 for n in value)
    return tuple(map(float, value)) if whole else None
