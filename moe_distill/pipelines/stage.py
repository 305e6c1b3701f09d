"""A run as a list of stages, which are made one by one, forecast, or listed to see how far the run is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.data.sources.shared import DataCache, Shared
from moe_distill.errors import InputError
from moe_distill.evaluation.columns import StudentRow
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.experts.distillation import Distillation
from moe_distill.models.base import NetworkFactory
from moe_distill.results.known_rows import FinishedRows
from moe_distill.store.identity import word_of


class UnknownCost(Exception):
    """The cost of a job cannot be forecast; the message names what is unknown."""


class Work(NamedTuple):
    """A network and the shape of its data, whose speed is measured for forecasts.

    Attributes:
        network: Builds the network.
        channels: Channels of an image.
        classes: Number of classes.
        size: Height and width of an image, in pixels.
    """

    network: NetworkFactory
    channels: int
    classes: int
    size: int

    @classmethod
    def on(cls, network: NetworkFactory, real: RealSet) -> "Work":
        """Return the network with the shape of some real data."""
        return cls(network, real.channels, len(real.classes), real.size)


@dataclass(frozen=True)
class Missing:
    """Something that a stage has yet to make.

    Attributes:
        name: Its name in a forecast.
        address: Its key in the store; two jobs of a sweep that need the same thing make it once.
        work: The network that takes most of the time.
        forward_passes: How many images go forward, a backward pass counted as two; None if its method does
            not say.
        snapshots: How many times the network's weights are written, at 32 bits a weight.
        spared_passes: Forward passes that it does not make because of banks of real means; for such a bank,
            minus those that it takes.
    """

    name: str
    address: str
    work: Work
    forward_passes: float | None
    snapshots: int = 0
    spared_passes: float = 0.0


class Stage(ABC):
    """A part of a run: what is missing of it, and how that is made."""

    @abstractmethod
    def missing(self, results: FinishedRows) -> list[Missing]:
        """Return what is yet to be made; nothing is computed to find out.

        Raises:
            UnknownCost: The cost of the stage cannot be forecast.
        """

    @abstractmethod
    def make(self, runtime: Runtime) -> list[StudentRow]:
        """Make what is missing, record what each part cost, and return the students' rows, if any."""

    def expected_rows(self, results: FinishedRows, run_columns: StudentRow) -> list[StudentRow]:
        """Return the students' rows that it will leave, with all columns that are known before it is made.

        Args:
            results: The rows that are done; its store has the data.
            run_columns: Columns that the run decides: ``scale``, and ``overrides``, which are empty for a
                baseline.
        """
        return []


class Pipeline(ABC):
    """What a run does.

    Its stages are generated lazily: which images an expert's teachers see may depend on networks that an
    earlier stage trains. To run the stages, make each before asking for the next. To only list them, iterate:
    where such images are not known yet, parts of the same sizes stand in for them.
    """

    @property
    def main_plan(self) -> Distillation | None:
        """The distillation that the run is about, or None, for example for an import."""
        return getattr(self, "plan", None)

    @property
    def main_protocol(self) -> EvaluationProtocol | None:
        """How sets are evaluated, or None if they are not."""
        return getattr(self, "protocol", None)

    @property
    def has_stages(self) -> bool:
        """Whether this pipeline lists its stages, so that it can be forecast."""
        # The inherited `stages` raises UnknownCost.
        return type(self).stages is not Pipeline.stages

    def sharing(self, data_cache: DataCache) -> Self:
        """Return the same run with plans that load equal data once, through a common cache."""
        # Every concrete pipeline is a dataclass; this base class is not.
        names = [field.name for field in fields(self)]  # type: ignore[arg-type]
        arguments = {name: _sharing(getattr(self, name), data_cache) for name in names}
        return replace(self, **arguments)  # type: ignore[type-var]

    def stages(self, results: FinishedRows) -> Iterator[Stage]:
        """Yield the stages in order, checked.

        Raises:
            InputError: The run's settings cannot work.
            UnknownCost: This pipeline does not list its stages.
        """
        # Named as on the command line.
        raise UnknownCost(f"pipeline={word_of(type(self))}")

    @abstractmethod
    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Make what is missing, write the tables and the page, and return what the run found.

        Returns:
            ``accuracy``: the number that a search optimises, if there is one; and others.
        """

    def expected_rows(self, results: FinishedRows, scale: str, overrides: str) -> list[StudentRow]:
        """Return the students' rows that the run will leave, without duplicates.

        Args:
            results: The rows that are done; its store has the data.
            scale: The run's scale.
            overrides: What its command line sets apart from the other jobs of a sweep.
        """
        return []


def _sharing(value: Any, data_cache: DataCache) -> Any:
    """Return a plan, or plans by name, with data from a shared cache; return anything else unchanged."""
    if isinstance(value, Mapping):
        # `Full` has several plans, by name.
        return {name: _sharing(entry, data_cache) for name, entry in value.items()}
    return replace(value, data=Shared(value.data, data_cache)) if isinstance(value, Distillation) else value


def require_one_round(plan: Distillation, pipeline: str) -> None:
    """Refuse a plan whose trainings and distillations take turns, where only one of both is made.

    Args:
        plan: The distillation.
        pipeline: What the user types.

    Raises:
        InputError: Its experts are made one after another.
    """
    if plan.before is not None:
        allowed = "full: of a sequence, networks are trained between the distillations of its experts"
        raise InputError("pipeline", pipeline, allowed)


def make_all(stages: Iterator[Stage], runtime: Runtime) -> list[StudentRow]:
    """Make stages one after the other and return their students' rows."""
    return [row for stage in stages for row in stage.make(runtime)]


def unique_rows(rows: Sequence[StudentRow]) -> list[StudentRow]:
    """Return the first row of each ``config_hash``.

    Example:
        >>> unique_rows([{"config_hash": "a", "seed": 0}, {"config_hash": "a", "seed": 0}])
        [{'config_hash': 'a', 'seed': 0}]
    """
    first: dict[str, StudentRow] = {}
    for row in rows:
        first.setdefault(row["config_hash"], row)
    return [*first.values()]
