"""Keywords of a Python call as overrides of the command line, and objects among them as options."""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral, Number, Real
from pathlib import Path
from typing import Any

import torch

from moe_distill.config.folders import conf_dir, options
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
# Groups whose options an object may stand for, and what it is.
OBJECTS = {
    "method": "a subclass of Method, or a partial of one",
    "model": "a class or function that makes a network",
    "students": "classes or functions that make networks",
    "init": "a function (real, class, number, rng) that returns images",
    "diversity": "a measure, such as measures.HSIC()",
    "optimizer": "a class such as torch.optim.Adam, or a partial of one",
}
# What only a command line has.
_OF_COMMAND_LINE = ("debug", "experiment", "hydra")


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
        elif isinstance(value, Number | Sequence | Mapping | torch.optim.Optimizer):
            names = f"one of {', '.join(options(key))}"
            raise InputError(key, _shown(value), f"{names}, or {OBJECTS.get(key, 'an object')}")
        else:
            self.overrides.append(f"{key}={self.offer(key, value)}")

    def offer(self, group: str, value: Any, name: str | None = None) -> str:
        """Return the name of the option that stands for an object."""
        with within(group):
            node = node_of(value)  # now, so that an object that cannot be written down is named
        if name is not None and not _NAME.fullmatch(name):
            raise InputError(group, name, "a name of letters, digits and _")
        word = name or re.sub(r"\W", "_", getattr(value, "name", "") or word_of(_made_by(value)))
        is_taken = group in ("model", "method") and (Path(conf_dir()) / group / f"{word}.yaml").is_file()
        if is_taken and not _is_ours(value):
            other = f"students={{'mine': {word}}} gives another one" if group == "model" else "rename it"
            raise InputError(group, word, f"a name that moe_distill has not; {other}")
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
    for key, value in settings_of(keywords).items():
        if key == "students":
            _set_students(call, value)
        elif key == "model" and not isinstance(value, str):
            call.set(key, as_factory(value))
        elif key == "diversity" and isinstance(value, type) and issubclass(value, Measure):
            raise InputError(key, value.__name__, f"an object of the class: {value.__name__}()")
        elif key == "diversity" and isinstance(value, Measure):
            call.overrides.append(f"diversity={call.offer('diversity/measure', value)}")
        elif key == "init" and callable(value) and not _is_ours(value):
            call.set(key, _as_initializer(value))
        elif key == "method" and not isinstance(value, str):
            call.set(key, _as_method(value))
        else:
            call.set(key, value)
    return call


def settings_of(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return all values that a call sets, by the keys of the command line.

    Raises:
        InputError: ``options`` is no mapping, or two names set one key.

    Example:
        >>> settings_of({"network": "mlp", "options": {"method.lr": 0.1}})
        {'model': 'mlp', 'method.lr': 0.1}
    """
    more = keywords.get("options") or {}
    if not isinstance(more, Mapping):
        raise InputError("options", more, 'settings by key, such as {"method.lr": 0.1}')
    settings: dict[str, Any] = {}
    of_call = {name: value for name, value in keywords.items() if name != "options"}
    for name, value in (*of_call.items(), *more.items()):
        if not isinstance(name, str):
            raise InputError("options", name, 'keys that are texts, such as "method.lr"')
        group, dot, field = name.partition(".")
        key = f"{_KEYS.get(group, group)}{dot}{field}"
        if key in settings:
            raise InputError(name, _shown(value), f"leave it out: {key} is set already, to {settings[key]}")
        if group in _OF_COMMAND_LINE:
            raise InputError(name, _shown(value), "leave it out: only command lines have it")
        settings[key] = value
    return settings


def _shown(value: Any) -> Any:
    """Return what an error shows of a value: an object's class if its text would be long."""
    plain = isinstance(value, str | Number | Sequence | Mapping) or value is None
    return value if plain else getattr(value, "__name__", type(value).__name__)


def _is_ours(value: Any) -> bool:
    made_by = _made_by(value)
    return str(getattr(made_by, "__module__", "")).startswith("moe_distill.")


def _set_students(call: Call, students: Any) -> None:
    """Set the students: a group's name, one network, a list of networks, or networks by name."""
    if isinstance(students, str) and students in options("students"):
        call.overrides.append(f"students={students}")
        return
    if isinstance(students, str) or not isinstance(students, Sequence | Mapping):
        students = [students]
    if not students:
        raise InputError("students", students, "at least one network")
    words: list[str] = []
    for name, network in students.items() if isinstance(students, Mapping) else ((None, n) for n in students):
        if network is None or isinstance(network, set | Number) or not isinstance(name, str | None):
            allowed = f"a list of names, or of {OBJECTS['students']}, or such by name: {{'mine': MyNetwork}}"
            raise InputError("students", network if name is None else name, allowed)
        if not isinstance(network, str):
            words.append(call.offer("model", as_factory(network), name))
        elif name is None:
            words.append(network)
        else:
            allowed = f"a class or function; in a list, [{network!r}], a network of ours keeps its name"
            raise InputError(f"students.{name}", network, allowed)
    if twice := [word for word in words if words.count(word) > 1]:
        raise InputError("students", twice[0], "each network once; {'a': first, 'b': second} names two alike")
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


def _as_initializer(init: Any) -> Any:
    """Return a function that makes initial images.

    Raises:
        InputError: It has no name to make a key of, or takes other arguments.
    """
    name = getattr(_made_by(init), "__name__", type(init).__name__)
    if isinstance(_made_by(init), type) or not hasattr(_made_by(init), "__name__"):
        raise InputError("init", name, f"{OBJECTS['init']}, or a partial of one")
    try:
        inspect.signature(init).bind(*["real", "class", "number", "rng"])
    except TypeError as error:
        raise InputError("init", name, f"{OBJECTS['init']}; this one fails: {error}") from error
    return init


def as_factory(network: Any) -> Any:
    """Return a builder of networks: a class of ours as it is, any other class or function adapted.

    Raises:
        InputError: It is a network that was built already, or cannot build one.
    """
    if not callable(network) or (hasattr(network, "parameters") and not isinstance(network, type)):
        allowed = "a class or a function that makes the network: every student starts from weights of its own"
        raise InputError("network", _shown(network), allowed)
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
    if isinstance(value, Integral):  # also of numpy
        return repr(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if isinstance(value, str) and _NAME.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    if isinstance(value, str | Path):
        text = re.sub(r"(\\+)(?='|$)", r"\1\1", str(value)).replace("'", r"\'")
        return f"'{text}'"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{literal(key, v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ",".join(literal(key, entry) for entry in value) + "]"
    raise InputError(key, _shown(value), "a number, a text, a list or a mapping of such")
