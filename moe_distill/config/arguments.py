"""What stands on the command line, put as Hydra reads it."""

import re
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from moe_distill.config.schema import conf_dir
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
# What begins a list, a mapping or a call, which is no text, even where it cannot be read.
_BRACKETS = ("[", "{", *(f"{name}(" for name in create_functions().definitions))
# Of a number that no float holds, and whose digits Python may not even read.
_TOO_LONG = re.compile(r"(?<![\w.])\d[\d_]{308,}")


def with_option_quoted(override: str) -> str:
    """Return an override with its value in quotes where it names a group's option by what is no name.

    So do ``model=7``, ``students={}`` and ``data=[digits]``.

    Hydra then says which options there are; it takes no number for a name.
    """
    key, equals, value = override.partition("=")
    group = key.lstrip("+").partition("@")[0]
    if not equals or not group or not (Path(conf_dir()) / group).is_dir():
        return override
    parsed = OverridesParser.create().parse_override(override)
    names = (
        (str, dict, list) if key.startswith("+") else (str, dict)
    )  # of several yamls at once, what is added
    is_name = parsed.is_sweep_override() or (isinstance(parsed.value(), names) and parsed.value() != {})
    return override if is_name else f"{key}='{value}'"


def reordered(arguments: Sequence[str]) -> list[str]:
    """Put Hydra's flags, with their values, before the overrides, which argparse wants in one piece; each
    flag once.
    """
    actions = {option: action for action in get_args_parser()._actions for option in action.option_strings}
    flags: dict[str, list[str]] = {}
    overrides = []
    left = [*arguments]
    while left:
        argument = left.pop(0)
        action = actions.get(argument.partition("=")[0])
        if action is None:
            overrides.append(argument)
            continue
        takes_next = action.nargs is None or (
            action.choices is not None and bool(left) and left[0] in action.choices
        )
        flags[action.dest] = [
            argument,
            *([left.pop(0)] if takes_next and "=" not in argument and left else []),
        ]
    return [*(part for flag in flags.values() for part in flag), *overrides]


def takes_path(key: str) -> bool:
    """Say whether a key, such as ``pipeline.onto.root``, takes a path."""
    return "." in key and key.rpartition(".")[2] in PATHS


def without_dashes(argument: str) -> str:
    """Return ``--key=value``, as agents of Weights & Biases write it, as ``key=value``; Hydra's own flags
    stay.
    """
    flag, equals, _ = argument.partition("=")
    flags = [option for action in get_args_parser()._actions for option in action.option_strings]
    if not equals or not flag.startswith("--") or any(option.startswith(flag) for option in flags):
        return argument
    return argument.removeprefix("--")


def with_text_quoted(argument: str, sweeping: bool) -> str:
    """Return an override with its value in quotes where that is text that Hydra would not read as it is.

    Hydra knows letters of English alone, and takes ``= ( [ #`` and others for grammar. A path that it would
    read as something else is quoted too: one with a comma is one path, unless the command line sweeps: then
    commas part texts, and a text that holds one wants quotes of its own.

    Args:
        argument: Of the command line.
        sweeping: Whether that runs several jobs.

    Raises:
        InputError: It is no text and Hydra cannot read it, or a path in the home of nobody.
    """
    key, equals, value = argument.partition("=")
    if not equals or argument.startswith("-"):
        return argument
    is_path = takes_path(key.lstrip("+").partition("@")[0])
    is_text = not value.startswith(_QUOTES if is_path else (*_QUOTES, *_BRACKETS))
    if is_path and is_text:  # no shell expands ~ behind such a key
        parts = value.split(",") if sweeping else [value]
        value = ",".join(str(expanded(part, key)) if part.startswith("~") else part for part in parts)
        argument = f"{key}={value}"
    if not is_path and not value.startswith(_QUOTES) and _TOO_LONG.search(value):
        raise InputError(key, f"{value[:40]}…", "numbers of at most 308 digits")
    if _is_read(argument, is_path and is_text, sweeping):
        return argument
    values = value.split(",") if sweeping and "${" not in value else [value]
    quoted = f"{key}={','.join(QuotedString(one, Quote.single).with_quotes() for one in values)}"
    if _parsed(f"{key}=0") is None:
        raise InputError(
            key, value, "a key that is names parted by dots, after an @ too: +data@pipeline.onto"
        )
    if not is_text or _parsed(quoted) is None:
        raise InputError(key, value, "a value whose quotes and brackets are closed")
    return quoted


def _is_read(argument: str, as_path: bool, sweeping: bool) -> bool:
    """Say whether Hydra reads an override: a path as one, or as several where the command line sweeps."""
    parsed = _parsed(argument)
    if parsed is None or not as_path:
        return parsed is not None
    return sweeping if parsed.is_sweep_override() else isinstance(parsed.value(), str | None)


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except (HydraException, ValueError):  # the latter of a number of thousands of digits
        return None
