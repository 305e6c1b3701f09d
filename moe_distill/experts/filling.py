"""Settings that a method leaves out: looked up in what a scale shortens, then in published rows."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from moe_distill.errors import FieldError
from moe_distill.methods.base import Method
from moe_distill.methods.presets.rows import Settings, nearest_row, place_of, published_row
from moe_distill.store.identity import word_of
from moe_distill.validation.misfits import builder_of, missing_of, parameters_of, problem_within
from moe_distill.validation.values import OwnRows, Shortened, Text, checked

MethodFactory = functools.partial[Method]
_LACKING = "a value: neither the scale nor a published row of this data set has one"


def kind_of(method: MethodFactory) -> type[Method]:
    """Return the class that a method's builder builds."""
    return cast(type[Method], method.func)


@checked
@dataclass(frozen=True)
class Presets:
    """Where settings that a method leaves out come from; whatever it has stays.

    Args:
        data: The data set's name.
        normalisation: How it is normalised: some rows hold for one normalisation alone.
        shorten: Settings by method name, from the scale; they come first.
        rows: Rows of the user's own by method name, data set (or ``default``) and images per class. What they
            say comes before the published row, which the method's class has.
    """

    data: Text
    normalisation: Text = "channel"
    shorten: Shortened = field(default_factory=dict)
    rows: OwnRows = field(default_factory=dict)

    def fill(self, method: MethodFactory, ipc: int) -> tuple[MethodFactory, int | None]:
        """Return a method with every setting decided, and the ipc of the row used; None if there is none.

        Args:
            method: The method as far as it is decided.
            ipc: Images per class that the row is chosen by.

        Raises:
            FieldError: A setting has no value, or cannot be. Its key starts with ``method`` where the method
                itself has it, and is else a path from the holder of this object, ``presets.shorten.idm.lr``.
        """
        name = word_of(method.func)
        own_row, own, path = self._own_row(name, ipc)
        row, published = published_row(kind_of(method).presets, self.data, self.normalisation, ipc)
        shorter = self.shorten.get(name) or {}
        check_row(method, own, path)
        check_row(method, shorter, f"presets.shorten.{name}")
        filled = _filled(method, _layered(_decided(shorter), _layered(own, published)))
        if (lacking := missing_of(filled, {})) is not None:
            raise FieldError(f"method.{lacking}", "", _LACKING)
        try:
            build_once(filled)
        except FieldError as error:
            setting = error.key.split(".")
            sources = {f"presets.shorten.{name}": shorter, path: own}
            brought = [place for place, one in sources.items() if setting_at(one, setting) is not None]
            raise error.inside("method" if _has(method, setting) else [*brought, "method"][0]) from error
        return filled, row if own_row is None else own_row

    def _own_row(self, name: str, ipc: int) -> tuple[int | None, Settings, str]:
        """Return the nearest of the user's own rows: its ipc, its settings and its path in this object."""
        by_place = self.rows.get(name) or {}
        place = place_of(by_place, self.data, self.normalisation)
        rows = {int(typed): typed for typed in by_place[place]} if place else {}
        if place is None or (row := nearest_row(rows, ipc)) is None:
            return None, {}, ""
        return row, by_place[place][rows[row]], f"presets.rows.{name}.{place}.{row}"


def _layered(first: Settings, second: Settings) -> Settings:
    """Return the settings of both; of a setting in both, the first's."""
    both = {
        name: _layered(first[name], second[name])
        for name in first.keys() & second.keys()
        if isinstance(first[name], Mapping) and isinstance(second[name], Mapping)
    }
    return {**second, **first, **both}


def _decided(settings: Settings) -> Settings:
    """Return settings without those that are None, which a scale takes back."""
    inner = {n: _decided(value) if isinstance(value, Mapping) else value for n, value in settings.items()}
    return {name: value for name, value in inner.items() if value is not None}


def _filled(builder: functools.partial[Any], looked_up: Settings) -> functools.partial[Any]:
    """Return a builder with the settings that it leaves out, in nested builders and records too."""
    # Settings by name are those of a part: without the part there is nothing to fill.
    settings = {name: value for name, value in looked_up.items() if not isinstance(value, Mapping)}
    for name, value in builder.keywords.items():
        settings[name] = value
        if (inner := builder_of(value)) is not None:
            inner = _filled(inner, looked_up.get(name) or {})
            settings[name] = inner if isinstance(value, functools.partial) else inner()
    takes = parameters_of(builder.func)
    # In the order of the parameters, in which words for rosters name what differs.
    ordered = {name: settings[name] for name in takes if name in settings}
    others = {name: settings[name] for name in builder.keywords if name not in takes}
    return functools.partial(builder.func, *builder.args, **ordered, **others)


def check_row(builder: functools.partial[Any], row: Any, path: str) -> None:
    """Refuse settings of a row that what they are for does not have: nothing would ask for them.

    Args:
        builder: What they are for; a part of another library's leaves the settings of ours unused.
        row: The settings, in nested mappings.
        path: Where the row stands.

    Raises:
        FieldError: There are some, or what is to be settings is none.
    """
    if not isinstance(row, Mapping):
        raise FieldError(path, row, "settings by name")
    takes = parameters_of(builder.func)
    is_method = inspect.isclass(builder.func) and issubclass(builder.func, Method)
    is_ours = is_method or builder.func.__module__.startswith("moe_distill")
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
    try:
        method()
    except TypeError as error:
        if "required" not in str(error):  # a bug, whose own lines say more
            raise
        allowed = f"settings with which its parts can be built: {error}"
        raise FieldError("", word_of(method.func), allowed) from error


def setting_at(settings: Any, path: Sequence[str]) -> Any:
    """Return what stands at a path of nested settings, builders or records; None where nothing does."""
    for name in path:
        entries = getattr(settings, "keywords", settings)
        settings = entries.get(name) if isinstance(entries, Mapping) else getattr(entries, name, None)
    return settings


def _has(method: MethodFactory, path: Sequence[str]) -> bool:
    """Say whether a method itself has the setting at a path, be it None."""
    *outer, name = path
    holder = setting_at(method, outer)
    entries = getattr(holder, "keywords", holder)
    return name in entries if isinstance(entries, Mapping) else hasattr(entries, name)
