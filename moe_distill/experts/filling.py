"""Fills in a method's missing settings from the scale, the user's own rows and published rows."""

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from moe_distill.errors import FieldError
from moe_distill.methods.base import Method
from moe_distill.methods.presets.rows import Settings, most_specific_key, nearest_row, published_row
from moe_distill.store.identity import word_of
from moe_distill.validation.misfits import builder_of, missing_parameter, parameters_of, problem_within
from moe_distill.validation.values import OwnRows, Positive, Shortened, Text, checked
from moe_distill.validation.wording import no_such_field

MethodFactory = functools.partial[Method]
_NO_VALUE = "a value: neither the scale nor a published row of this data set has one"


def kind_of(method: MethodFactory) -> type[Method]:
    """Return the class of the method that a builder builds."""
    return cast(type[Method], method.func)


@checked
@dataclass(frozen=True)
class Presets:
    """Sources of missing settings, in order of priority: the scale, the user's rows, published rows.

    Settings that a method already has are never changed.

    Args:
        data: The data set's name.
        normalisation: How the data are normalised; some rows apply to one normalisation only.
        shorten: Settings by method name, from the scale.
        length: Factor on the iterations that are filled in; those that a method already has stay as they are.
        rows: The user's own rows by method name, data set (or ``default``) and images per class. Published
            rows are those of the method's class.
    """

    data: Text
    normalisation: Text = "channel"
    shorten: Shortened = field(default_factory=dict)
    length: Positive = 1.0
    rows: OwnRows = field(default_factory=dict)

    def fill(self, method: MethodFactory, ipc: int) -> tuple[MethodFactory, int | None]:
        """Return the method with every setting filled in, and the ipc of the row used, or None without a row.

        Args:
            method: The method with the settings it already has.
            ipc: Images per class by which the row is chosen.

        Raises:
            FieldError: A setting has no value or a wrong one. Its key starts with ``method`` if the method
                itself has it; otherwise it is the path of the source, such as ``presets.shorten.idm.lr``.
        """
        name = word_of(method.func)
        user_row_ipc, user_row, user_row_path = self._user_row(name, ipc)
        row, published = published_row(kind_of(method).presets, self.data, self.normalisation, ipc)
        # "or", because a configuration may set the entry to null.
        shorter = self.shorten.get(name) or {}
        check_row(method, user_row, user_row_path)
        check_row(method, shorter, f"presets.shorten.{name}")
        looked_up = _layered(_without_none(shorter), _layered(user_row, published))
        filled = _filled(method, _lengthened(looked_up, self.length))
        if (missing := missing_parameter(filled, {})) is not None:
            raise FieldError(f"method.{missing}", "", f"{_NO_VALUE}; set method.{missing}")
        try:
            build_once(filled)
        except FieldError as error:
            setting = error.key.split(".")
            if _has(method, setting):
                raise error.inside("method") from error
            # The error names the place where the user can change the value.
            sources = {f"presets.shorten.{name}": shorter, user_row_path: user_row}
            paths = [path for path, settings in sources.items() if setting_at(settings, setting) is not None]
            raise error.inside(paths[0] if paths else "method") from error
        return filled, row if user_row_ipc is None else user_row_ipc

    def _user_row(self, name: str, ipc: int) -> tuple[int | None, Settings, str]:
        """Return the nearest of the user's own rows: its ipc, its settings and its path in this object."""
        rows_by_data = self.rows.get(name) or {}
        data = most_specific_key(rows_by_data, self.data, self.normalisation)
        if data is None:
            return None, {}, ""
        # A configuration may write an ipc as a number or as a text; rows keep the key as it was written.
        keys_by_ipc = {int(key): key for key in rows_by_data[data]}
        row = nearest_row(keys_by_ipc, ipc)
        if row is None:
            return None, {}, ""
        return row, rows_by_data[data][keys_by_ipc[row]], f"presets.rows.{name}.{data}.{row}"


