"""Compose the configuration of a command line without running it."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig

from moe_distill.config.flags import check_flags
from moe_distill.config.folders import conf_dir, folders_of, searching
from moe_distill.terminal import PROGRAM


@contextlib.contextmanager
def composed(arguments: Sequence[str], *more: str) -> Iterator[tuple[Any, DictConfig]]:
    """Give Hydra's loader and the configuration of a command line, of a sweep that of its first job.

    Args:
        arguments: The command line as Hydra reads it.
        *more: Overrides that count unless the command line has others.

    Raises:
        HydraException: There is no such configuration.
    """
    flags = check_flags(arguments)
    overrides = [first for override in flags.overrides if (first := _first_value(override))]
    version.setbase("1.3")
    search_path = create_config_search_path(conf_dir())
    if flags.config_dir is not None:  # where Hydra's own command line puts it
        own = f"file://{Path(flags.config_dir).absolute()}"
        search_path.prepend("command-line", own, SearchPathQuery(provider="schema"))
    with searching(folders_of(arguments)):
        yield from _composed(search_path, flags.config_name or "config", [*more, *overrides])


def _composed(
    search_path: ConfigSearchPath, name: str, overrides: list[str]
) -> Iterator[tuple[Any, DictConfig]]:
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2(PROGRAM, search_path)
    try:
        cfg = hydra.compose_config(name, overrides, RunMode.RUN, with_log_configuration=False)
        yield hydra.config_loader, cfg
    finally:
        GlobalHydra.instance().clear()


def _first_value(override: str) -> str | None:
    """Return an override, of a swept key with its first value; None if that is not known beforehand."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return override
    if not parsed.is_discrete_sweep():
        return None
    return f"{override.partition('=')[0]}={next(iter(parsed.sweep_string_iterator()))}"
