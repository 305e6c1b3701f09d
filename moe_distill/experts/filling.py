"""Settings that say ``published``: looked up in the row that a scale or a preset has for them."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from moe_distill.errors import FieldError
from moe_distill.methods.base import Method
from moe_distill.validation.misfits import PUBLISHED, builder_of, missing_of, parameters_of, problem_within

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
    if (builder := builder_of(value)) is not None:
        filled = fill(builder, published or {}, shorter or {}, path)
        return filled if isinstance(value, functools.partial) else filled()
    if not isinstance(value, str) or value != PUBLISHED:
        return value
    found = published if shorter is None else shorter
    if found is None:
        raise FieldError(path, PUBLISHED, "a value: no settings are published for this data set")
    return found


def check_row(builder: functools.partial[Any], row: Any, path: str) -> None:
    """Refuse settings of a row that what they are for does not have: nothing would ask for them.

    Args:
        builder: What they are for; a part of another library's, put in the place of ours, leaves those of ours unused.
        row: The settings, in nested mappings.
        path: Where the row stands.

    Raises:
        FieldError: There are some, or what is to be settings is none.
    """
    if not isinstance(row, Mapping):
        raise FieldError(path, row, "settings by name")
    takes = parameters_of(builder.func)
    is_ours = builder.func.__module__.startswith("moe_distill")
    for name, value in row.items():
        if is_ours and name not in takes:
            raise FieldError(f"{path}.{name}", value, f"no such key; there are {', '.join(sorted(takes))}")
        if (nested := builder_of(builder.keywords.get(name))) is not None:
            check_row(nested, value, f"{path}.{name}")


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
