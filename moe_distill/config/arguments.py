"""Rewrite command-line arguments into the order and quoting that Hydra accepts."""

import re
from collections.abc import Sequence
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from moe_distill.config.folders import is_group
from moe_distill.errors import InputError
from moe_distill.store.disk import expanded

# Last words of keys that take a path, such as data.root, paths.store, pipeline.to and hydra.run.dir.
PATHS = (
    "root",
    "path",
    "to",
    "dir",
    "subdir",
    "runs",
    "store",
    "output",
    "tables",
    "paper",
    "folder",
    "submitit_folder",
)
_QUOTES = ("'", '"')
# What begins a list, a mapping or a call of Hydra's grammar: such a value is not quoted as text.
_BRACKETS = ("[", "{", *(f"{name}(" for name in create_functions().definitions))
# A number above the largest float; Python refuses to parse one of more than 4300 digits.
_TOO_LONG = re.compile(r"(?<![\w.])\d[\d_]{308,}")


def as_hydra_reads(arguments: list[str]) -> list[str]:
    """Return a command line's arguments in the order and quoting that Hydra accepts.

    Example:
        >>> as_hydra_reads(["--seed=3", "name=über", "-m"])
        ['-m', 'seed=3', "name='über'"]
    """
    plain = with_debug_last(reordered([without_dashes(argument) for argument in arguments]))
    sweeping = not {"-m", "--multirun", "hydra.mode=MULTIRUN"}.isdisjoint(plain)
    return [with_option_quoted(with_text_quoted(argument, sweeping)) for argument in plain]


def with_debug_last(arguments: Sequence[str]) -> list[str]:
    """Return arguments with ``debug=fast`` as Hydra wants it typed, and last, as it shortens any experiment.

    Example:
        >>> with_debug_last(["debug=fast", "+experiment=table1"])
        ['+experiment=table1', '+debug=fast']
    """
    debug = [argument for argument in arguments if argument.lstrip("+").startswith("debug=")]
    return [*(a for a in arguments if a not in debug), *(f"+{a.lstrip('+')}" for a in debug)]


def with_option_quoted(override: str) -> str:
    """Return an override of a group with its value in quotes unless it is a name.

    Hydra fails on a number, list or mapping in the place of an option's name. With quotes it reports which
    options there are.

    Example:
        >>> with_option_quoted("model=7"), with_option_quoted("model=convnet3")
        ("model='7'", 'model=convnet3')
    """
    key, equals, value = override.partition("=")
    group = key.lstrip("+").partition("@")[0]
    if not equals or not group or not is_group(group):
        return override
    parsed = OverridesParser.create().parse_override(override)
    # Only students, and a group that is added, may be several options at once, as a list.
    several = key.startswith("+") or group == "students"
    is_name = parsed.is_sweep_override() or _is_name(parsed.value(), several)
    return override if is_name else f"{key}='{value}'"


def _is_name(value: Any, several: bool) -> bool:
    """Return True if a value is the name of an option, or if ``several`` a list of names."""
    if several and isinstance(value, list):
        return bool(value) and all(isinstance(name, str) for name in value)
    return isinstance(value, str | dict) and len(value) > 0


def reordered(arguments: Sequence[str]) -> list[str]:
    """Return arguments with Hydra's flags and their values first, each flag once, and then the overrides.

    Hydra's parser accepts the overrides only in one piece.

    Example:
        >>> reordered(["seed=1", "--config-dir", "mine", "ipc=1"])
        ['--config-dir', 'mine', 'seed=1', 'ipc=1']
    """
    actions = {option: action for action in get_args_parser()._actions for option in action.option_strings}
    flags: dict[str, list[str]] = {}
    overrides = []
    remaining = [*arguments]
    while remaining:
        argument = remaining.pop(0)
        action = actions.get(argument.partition("=")[0])
        if action is None:
            overrides.append(argument)
            continue
        # Of a flag with an optional value, as --cfg, the next argument is the value only if it is a choice.
        is_choice = action.choices is not None and bool(remaining) and remaining[0] in action.choices
        takes_next = action.nargs is None or is_choice
        flags[action.dest] = [argument]
        if takes_next and "=" not in argument and remaining:
            flags[action.dest].append(remaining.pop(0))
    return [*(part for flag in flags.values() for part in flag), *overrides]


def takes_path(key: str) -> bool:
    """Return True if a key takes a path.

    Example:
        >>> takes_path("pipeline.onto.root"), takes_path("seed")
        (True, False)
    """
    return "." in key and key.rpartition(".")[2] in PATHS


def without_dashes(argument: str) -> str:
    """Return ``--key=value`` as ``key=value``, as agents of Weights & Biases write it; keep Hydra's flags.

    Example:
        >>> without_dashes("--seed=3"), without_dashes("--config-dir=mine")
        ('seed=3', '--config-dir=mine')
    """
    flag, equals, _ = argument.partition("=")
    flags = [option for action in get_args_parser()._actions for option in action.option_strings]
    if not equals or not flag.startswith("--") or any(option.startswith(flag) for option in flags):
        return argument
    return argument.removeprefix("--")


def with_text_quoted(argument: str, sweeping: bool) -> str:
    """Return an override with its value in quotes if it is text that Hydra would not read literally.

    Hydra's grammar allows unquoted texts of ASCII letters only, and gives ``= ( [ #`` and others a meaning.
    A path that it would read as something else is quoted too. A comma is part of a path, unless the command
    line sweeps: then it separates values, and a text with a comma must be quoted by the user.

    Args:
        argument: One argument of the command line.
        sweeping: Whether the command line runs several jobs.

    Raises:
        InputError: Hydra cannot read the value even in quotes, or a path starts with the ``~`` of no user.

    Example:
        >>> with_text_quoted("name=a(b", sweeping=False)
        "name='a(b'"
        >>> with_text_quoted("seed=1,2", sweeping=True)
        'seed=1,2'
    """
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-"):
        return argument
    is_path = takes_path(key.lstrip("+").partition("@")[0])
    is_text = not value.startswith(_QUOTES if is_path else (*_QUOTES, *_BRACKETS))
    if is_path and is_text:  # shells expand ~ only at the start of an argument
        parts = value.split(",") if sweeping else [value]
        value = ",".join(str(expanded(part, key)) if part.startswith("~") else part for part in parts)
        argument = f"{key}={value}"
    if not is_path and not value.startswith(_QUOTES) and _TOO_LONG.search(value):
        raise InputError(key, f"{value[:40]}…", "numbers of at most 308 digits")
    if _is_read(argument, is_path and is_text, sweeping):
        return argument
    # A comma within ${oc.select:a,b} separates no values.
    values = value.split(",") if sweeping and "${" not in value else [value]
    quoted = f"{key}={','.join(QuotedString(part, Quote.single).with_quotes() for part in values)}"
    if _parsed(f"{key}=0") is None:
        raise InputError(
            key, value, "a key of names separated by dots, such as method.lr or +data@pipeline.onto"
        )
    if not is_text or _parsed(quoted) is None:
        raise InputError(key, value, "a value whose quotes and brackets are closed")
    return quoted


def _is_read(argument: str, as_path: bool, sweeping: bool) -> bool:
    """Return True if Hydra reads an override as it is meant: a path as one text, or several in a sweep."""
    parsed = _parsed(argument)
    if parsed is None or not as_path:
        return parsed is not None
    return sweeping if parsed.is_sweep_override() else isinstance(parsed.value(), str | None)


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except (HydraException, ValueError):  # ValueError: Python refuses to parse thousands of digits
        return None
