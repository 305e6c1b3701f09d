"""What a Python call builds from its keywords, and the quiet surroundings in which it works."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moe_distill.api.keywords import Call, call_of, settings_of
from moe_distill.config.composing import Configuration, configured
from moe_distill.config.folders import require_new, searching
from moe_distill.config.schema import NAMELESS, run_dir
from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.pipelines.tracked import tracked
from moe_distill.stopping import interruptible
from moe_distill.store.identity import describe
from moe_distill.terminal import quiet


class DataInMemory:
    """Real images in memory as a source of data.

    Args:
        train: The training images.
        test: The test images.
    """

    def __init__(self, train: RealSet, test: RealSet) -> None:
        self.train, self.test = train, test

    @property
    def name(self) -> str:
        """The data set's name in records, by which published settings are looked up."""
        return self.train.name

    def describe(self) -> Any:
        """Return what decides the images."""
        return describe([part.fingerprint for part in (self.train, self.test)])

    def load(self, cache: Path) -> tuple[RealSet, RealSet]:
        """Return both sets."""
        return self.train, self.test


@dataclass(frozen=True)
class Session:
    """The surroundings of one call.

    Attributes:
        configuration: The checked configuration.
        runtime: Where and how the call works.
        pipeline: What it runs.
    """

    configuration: Configuration
    runtime: Runtime
    pipeline: Any

    def tracked(self) -> contextlib.AbstractContextManager[None]:
        """Show what a block does on the experiment tracker; without ``logger="wandb"`` there is none."""
        return tracked(self.pipeline, self.runtime, self.configuration.resolved)


@contextlib.contextmanager
def session(
    keywords: Mapping[str, Any], data: DataInMemory | None, progress: bool = True, pipeline: str = "distill"
) -> Iterator[Session]:
    """Compose a call's configuration and open its surroundings; whatever it changes is put back.

    Args:
        keywords: The call's keywords.
        data: Its real images.
        progress: Whether long work shows a progress bar.
        pipeline: The pipeline that the call runs.

    Raises:
        InputError: A keyword is unknown or has a wrong value.
        KeyboardInterrupt: The user interrupted the call; the same call goes on.
    """
    if not isinstance(progress, bool):
        raise InputError("progress", progress, "True or False")
    threads = torch.get_num_threads()
    with named_by(keywords), quiet(progress), interruptible():
        call = _called(keywords, data, pipeline)
        with configured(call.overrides, call.objects) as configuration:
            try:
                yield Session(configuration, configuration.build("runtime"), configuration.build("pipeline"))
            finally:
                torch.set_num_threads(threads)


@contextlib.contextmanager
def named_by(keywords: Mapping[str, Any]) -> Iterator[None]:
    """Know the options of a call's ``config_dir`` in the block.

    Raises:
        InputError: It is no folder, or it has an option that is not used, as ours goes before it.
    """
    config_dir = keywords.get("config_dir")
    if config_dir is None:
        yield
        return
    if not isinstance(config_dir, str | Path) or not Path(config_dir).is_dir():
        raise InputError("config_dir", config_dir, "a folder of yamls")
    folder = Path(config_dir).absolute()
    require_new("config_dir", folder)
    with searching([folder]):
        yield


def _called(keywords: Mapping[str, Any], data: DataInMemory | None, pipeline: str) -> Call:
    """Return the overrides and objects of a call."""
    keywords = {name: value for name, value in keywords.items() if name != "config_dir"}
    settings = settings_of(keywords)
    for name, value in settings.items():
        if name == "pipeline" or (data is not None and name.partition(".")[0] == "data"):
            raise InputError(name, value, "leave it out: the call decides it")
    call = call_of({"logger": "none", **settings})
    if data is not None:
        call.set("data", data)
    name = str(settings.get("name", NAMELESS))
    runs = str(settings.get("paths.runs", "runs"))
    call.overrides += [f"pipeline={pipeline}"]
    call.set("paths.output", run_dir(runs, name))
    return call
