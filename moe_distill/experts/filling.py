"""Settings that say ``published``: looked up in the row that a scale or a preset has for them."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from moe_distill.errors import FieldError
from moe_distill.methods.base import Method
from moe_distill.misfits import PUBLISHED, missing_of, problem_within

MethodFactory = functools.partial[Method]


def nearest_row(rows: Sequence[int], ipc: int) -> int | None:
    """Return the row nearest to ``ipc`` in ratio, the smaller of two that are equally near; None without rows."""
    return min(sorted(rows), key=lambda row: max(row, ipc) / min(row, ipc), default=None)


def fill(partial: functools.partial[Any], published: Mapping[str, Any], shorter: Mapping[str, Any], path: str) -> Any:
    """Replace what says ``published``, in nested builders and records too: by the scale's value, else the row's.

    Raises:
        InputError: Neither has one.
    """
    given = partial.keywords.items()
    settings = {n: _filled(v, published.get(n), shorter.get(n), f"{path}.{n}") for n, v in given}
    return functools.partial(partial.func, *partial.args, **settings)


def _filled(value: Any, published: Any, shorter: Any, path: str) -> Any:
    if isinstance(value, functools.partial):
        return fill(value, published or {}, shorter or {}, path)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.init]
        record = functools.partial(type(value), **{f.name: getattr(value, f.name) for f in fields})
        return fill(record, published or {}, shorter or {}, path)()
    if not isinstance(value, str) or value != PUBLISHED:
        return value
    found = published if shorter is None else shorter
    if found is None:
        raise FieldError(path, PUBLISHED, "a value: no settings are published for this data set")
    return found


def build_once(method: MethodFactory) -> None:
    """Refuse a method that cannot be built, hours before it is.

    Raises:
        FieldError: It cannot.
    """
    if (found := problem_within(method)) is not None:
        raise FieldError(found.field, found.value, found.allowed)
    if missing_of(method, {}) is None:
        method()


def setting_at(settings: Any, path: Sequence[str]) -> Any:
    """Return what stands at a path of nested settings, builders or records; None where nothing does."""
    for name in path:
        entries = getattr(settings, "keywords", settings)
        settings = entries.get(name) if isinstance(entries, Mapping) else getattr(entries, name, None)
    return settings
