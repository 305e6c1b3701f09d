"""The mixture: the experts of this rank, iterated in lockstep with those of all other ranks."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from moe_distill.experts.expert import Expert
from moe_distill.experts.roster import Roster
from moe_distill.experts.shared import SharedResources
from moe_distill.training.trainer import gather_objects, ticks

T = TypeVar("T")


class Mixture(pl.LightningModule):
    """Holds and iterates the experts of this rank: those with number ≡ rank modulo the number of ranks.

    Checkpoints hold the experts of all ranks, so a run can be resumed with another number of ranks.

    Args:
        roster: The experts.
        parts: Indices of each expert's real images in the training data.
        resources: Data, networks and settings that all experts share.
    """

    def __init__(self, roster: Roster, parts: list[torch.Tensor], resources: SharedResources) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.roster, self.parts, self.resources = roster, parts, resources
        # As long as the longest method; experts with fewer iterations stop earlier.
        first = len(resources.earlier)
        self.total = max(member.method().iterations for member in roster.members[first:])
        self.experts = nn.ModuleDict()
        self.iteration = 0
        self.extra: dict[str, float] = {}

    @property
    def mine(self) -> list[Expert]:
        """This rank's experts, in roster order."""
        return list(self.experts.values())  # type: ignore[arg-type]

    @property
    def learners(self) -> list[Expert]:
        """This rank's experts whose images move."""
        return [expert for expert in self.mine if expert.method.trainable]

    @property
    def images_seen(self) -> int:
        """Images sent forward by this rank so far, counting a backward pass as two."""
        return sum(expert.images_seen for expert in self.mine)

    def configure_model(self) -> None:
        """Build this rank's experts."""
        # Here, not in the constructor: only now are the rank and the number of ranks known.
        if not self.experts:
            # Those of a sequence were made before.
            numbers = range(len(self.resources.earlier), self.roster.num_experts)
            for number in numbers[self.global_rank :: self.trainer.world_size]:
                expert = Expert(number, self.roster.members[number], self.parts[number], self.resources)
                self.experts[str(number)] = expert.to(self.trainer.strategy.root_device)

    def on_fit_start(self) -> None:
        """Fill the initial images, unless a checkpoint has restored later ones."""
        if self.iteration == 0:
            for expert in self.mine:
                expert.start()

    def configure_optimizers(self) -> Any:
        """Return one optimiser for each expert whose images move."""
        return [expert.configure_optimizers() for expert in self.learners]

    def train_dataloader(self) -> DataLoader[int]:
        """Return a loader of the remaining iterations."""
        return ticks(self.iteration, self.total)

    def training_step(self, iteration: int, _: int) -> None:
        """Run one iteration of every expert of this rank."""
        # Selections of real images have nothing to iterate.
        for expert, optimizer in zip(self.learners, self._optimizers(), strict=True):
            expert.iterate(iteration, optimizer, self)
        self.iteration = iteration + 1

    def _optimizers(self) -> list[Any]:
        # Lightning returns a single optimiser without a list.
        optimizers = self.optimizers() if self.learners else []
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def scalars(self) -> Mapping[str, float]:
        """Return the last iteration's scalars of all ranks' experts."""
        mine = dict(self.extra)
        for expert in self.mine:
            mine.update(expert.scalars())
        return _merged(gather_objects(mine))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the experts of all ranks, by number."""
        numbers = [expert.number for expert in self.learners]
        optimizer_states = dict(zip(numbers, checkpoint.pop("optimizer_states"), strict=True))
        mine = {
            str(expert.number): {**expert.state(), "optimizer": optimizer_states.get(expert.number)}
            for expert in self.mine
        }
        del checkpoint["loops"]  # the module keeps its own clock, and the ranks' loops differ
        checkpoint["state_dict"] = {}  # this rank's experts only; all ranks' are stored below
        checkpoint["iteration"] = self.iteration
        checkpoint["extra"] = _merged(gather_objects(self.extra))
        checkpoint["experts"] = _merged(gather_objects(mine))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore this rank's experts, whichever rank stored them."""
        self.iteration, self.extra = checkpoint["iteration"], checkpoint["extra"]
        for number, expert in self.experts.items():
            expert.take_state(checkpoint["experts"][number])  # type: ignore[operator]
        # What Lightning restores after this hook: weights as they are now, optimisers of this rank.
        checkpoint["state_dict"] = self.state_dict()
        checkpoint["optimizer_states"] = [
            checkpoint["experts"][str(expert.number)]["optimizer"] for expert in self.learners
        ]


def _merged(parts: Sequence[Mapping[str, T]]) -> dict[str, T]:
    """Return the entries of all ranks' mappings in one."""
    merged: dict[str, T] = {}
    for part in parts:
        merged.update(part)
    return merged
