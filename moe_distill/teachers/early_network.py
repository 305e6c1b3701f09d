"""IDC's networks, which are early in their training on real data (Kim et al., ICML 2022)."""

from collections.abc import Callable
from typing import Any, ClassVar, TypedDict

import torch

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.real_set import RealSet
from moe_distill.data.shuffled_epochs import ShuffledEpochs
from moe_distill.models.base import Network
from moe_distill.seeding import stream
from moe_distill.training.mixing import CutMix, soft_cross_entropy, soft_targets
from moe_distill.validation.values import Count, Momentum, NotNegative, Positive, Whole, checked

NewNetwork = Callable[[torch.Generator], Network]


class EarlyStageState(TypedDict, total=False):
    """State of the network in use, its optimiser and the position in the epoch; empty before the first."""

    network: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    epochs: dict[str, int | None]


@checked
class EarlyStageNetwork:
    """One network that is trained on augmented real data between uses and replaced early in its training.

    Batches go through shuffled epochs, which continue from one network to the next.

    Args:
        renew_every: Iterations for which a network is used, starting untrained (published: 100).
        n_data: Real images it is trained on after each iteration, rounded up to whole batches.
        batch_size: Real images per step.
        lr: Constant learning rate of the network.
        momentum: Momentum of the network.
        weight_decay: Weight decay of the network.
        augment: Augmentation of the standardised images, one draw per image; None for none.
        cutmix: CutMix, applied after the augmentation.
    """

    identity: ClassVar[str] = "EarlyNetwork"  # its former name, in keys

    def __init__(
        self,
        renew_every: Count,
        n_data: Whole,
        batch_size: Count,
        lr: Positive,
        momentum: Momentum,
        weight_decay: NotNegative,
        augment: Augmentation | None,
        cutmix: CutMix,
    ) -> None:
        self.renew_every, self.n_data, self.batch_size = renew_every, n_data, batch_size
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.augment, self.cutmix = augment, cutmix
        self.epochs = ShuffledEpochs()
        self.current: tuple[Network, torch.optim.SGD] | None = None

    @property
    def network(self) -> Network:
        """The network in use.

        Raises:
            RuntimeError: :meth:`renew` was never called.
        """
        return self._serving[0]

    @property
    def _serving(self) -> tuple[Network, torch.optim.SGD]:
        if self.current is None:
            raise RuntimeError("no network yet: call renew first, as iteration 0 does")
        return self.current

    def renew(self, new_network: NewNetwork, rng: torch.Generator) -> None:
        """Replace the network and its optimiser by fresh ones."""
        # In training mode from the start: it is matched in the mode in which it is trained.
        network = new_network(rng).train()
        sgd = torch.optim.SGD(network.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        self.current = network, sgd

    def train(self, real: RealSet, rng: torch.Generator) -> None:
        """Train the network on the next ``n_data`` real images of all classes."""
        network, optimizer = self._serving
        rows_N = torch.arange(len(real))
        seen = 0
        # Counted in images, not steps: the last batch of an epoch may be smaller.
        while seen < self.n_data:
            x, labels = real.at(self.epochs.next(rows_N, self.batch_size, rng))
            seen += len(x)
            if self.augment is not None:
                x = self.augment.apply(x, self.augment.draw(rng, len(x), real.size, shared=False))
            targets = soft_targets(labels, len(real.classes)).to(x)
            x, targets = self.cutmix.apply(x, targets, self.cutmix.draw(rng, len(x), real.size))
            optimizer.zero_grad(set_to_none=True)
            soft_cross_entropy(network(x), targets).backward()
            optimizer.step()

    def state_dict(self) -> EarlyStageState:
        """Return network, optimiser and position in the epoch; empty before the first network."""
        if self.current is None:
            return {}
        network, optimizer = self.current
        return {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "epochs": self.epochs.state_dict(),
        }

    def load_state_dict(self, state: EarlyStageState, new_network: NewNetwork) -> None:
        """Restore what :meth:`state_dict` returned."""
        if state:
            # Any seed will do: the weights are overwritten, and the expert's stream must not move.
            self.renew(new_network, stream(0, "overwritten"))
            network, optimizer = self._serving
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            self.epochs.load_state_dict(state["epochs"])
