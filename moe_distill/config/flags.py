"""Check Hydra's command-line flags, on which Hydra itself would fail with a usage text or a traceback."""

import contextlib
import io
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser

from moe_distill.config.folders import folder_named, require_new
from moe_distill.errors import InputError

_COMMANDS = ("run", "multirun", "cfg", "info", "shell_completion")
_SHELLS = ("bash", "fish", "zsh")


def check_flags(arguments: Sequence[str]) -> str | None:
    """Check the flags of a command line, and return the value of ``--package``, or None.

    Raises:
        InputError: A flag lacks its value or the flag that it belongs to, or would unpickle a file.
    """

    def refuse(message: str) -> NoReturn:
        raise InputError(
            "flags", shlex.join(a for a in arguments if a.startswith("-")), f"{message}; see --hydra-help"
        )

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    flags = parser.parse_args([*arguments])
    if flags.experimental_rerun is not None:  # a pickle, which can execute anything
        allowed = "left out: such a file can execute code; type the command line again"
        raise InputError("--experimental-rerun", flags.experimental_rerun, allowed)
    for name, needed in (("resolve", flags.cfg or flags.help), ("package", flags.cfg)):
        if getattr(flags, name) and not needed:
            raise InputError(f"--{name}", getattr(flags, name), "only together with --cfg job")
    commands = [f"--{name}" for name in _COMMANDS if getattr(flags, name)]
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
    package: str | None = flags.package
    return package


def folders_of(arguments: Sequence[str]) -> list[Path]:
    """Return the folders of yamls that a command line names, by ``--config-dir`` or ``hydra.searchpath``.

    Raises:
        InputError: There is no such folder, or it has an option that is not used, as ours goes before it.
    """
    flags = get_args_parser().parse_args([*arguments])
    folders = [] if flags.config_dir is None else [Path(flags.config_dir).absolute()]
    for folder in folders:
        require_new("--config-dir", folder)
    for override in flags.overrides:
        if override.lstrip("+").startswith("hydra.searchpath="):
            places = OverridesParser.create().parse_override(override).value()
            found = [folder_named(place) for place in places] if isinstance(places, list) else []
            folders += [folder for folder in found if folder is not None]
    return folders


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
