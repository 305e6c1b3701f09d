"""Compose the configuration of a command line without running it, or that of a Python call."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config.flags import check_flags
from moe_distill.config.folders import conf_dir, folders_of, named_folders, searching
from moe_distill.config.objects import Objects, offering
from moe_distill.config.overrides import check_split
from moe_distill.config.refusals import one_line, unparsable
from moe_distill.config.resolving import errors_as_typed, resolve_and_check
from moe_distill.config.schema import register
from moe_distill.errors import InputError
from moe_distill.terminal import PROGRAM


@dataclass(frozen=True)
class Configuration:
    """A checked configuration of a Python call.

    Attributes:
        config: The configuration.
        resolved: The same in plain containers, without references.
    """

    config: DictConfig
    resolved: dict[str, Any]

    def build(self, key: str) -> Any:
        """Return the object that a group describes, such as ``plan`` or ``pipeline``."""
        return hydra.utils.instantiate(self.config[key], _convert_="all")


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
        folder = f"file://{Path(flags.config_dir).absolute()}"
        search_path.prepend("command-line", folder, SearchPathQuery(provider="schema"))
    with searching(folders_of(arguments)):
        yield from _composed(search_path, flags.config_name or "config", [*more, *overrides])


def _composed(
    search_path: ConfigSearchPath, name: str, overrides: list[str]
) -> Iterator[tuple[Any, DictConfig]]:
    with _separate_hydra():
        main = Hydra.create_main_hydra2(PROGRAM, search_path)
        cfg = main.compose_config(name, overrides, RunMode.RUN, with_log_configuration=False)
        yield main.config_loader, cfg


def _first_value(override: str) -> str | None:
    """Return an override, of a swept key with its first value; None if that is not known beforehand."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return override
    if not parsed.is_discrete_sweep():
        return None
    return f"{override.partition('=')[0]}={next(iter(parsed.sweep_string_iterator()))}"


@contextlib.contextmanager
def configured(overrides: Sequence[str], objects: Objects) -> Iterator[Configuration]:
    """Compose and check the configuration of a Python call, as the command line does for a run.

    What is built from it in the block reports errors as typed. Options are also those of the folders of
    :func:`~moe_distill.config.folders.searching`.

    Args:
        overrides: As on the command line.
        objects: Objects that options name, see :func:`~moe_distill.config.objects.offering`.

    Raises:
        InputError: An override, a yaml or what is built is invalid.
    """
    register()
    places = [QuotedString(f"file://{folder}", Quote.single).with_quotes() for folder in named_folders()]
    with offering(objects), _separate_hydra():
        try:
            check_split(overrides)
            with initialize_config_dir(conf_dir(), job_name="moe_distill", version_base="1.3"):
                typed = [f"hydra.searchpath=[{','.join(places)}]", *overrides]
                config = compose("config", typed, return_hydra_config=True)
                choices: Any = OmegaConf.to_container(config.hydra.runtime.choices)
                with open_dict(config):
                    del config["hydra"]
                resolved = resolve_and_check(config, choices)
                with errors_as_typed(config):
                    yield Configuration(config, resolved)
        except (HydraException, OmegaConfBaseException) as error:
            raise _as_input_error(one_line(error)) from error
        except Exception as error:
            if (line := unparsable(error)) is None:
                raise
            raise InputError("config_dir", ", ".join(map(str, named_folders())), line) from error


@contextlib.contextmanager
def _separate_hydra() -> Iterator[None]:
    """Set a calling program's own use of Hydra aside for the block."""
    theirs, job = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    try:
        yield
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = theirs, job


def _as_input_error(line: str) -> InputError:
    """Return the error of a line such as ``key=value: what is allowed``."""
    typed, _, allowed = line.partition(": ")
    key, _, value = typed.partition("=")
    return InputError(key, value.strip("'"), allowed)
