"""Compose the configuration of a command line without running it."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from moe_distill.config.choices import folders
from moe_distill.config.schema import conf_dir


@contextlib.contextmanager
def composed(arguments: Sequence[str], *more: str) -> Iterator[tuple[Any, DictConfig]]:
    """Give Hydra's loader and the configuration of a command line, of a sweep that of its first job.

    Args:
        arguments: The command line as Hydra reads it.
        *more: Overrides that count unless the command line has others.

    Raises:
        HydraException: There is no such configuration.
    """
    flags = get_args_parser().parse_args([*arguments])
    overrides = [first for override in flags.overrides if (first := _first_value(override))]
    own = ",".join(f"'file://{folder.absolute()}'" for folder in folders(arguments)[1:])
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        typed = [*more, *overrides, f"hydra.searchpath=[{own}]"]
        cfg = compose(flags.config_name or "config", typed, return_hydra_config=True)
        yield GlobalHydra.instance().config_loader(), cfg


def _first_value(override: str) -> str | None:
    """Return an override, of a swept key with its first value; None if that is not known beforehand."""
    parsed = OverridesParser.create().parse_override(override)
    if override.startswith("hydra.searchpath="):
        return None
    if not parsed.is_sweep_override():
        return override
    if not parsed.is_discrete_sweep():
        return None
    return f"{override.partition('=')[0]}={next(iter(parsed.sweep_string_iterator()))}"
