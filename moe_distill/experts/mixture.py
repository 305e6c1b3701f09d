"""The mixture: the experts of this rank, iterated in lockstep with those of all others."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from moe_distill.experts.expert import Expert
from moe_distill.experts.roster import Roster
from moe_distill.experts.shared import SharedResources
from moe_distill.training.trainer import gather_objects, ticks


class Mixture(pl.LightningModule):
    """Holds the experts whose number leaves this rank's remainder, and iterates them.

    The clock is the iteration. Checkpoints hold every expert, whatever the number of ranks that wrote them.

    Args:
        roster: Who the experts are.
        parts: Indices of each expert's real images.
        resources: What all experts share.
    """

    def __init__(self, roster: Roster, parts: list[torch.Tensor], resources: SharedResources) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.roster, self.parts, self.resources = roster, parts, resources
        self.total = max(member.method().iterations for member in roster.members)
        self.experts = nn.ModuleDict()
        self.iteration = 0
        self.extra: dict[str, float] = {}

    @property
    def mine(self) -> list[Expert]:
        """This rank's experts in roster order."""
        return list(self.experts.values())  # type: ignore[arg-type]

    @property
    def learners(self) -> list[Expert]:
        """This rank's experts whose images move."""
        return [expert for expert in self.mine if expert.method.trainable]

    @property
    def images_seen(self) -> int:
        """Forward equivalents of this rank so far."""
        return sum(expert.images_seen for expert in self.mine)

    def configure_model(self) -> None:
        """Build this rank's experts once the ranks exist."""
        if not self.experts:
            for number in range(self.global_rank, self.roster.num_experts, self.trainer.world_size):
                expert = Expert(number, self.roster.members[number], self.parts[number], self.resources)
                self.experts[str(number)] = expert.to(self.trainer.strategy.root_device)

    def on_fit_start(self) -> None:
        """Fill the initial images unless a checkpoint brought later ones."""
        if self.iteration == 0:
            for expert in self.mine:
                expert.start()

    def configure_optimizers(self) -> Any:
        """Return one optimiser for each learner."""
        return [expert.configure_optimizers() for expert in self.learners]

    def train_dataloader(self) -> DataLoader[int]:
        """Hand out the iterations that are left."""
        return ticks(self.iteration, self.total)

    def training_step(self, iteration: int, _: int) -> None:
        """Iterate every expert of this rank once."""
        for expert, optimizer in zip(self.learners, self._optimizers(), strict=True):
            expert.iterate(iteration, optimizer, self)
        self.iteration = iteration + 1

    def _optimizers(self) -> list[Any]:
        held = self.optimizers() if self.learners else []
        return held if isinstance(held, list) else [held]

    def scalars(self) -> Mapping[str, float]:
        """Return the last iteration's scalars of all ranks' experts."""
        mine = {**self.extra, **{k: v for expert in self.mine for k, v in expert.scalars().items()}}
        return {name: value for part in gather_objects(mine) for name, value in part.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep every rank's experts by number."""
        held = dict(zip((e.number for e in self.learners), checkpoint.pop("optimizer_states"), strict=True))
        mine = {str(e.number): {**e.state(), "optimizer": held.get(e.number)} for e in self.mine}
        del checkpoint["loops"]  # the clock is ours, and the ranks' loops differ
        checkpoint["state_dict"] = {}
        checkpoint["iteration"] = self.iteration
        checkpoint["extra"] = {
            name: value for part in gather_objects(self.extra) for name, value in part.items()
        }
        checkpoint["experts"] = {
            number: state for part in gather_objects(mine) for number, state in part.items()
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take this rank's experts, whoever wrote them."""
        self.iteration, self.extra = checkpoint["iteration"], checkpoint["extra"]
        for number, expert in self.experts.items():
            expert.take_state(checkpoint["experts"][number])  # type: ignore[operator]
        checkpoint["state_dict"] = self.state_dict()
        checkpoint["optimizer_states"] = [
            checkpoint["experts"][str(e.number)]["optimizer"] for e in self.learners
        ]