def _lengthened(settings: Settings, length: float) -> Settings:
    """Return settings with so many times their iterations, at least one, if there are any."""
    if length == 1.0 or not settings.get("iterations"):
        return settings
    return {**settings, "iterations": max(1, round(length * settings["iterations"]))}


def _layered(first: Settings, second: Settings) -> Settings:
    """Merge two nested mappings of settings; where both have a setting, the first one's value is taken."""
    merged = {
        name: _layered(first[name], second[name])
        for name in first.keys() & second.keys()
        if isinstance(first[name], Mapping) and isinstance(second[name], Mapping)
    }
    return {**second, **first, **merged}


def _without_none(settings: Settings) -> Settings:
    """Return nested settings without those that are None, by which a scale withdraws a setting."""
    inner = {
        name: _without_none(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
    }
    return {name: value for name, value in inner.items() if value is not None}


def _filled(builder: functools.partial[Any], looked_up: Settings) -> functools.partial[Any]:
    """Return a builder with its missing settings filled in, and those of nested builders and records."""
    # A mapping holds the settings of a part: without the part there is nothing to fill.
    settings = {name: value for name, value in looked_up.items() if not isinstance(value, Mapping)}
    for name, value in builder.keywords.items():
        settings[name] = value
        if (inner := builder_of(value)) is not None:
            inner = _filled(inner, looked_up.get(name) or {})
            settings[name] = inner if isinstance(value, functools.partial) else inner()
    parameters = parameters_of(builder.func)
    # In the order of the parameters, because a roster's name lists differing settings in their order.
    ordered = {name: settings[name] for name in parameters if name in settings}
    others = {name: settings[name] for name in builder.keywords if name not in parameters}
    return functools.partial(builder.func, *builder.args, **ordered, **others)


def check_row(builder: functools.partial[Any], row: Any, path: str) -> None:
    """Reject a row with settings that its method or part does not have, because they would have no effect.

    Args:
        builder: Builder of the method or part.
        row: The settings, in nested mappings.
        path: Path of the row, for the error.

    Raises:
        FieldError: The row has an unknown setting, or is no mapping.
    """
    if not isinstance(row, Mapping):
        raise FieldError(path, row, "settings by name")
    parameters = parameters_of(builder.func)
    is_method = inspect.isclass(builder.func) and issubclass(builder.func, Method)
    # A part from another library may take the place of ours; settings of ours in the row are then ignored.
    is_ours = is_method or builder.func.__module__.startswith("moe_distill")
    for name, value in row.items():
        if is_ours and name not in parameters:
            raise FieldError(name, value, *no_such_field(name, parameters)).inside(path)
        if (nested := builder_of(builder.keywords.get(name))) is not None:
            check_row(nested, value, f"{path}.{name}")


def build_once(method: MethodFactory) -> None:
    """Build a method once, so that one that cannot be built is rejected before hours of computation.

    Raises:
        FieldError: The method cannot be built.
    """
    if (problem := problem_within(method)) is not None:
        raise FieldError(problem.field, problem.value, problem.allowed)
    try:
        iterations = method().iterations
    except TypeError as error:
        if "required" not in str(error):  # a bug, whose own lines say more
            raise
        allowed = f"settings with which its parts can be built: {error}"
        raise FieldError("", word_of(method.func), allowed) from error
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 0:
        raise FieldError("iterations", iterations, "a whole number of at least 0")


def setting_at(settings: Any, path: Sequence[str]) -> Any:
    """Return the value at a path of nested settings, builders or records; None if there is none.

    Example:
        >>> setting_at({"queue": {"steps": 10}}, ["queue", "steps"])
        10
    """
    for name in path:
        entries = getattr(settings, "keywords", settings)
        settings = entries.get(name) if isinstance(entries, Mapping) else getattr(entries, name, None)
    return settings


def _has(method: MethodFactory, path: Sequence[str]) -> bool:
    """Return True if the method itself has the setting at a path, even with the value None."""
    *outer, name = path
    holder = setting_at(method, outer)
    entries = getattr(holder, "keywords", holder)
    return name in entries if isinstance(entries, Mapping) else hasattr(entries, name)
