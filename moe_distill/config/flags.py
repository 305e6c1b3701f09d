"""Check Hydra's command-line flags, on which Hydra itself would fail with a usage text or a traceback."""

import contextlib
import io
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser

from moe_distill.config.choices import at_top
from moe_distill.errors import InputError
from moe_distill.validation.wording import closest

# What the first word of a command line may be instead of a setting.
COMMANDS = ("status", "report")
# Our own flag, beside Hydra's.
TREE = "--tree"
_MODES = ("run", "multirun", "cfg", "info", "shell_completion")
_SHELLS = ("bash", "fish", "zsh")


def check_flags(arguments: Sequence[str]) -> Any:
    """Check the flags of a command line and return them as Hydra's parser does.

    Raises:
        InputError: A flag lacks its value or the flag that it belongs to, or would unpickle a file.
    """

    def refuse(message: str) -> NoReturn:
        typed = [argument for argument in arguments if argument.startswith("-")]
        raise InputError("flags", shlex.join(typed), f"{message}; {_of_flags(typed)}see --hydra-help")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    flags = parser.parse_args([*arguments])
    if flags.experimental_rerun is not None:  # a pickle, which can execute anything
        allowed = "leave it out: such a file can execute code; type the command line again"
        raise InputError("--experimental-rerun", flags.experimental_rerun, allowed)
    for name, needed in (("resolve", flags.cfg), ("package", flags.cfg)):
        if getattr(flags, name) and not needed:
            raise InputError(f"--{name}", getattr(flags, name), "only together with --cfg job")
    commands = [f"--{name}" for name in _MODES if getattr(flags, name)]
    if len(commands) > 1:
        raise InputError("flags", " ".join(commands), "one of them")
    if flags.config_dir is not None and not Path(flags.config_dir).is_dir():
        raise InputError("--config-dir", flags.config_dir, "a folder of yamls")
    actions = ["install", "uninstall"]
    if "COMP_LINE" in os.environ:  # set by the shell's completion, which alone asks queries
        actions.append("query")
    completions = [f"{action}={shell}" for action in actions for shell in _SHELLS]
    if flags.shell_completion and (len(flags.overrides) != 1 or flags.overrides[0] not in completions):
        raise InputError("--shell-completion", " ".join(flags.overrides), f"one of {', '.join(completions)}")
    _check_words(flags.overrides)
    return flags


def _check_words(overrides: Sequence[str]) -> None:
    """Refuse words that are no settings, such as ``idm`` of ``method idm``.

    Args:
        overrides: The command line without its flags.

    Raises:
        InputError: There is such a word.
    """
    for word in overrides:
        if re.fullmatch(r"[\w./@+-]+", word):  # neither key=value nor ~key
            raise InputError("argument", word, _of_word(word))


def all_flags() -> list[str]:
    """Return every flag, short ones included."""
    return [TREE, *(option for action in get_args_parser()._actions for option in action.option_strings)]


def _of_flags(typed: Sequence[str]) -> str:
    """Return which flag was meant by the first of some that is unknown, as the start of a sentence."""
    known = all_flags()
    unknown = (flag.partition("=")[0] for flag in typed)
    near = next((closest(flag, known) for flag in unknown if flag not in known), None)
    return f"did you mean {near}? " if near else ""


def _of_word(word: str) -> str:
    """Return what a word should be that is neither a setting nor a flag."""
    if word in COMMANDS:
        return f"the first word: moe-distill {word} …"
    typed = {key.lstrip("+"): f"{key}=…" for key in at_top()} | {command: command for command in COMMANDS}
    if near := closest(word, typed):
        return f"did you mean {typed[near]}?"
    return f"key=value, or {' or '.join(COMMANDS)} as the first word"


@contextlib.contextmanager
def showing(package: str | None) -> Iterator[None]:
    """Refuse a ``--package`` that the configuration does not have; the block shows the configuration.

    Args:
        package: The package, or None if the command line has no such flag.

    Raises:
        InputError: There is no such package.
    """
    stderr = io.StringIO()
    try:
        with contextlib.nullcontext() if package is None else contextlib.redirect_stderr(stderr):
            yield
    except SystemExit as exit_error:
        # Hydra prints this and exits with 1, as after a crash.
        if exit_error.code == 1 and "not found in config" in stderr.getvalue():
            allowed = "a key of the configuration that is not null"
            raise InputError("--package", package, allowed) from exit_error
        raise
