"""Compose, check and build a configuration in a program, as the command line does for a run."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config.folders import conf_dir, named_folders
from moe_distill.config.objects import Objects, offering
from moe_distill.config.overrides import check_split
from moe_distill.config.refusals import one_line
from moe_distill.config.resolving import errors_as_typed, resolve_and_check
from moe_distill.config.schema import register
from moe_distill.errors import InputError


@dataclass(frozen=True)
class Composed:
    """A checked configuration.

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
def composed(overrides: Sequence[str], objects: Objects) -> Iterator[Composed]:
    """Compose and check a configuration; what is built from it in the block reports errors as typed.

    Options are also those of the folders of :func:`~moe_distill.config.folders.searching`.

    Args:
        overrides: As on the command line.
        objects: Objects that options name, see :func:`~moe_distill.config.objects.offering`.

    Raises:
        InputError: An override, or what is built, is invalid.
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
                    yield Composed(config, resolved)
        except (HydraException, OmegaConfBaseException) as error:
            raise _as_input_error(one_line(error)) from error


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
