"""A run as a list of stages, which is read by whoever runs it, foretells it, or asks how far it is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.data.sources.shared import Shared, Shelf
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.experts.distillation import Distillation
from moe_distill.models.base import NetworkFactory
from moe_distill.results.known_rows import Results
from moe_distill.store.identity import word_of

ResultRow = dict[str, Any]
"""A student's row, see :class:`~moe_distill.results.schema.ResultRow`; of one to come, what is known of
it."""


class UnknownCost(Exception):
    """Nothing says what a job is going to cost; the message says of what."""


class Work(NamedTuple):
    """A network at work, whose speed is measured for forecasts."""

    network: NetworkFactory
    channels: int
    classes: int
    size: int

    @classmethod
    def on(cls, network: NetworkFactory, real: RealSet) -> "Work":
        """Return a network at work on images like these."""
        return cls(network, real.channels, len(real.classes), real.size)


@dataclass(frozen=True)
class Missing:
    """Something that a stage has yet to make.

    Attributes:
        name: What it is called.
        address: What it is stored under; what two jobs share counts once.
        work: The network that works on it.
        forward_passes: How many images go forward, a backward pass counted as two; None where its method does not
            say.
        snapshots: How many times the network's weights are written, in 32 bits each.
    """

    name: str
    address: str
    work: Work
    forward_passes: float | None
    snapshots: int = 0


class Stage(ABC):
    """A part of a run: what of it is missing, and how that is made."""

    @abstractmethod
    def missing(self, results: Results) -> list[Missing]:
        """Return what is yet to be made, by a look that costs nothing.

        Raises:
            UnknownCost: Nothing says what the stage costs.
        """

    @abstractmethod
    def make(self, runtime: Runtime) -> list[ResultRow]:
        """Make what is missing, note what each part cost, and return the rows that it leaves, if any."""

    def expected_rows(self, results: Results, known: Mapping[str, str]) -> list[ResultRow]:
        """Return the rows that it is to leave, with their keys, as far as they are known before it is made.

        Args:
            results: Where data lie.
            known: What is known besides: ``scale``, and ``overrides``, which a baseline leaves empty.
        """
        return []


class Pipeline(ABC):
    """What a run does.

    Its stages are listed lazily: which images an expert's teachers see may only be known once the networks
    before them are trained. Who runs the stages makes each before asking for the next; who only lists them
    sees a stand-in.
    """

    @property
    def main_plan(self) -> Distillation | None:
        """The distillation that the run is about, if it is about one."""
        return getattr(self, "plan", None)

    @property
    def main_protocol(self) -> EvaluationProtocol | None:
        """How sets are judged, where they are."""
        return getattr(self, "protocol", None)

    @property
    def has_stages(self) -> bool:
        """Whether it is known what such a run does."""
        return type(self).stages is not Pipeline.stages

    def sharing(self, shelf: Shelf) -> Self:
        """Return the same run, whose plans take equal data from one shelf, where they are loaded once."""
        arguments = {f.name: _sharing(getattr(self, f.name), shelf) for f in fields(self)}  # type: ignore[arg-type]
        return replace(self, **arguments)  # type: ignore[type-var]

    def stages(self, results: Results) -> Iterator[Stage]:
        """Yield the stages in order, checked.

        Raises:
            InputError: The run could not be made.
            UnknownCost: Nothing says what such a run does.
        """
        raise UnknownCost(f"pipeline={word_of(type(self))}")

    @abstractmethod
    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Make what is missing and conclude; the headline number is ``accuracy``, where there is one."""

    def expected_rows(self, results: Results, scale: str, overrides: str) -> list[ResultRow]:
        """Return the result rows that the run is to leave, once each; none where it leaves other tables.

        Args:
            results: Where data lie.
            scale: The run's scale.
            overrides: What its command line sets apart from the other jobs of a sweep.
        """
        return []


def _sharing(value: Any, shelf: Shelf) -> Any:
    """Return a plan, or plans by name, whose data come from a shelf; anything else as it is."""
    if isinstance(value, Mapping):
        return {name: _sharing(entry, shelf) for name, entry in value.items()}
    return replace(value, data=Shared(value.data, shelf)) if isinstance(value, Distillation) else value


def make_all(stages: Iterator[Stage], runtime: Runtime) -> list[ResultRow]:
    """Make stages one after the other and return the rows that they leave."""
    return [row for stage in stages for row in stage.make(runtime)]


def once(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Return rows once each, by their keys, the first of each."""
    first: dict[str, ResultRow] = {}
    for row in rows:
        first.setdefault(row["config_hash"], row)
    return [*first.values()]
