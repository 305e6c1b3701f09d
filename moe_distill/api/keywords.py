"""Keywords of a Python call as overrides of the command line, and objects among them as options."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from moe_distill.config.folders import options
from moe_distill.config.objects import node_of
from moe_distill.diversity.measures import Measure
from moe_distill.errors import InputError, within
from moe_distill.methods.base import Method
from moe_distill.models.base import Network
from moe_distill.models.module_network import ModuleNetwork
from moe_distill.store.identity import word_of

# Keywords that read better in Python, and the configuration's keys for them.
_KEYS = {"network": "model", "store": "paths.store", "runs": "paths.runs"}
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_WORDS_OF_YAML = ("null", "true", "false", "nan", "inf")


@dataclass
class Call:
    """What the keywords of a call say.

    Attributes:
        overrides: The same on the command line.
        objects: Objects by group and by the name of the option that stands for them.
    """

    overrides: list[str] = field(default_factory=list)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)

    def set(self, key: str, value: Any) -> None:
        """Set a group to an option or an object, or a value."""
        if not options(key):
            # Added where no yaml lists it: the class that reads it knows whether there is such a setting.
            self.overrides.append(f"{'++' if '.' in key else ''}{key}={literal(key, value)}")
        elif value is None:
            self.overrides.append(f"{key}=none")
        elif isinstance(value, str):
            self.overrides.append(f"{key}={value}")
        elif isinstance(value, int | float | Sequence | Mapping):
            raise InputError(key, value, f"one of {', '.join(options(key))}, or an object")
        else:
            self.overrides.append(f"{key}={self.offer(key, value)}")

    def offer(self, group: str, value: Any, name: str | None = None) -> str:
        """Return the name of the option that stands for an object."""
        with within(group):
            node = node_of(value)  # now, so that an object that cannot be written down is named
        if name is not None and not _NAME.fullmatch(name):
            raise InputError(group, name, "a name of letters, digits and _")
        word = name or re.sub(r"\W", "_", getattr(value, "name", "") or word_of(_made_by(value)))
        offered = self.objects.setdefault(group, {})
        if offered.setdefault(word, value) is not value and node_of(offered[word]) != node:
            raise InputError(group, word, "different names for different objects: {'a': …, 'b': …}")
        return word


def call_of(keywords: Mapping[str, Any]) -> Call:
    """Return the overrides and objects of a call's keywords; ``options`` holds any keys with dots.

    Raises:
        InputError: A value is of no use for its keyword.

    Example:
        >>> call_of({"method": "dm", "ipc": 5, "options": {"method.lr": 0.1}}).overrides
        ['method=dm', 'ipc=5', '++method.lr=0.1']
    """
    call = Call()
    for name, value in settings_of(keywords).items():
        group, dot, field = name.partition(".")
        key = f"{_KEYS.get(group, group)}{dot}{field}"
        if key == "students":
            _set_students(call, value)
        elif key == "model" and not isinstance(value, str):
            call.set(key, as_factory(value))
        elif key == "diversity" and isinstance(value, Measure):
            call.overrides.append(f"diversity={call.offer('diversity/measure', value)}")
        elif key == "method" and not isinstance(value, str):
            call.set(key, _as_method(value))
        else:
            call.set(key, value)
    return call


def settings_of(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return all values that a call sets; those of ``options`` have keys with dots.

    Raises:
        InputError: ``options`` is no mapping.

    Example:
        >>> settings_of({"method": "dm", "options": {"method.lr": 0.1}})
        {'method': 'dm', 'method.lr': 0.1}
    """
    options = keywords.get("options") or {}
    if not isinstance(options, Mapping):
        raise InputError("options", options, 'settings by key, such as {"method.lr": 0.1}')
    return {**{name: value for name, value in keywords.items() if name != "options"}, **options}


def _set_students(call: Call, students: Any) -> None:
    """Set the students: a group's name, one network, a list of networks, or networks by name."""
    if isinstance(students, str) and students in options("students"):
        call.overrides.append(f"students={students}")
        return
    if isinstance(students, str) or not isinstance(students, Sequence | Mapping):
        students = [students]
    if not students:
        raise InputError("students", students, "at least one network")
    words = []
    for name, network in students.items() if isinstance(students, Mapping) else ((None, n) for n in students):
        if not isinstance(network, str):
            words.append(call.offer("model", as_factory(network), name))
        elif name is None:
            words.append(network)
        else:
            allowed = "a class or function; a network that is chosen by its name is called by it"
            raise InputError(f"students.{name}", network, allowed)
    call.overrides.append(f"students=[{','.join(words)}]")


def _as_method(method: Any) -> Any:
    """Return a builder of methods: a subclass of ``Method``, or a partial of one.

    Raises:
        InputError: It is something else.
    """
    made_by = method.func if isinstance(method, partial) else method
    if not (isinstance(made_by, type) and issubclass(made_by, Method)):
        allowed = f"one of {', '.join(options('method'))}, a subclass of Method, or a partial of one"
        raise InputError("method", getattr(made_by, "__name__", made_by), allowed)
    return method if isinstance(method, partial) else partial(method)


def as_factory(network: Any) -> Any:
    """Return a builder of networks: a class of ours as it is, any other class or function adapted.

    Raises:
        InputError: It is a network that was built already, or cannot build one.
    """
    if not callable(network) or (hasattr(network, "parameters") and not isinstance(network, type)):
        allowed = "a class or a function that makes the network: every student starts from weights of its own"
        raise InputError("network", type(network).__name__, allowed)
    made_by = _made_by(network)
    if isinstance(made_by, type) and issubclass(made_by, Network):
        return network if isinstance(network, partial) else partial(network)
    return partial(ModuleNetwork, builder=network)


def _made_by(value: Any) -> Any:
    """Return the class or function that a value is, is a partial of, or was made by."""
    if isinstance(value, partial):
        inner = value.keywords.get("builder") if value.func is ModuleNetwork else None
        return _made_by(inner or value.func)
    return value if hasattr(value, "__name__") else type(value)


def literal(key: str, value: Any) -> str:
    r"""Return a value as one types it on the command line, quoted where it must be.

    Example:
        >>> literal("lr", None), literal("name", "it's"), literal("ipcs", [7, 3]), literal("lrs", {"a": 0.1})
        ('null', "'it\\'s'", '[7,3]', '{a:0.1}')
    """
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str) and _NAME.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    if isinstance(value, str | Path):
        text = re.sub(r"(\\+)(?='|$)", r"\1\1", str(value)).replace("'", r"\'")
        return f"'{text}'"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{literal(key, v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(literal(key, entry) for entry in value) + "]"
    raise InputError(key, value, "a number, a text, a list or a mapping of such")
