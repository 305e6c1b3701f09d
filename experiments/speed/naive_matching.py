"""Naive DM and IDM."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from experiments.speed.start import Reference, Start, squared_distance
from moe_distill.models.base import Network


class NaiveDM(Reference):
    """A fresh frozen network; the losses of all classes are summed for one backward pass (DM, Eq. 4-5)."""

    def iterate(self, iteration: int) -> None:
        """Move all images once."""
        network = self.start.new_network(self.rng).train()
        for parameter in network.parameters():
            parameter.requires_grad = False
        augment = self.start.settings["augment"]
        loss = torch.zeros((), dtype=self.images.dtype)
        for c in self.classes:
            real, synthetic = self.real_of_class(c), self.stored_of_class(c)
            plan = augment.draw(self.rng, 1, real.shape[-1], shared=True)
            real_features = network.embed(augment.apply(real, plan)).detach()
            synthetic_features = network.embed(augment.apply(synthetic, plan))
            loss = loss + squared_distance(real_features.mean(0), synthetic_features.mean(0))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


@dataclass
class Pooled:
    """A network of IDM's pool, its optimiser, and what it has got right of what it has seen."""

    network: Network
    sgd: torch.optim.SGD
    correct: int = 0
    seen: int = 0


class NaiveIDM(Reference):
    """One class at a time, with the graph of everything, synthetic images decoded twice (IDM, §3.2-3.4)."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.queue = start.settings["queue"].keywords
        self.pool = [self._pooled(network) for network in start.networks]

    def _pooled(self, network: Network) -> Pooled:
        lr, momentum, decay = (self.queue[name] for name in ("lr", "momentum", "weight_decay"))
        return Pooled(
            network, torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum, weight_decay=decay)
        )

    def iterate(self, iteration: int) -> None:
        """Move the images once a class, then train two networks of the pool."""
        if iteration > 0 and iteration % self.queue["meter_reset"] == 0:
            for pooled in self.pool:
                pooled.correct, pooled.seen = 0, 0
        if iteration % self.queue["renew_every"] == 0:
            if len(self.pool) == self.queue["capacity"]:
                del self.pool[0]
            self.pool.append(self._pooled(self.start.new_network(self.rng)))
        drawn = self.pool[int(torch.randint(len(self.pool), (1,), generator=self.rng))]
        for c in self.classes:
            self._move(drawn, c)
        for i in torch.randperm(len(self.pool), generator=self.rng)[: self.queue["trained"]]:
            self._train(self.pool[int(i)])

    def _move(self, drawn: Pooled, c: int) -> None:
        network, augment = drawn.network.eval(), self.start.settings["augment"]
        real = self.real_of_class(c)
        synthetic = self.start.tiling.decode(self.stored_of_class(c))
        plan = augment.draw(self.rng, 1, real.shape[-1], shared=True)
        real, synthetic = augment.apply(real, plan), augment.apply(synthetic, plan)
        real_mean = network.embed(real).detach().mean(0)
        match = squared_distance(real_mean, network.embed(synthetic).mean(0))
        percent = 100 * drawn.correct / drawn.seen if drawn.seen else 0.0
        labels = torch.full((len(synthetic),), c)
        classification = F.cross_entropy(network(synthetic), labels)
        loss = match + self.start.settings["ce_weight"] * percent * classification
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _train(self, pooled: Pooled) -> None:
        pooled.network.train()
        for _ in range(self.queue["steps"]):
            images, labels = self.real_batch(self.queue["batch_size"])
            logits = pooled.network(images)
            loss = F.cross_entropy(logits, labels)
            pooled.correct += int((logits.argmax(1) == labels).sum())
            pooled.seen += len(labels)
            pooled.sgd.zero_grad()
            loss.backward()
            pooled.sgd.step()
