"""IDC's networks: early in their training on real data (Kim et al., ICML 2022)."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch

from moe_distill.data.augmentation.dsa import Augmentation
from moe_distill.data.real_set import RealSet
from moe_distill.data.shuffled_epochs import ShuffledEpochs
from moe_distill.models.base import Network
from moe_distill.seeding import stream
from moe_distill.training.mixing import CutMix, soft_cross_entropy, soft_targets
from moe_distill.validation.values import Count, Momentum, NotNegative, Positive, Whole, checked

NewNetwork = Callable[[torch.Generator], Network]


@checked
class EarlyStageNetwork:
    """One network at a time: trained on augmented and cut-mixed real data as it goes, replaced while it is
    young.

    Batches walk through shuffled epochs, from one network to the next.

    Args:
        renew_every: Iterations a network serves (published: 100), from an untrained one on.
        n_data: Real images it is trained on after each iteration, rounded up to whole batches.
        batch_size: Real images a step.
        lr: Its constant learning rate; momentum and weight decay likewise.
        momentum: See ``lr``.
        weight_decay: See ``lr``.
        augment: Augmentation of the standardised images, each by its own draws.
        cutmix: CutMix after it.
    """

    identity: ClassVar[str] = "EarlyNetwork"

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
        """The network that serves now."""
        return self._serving[0]

    @property
    def _serving(self) -> tuple[Network, torch.optim.SGD]:
        if self.current is None:
            raise RuntimeError("no network yet: iteration 0 brings the first")
        return self.current

    def renew(self, new_network: NewNetwork, rng: torch.Generator) -> None:
        """Put a fresh network with a fresh optimiser in the place of the old one."""
        network = new_network(rng).train()
        sgd = torch.optim.SGD(network.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        self.current = network, sgd

    def train(self, real: RealSet, rng: torch.Generator) -> None:
        """Train the network on the next ``n_data`` real images of all classes."""
        network, optimizer = self._serving
        rows_N = torch.arange(len(real))
        seen = 0
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

    def state_dict(self) -> dict[str, Any]:
        """Return network, optimiser and epoch; nothing before the first network."""
        if self.current is None:
            return {}
        network, optimizer = self.current
        weights = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        return {**weights, "epochs": self.epochs.state_dict()}

    def load_state_dict(self, state: dict[str, Any], new_network: NewNetwork) -> None:
        """Go on from what :meth:`state_dict` returned."""
        if state:
            self.renew(new_network, stream(0, "overwritten"))
            network, optimizer = self._serving
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            self.epochs.load_state_dict(state["epochs"])
