"""Train the networks that features are taken from and those that are matched under, and compute banks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moe_distill.context.run_context import Runtime
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.needed_trainings import pretraining
from moe_distill.pipelines.stage import Pipeline, Stage, require_one_round
from moe_distill.results.known_rows import FinishedRows
from moe_distill.validation.values import checked


@checked
@dataclass(frozen=True)
class Pretrain(Pipeline):
    """Train the networks that a plan needs, and nothing else.

    Args:
        plan: The distillation that needs them.
    """

    plan: Distillation

    def stages(self, results: FinishedRows) -> Iterator[Stage]:
        """Yield the networks and trajectories.

        Raises:
            InputError: They depend on sets that are not made here.
        """
        require_one_round(self.plan, "pretrain")
        yield from pretraining(self.plan, results)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Train what is missing; returns as :func:`pretrain`."""
        require_one_round(self.plan, "pretrain")
        return pretrain(self.plan, runtime)


def pretrain(plan: Distillation, runtime: Runtime) -> dict[str, float]:
    """Train the networks of the plan's pools, φ among them, and the teachers whose trajectories are matched.

    Then banks of real means under these are computed. What is already in the store is left alone.

    Returns:
        ``networks``: how many there are; ``accuracy``: their mean test accuracy, if there are any.
    """
    accuracies = [a for stage in pretraining(plan, runtime.results) for a in stage.accuracies(runtime)]
    # Many methods need no trained network at all.
    tested = [accuracy for accuracy in accuracies if accuracy is not None]
    mean = {"accuracy": sum(tested) / len(tested)} if tested else {}
    return {"networks": len(accuracies), **mean}
