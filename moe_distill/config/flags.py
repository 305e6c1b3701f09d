"""Hydra's flags: those that cannot serve are refused, where Hydra would end in lines of its own."""

import contextlib
import io
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from moe_distill.errors import InputError

_COMMANDS = ("run", "multirun", "cfg", "info", "shell_completion")
_SHELLS = ("bash", "fish", "zsh")


def check_flags(arguments: Sequence[str]) -> str | None:
    """Return the package that is to be shown alone, if the flags of a command line name one.

    Raises:
        InputError: Some lack a value or another flag, or would run what a file holds.
    """

    def refuse(message: str) -> NoReturn:
        raise InputError(
            "flags", shlex.join(a for a in arguments if a.startswith("-")), f"{message}; see --hydra-help"
        )

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    given = parser.parse_args([*arguments])
    if given.experimental_rerun is not None:  # a pickle, which does what its maker wished
        allowed = "left out: nobody reads what such a file does; give the command line itself once more"
        raise InputError("--experimental-rerun", given.experimental_rerun, allowed)
    for name, beside in (("resolve", given.cfg or given.help), ("package", given.cfg)):
        if getattr(given, name) and not beside:
            raise InputError(
                f"--{name}", getattr(given, name), "beside --cfg job, of which it says what is shown"
            )
    if len(asked := [f"--{name}" for name in _COMMANDS if getattr(given, name)]) > 1:
        raise InputError("flags", " ".join(asked), "one of them")
    if given.config_dir is not None and not Path(given.config_dir).is_dir():
        raise InputError("--config-dir", given.config_dir, "a folder of yamls")
    asks = ["query"] * ("COMP_LINE" in os.environ)  # as a shell does, and nobody by hand
    completed = [f"{what}={shell}" for what in ("install", "uninstall", *asks) for shell in _SHELLS]
    if given.shell_completion and (len(given.overrides) != 1 or given.overrides[0] not in completed):
        raise InputError("--shell-completion", " ".join(given.overrides), f"one of {', '.join(completed)}")
    package: str | None = given.package
    return package


@contextlib.contextmanager
def showing(package: str | None) -> Iterator[None]:
    """Refuse a package of ``--cfg`` that is not there, of which Hydra says so and ends as after a crash.

    Args:
        package: The package, or None where the whole configuration is shown, or none.

    Raises:
        InputError: There is no such package.
    """
    said = io.StringIO()
    try:
        with contextlib.nullcontext() if package is None else contextlib.redirect_stderr(said):
            yield
    except SystemExit as ended:
        if ended.code == 1 and "not found in config" in said.getvalue():
            raise InputError("--package", package, "a key of the configuration that is not null") from ended
        raise
