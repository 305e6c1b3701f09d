"""Naive DC, DSA and IDC."""

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.speed.start import Reference, Start
from moe_distill.seeding import draw_seed, stream


def gradients(network: torch.nn.Module, x_NCHW: Tensor, c: int, keep_graph: bool) -> tuple[Tensor, ...]:
    """Return the gradient of the mean cross-entropy of one class's images by every parameter of a network."""
    loss = F.cross_entropy(network(x_NCHW), torch.full((len(x_NCHW),), c))
    found = torch.autograd.grad(loss, list(network.parameters()), create_graph=keep_graph)
    return found if keep_graph else tuple(g.detach().clone() for g in found)


class NaiveDC(Reference):
    """One matching under a fresh network, all classes in one backward pass (DC, Eq. 9-10).

    The same program is DSA's, which only augments.
    """

    def iterate(self, iteration: int) -> None:
        """Move all images once."""
        network = self.start.new_network(self.rng).train()
        draw_seed(self.rng)  # the package draws one here, for networks that drop units out
        augment = self.start.settings["augment"]
        loss = torch.zeros((), dtype=self.images.dtype)
        for c in self.classes:
            real, synthetic = self.real_of_class(c), self.stored_of_class(c)
            if augment is not None:
                plan = augment.draw(self.rng, 1, real.shape[-1], shared=True)
                real, synthetic = augment.apply(real, plan), augment.apply(synthetic, plan)
            of_real = gradients(network, real, c, keep_graph=False)
            of_synthetic = gradients(network, synthetic, c, keep_graph=True)
            for r, s in zip(of_real, of_synthetic, strict=True):
                if r.dim() > 1:
                    loss = loss + row_cosine_distance(r, s)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def row_cosine_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Return Σ_rows [1 - ⟨r, s⟩ / (‖r‖ ‖s‖ + 10⁻⁶)] (DC, Eq. 10)."""
    r, s = real.reshape(len(real), -1), synthetic.reshape(len(synthetic), -1)
    return torch.sum(
        1 - torch.sum(r * s, dim=-1) / (torch.norm(r, dim=-1) * torch.norm(s, dim=-1) + 0.000001)
    )


class NaiveIDC(Reference):
    """A class at a time with a full backward pass, then the network's training on real images (IDC, §4)."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.source = start.settings["source"].keywords
        self.left: dict[str, Tensor] = {}
        self.mean, self.std = (
            torch.tensor(v, dtype=self.images.dtype).view(-1, 1, 1) for v in (start.real.mean, start.real.std)
        )

    def image_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of the images, whose rate goes with their number and size."""
        s = self.start.settings
        lr = s["lr"] * (self.start.ipc / 10) * (self.images.shape[-1] / s["base_size"]) ** 2
        return torch.optim.SGD([self.images], lr, s["momentum"])

    def iterate(self, iteration: int) -> None:
        """Move the images once a class, then train the network."""
        if iteration % self.source["renew_every"] == 0:
            self.network = self.start.new_network(self.rng).train()
            lr, momentum, decay = (self.source[name] for name in ("lr", "momentum", "weight_decay"))
            self.sgd = torch.optim.SGD(
                self.network.parameters(), lr=lr, momentum=momentum, weight_decay=decay
            )
            self.images.data.clamp_(0, 1)
        draw_seed(self.rng)  # the package draws one here, for networks that drop units out
        for c in self.classes:
            self._move(c)
        seen = 0
        while seen < self.source["n_data"]:
            seen += self._train()

    def real_of_class(self, c: int) -> Tensor:
        """Deal the next batch of a class's shuffled epoch."""
        return self.real_images[self._deal(f"class {c}", self.rows[c], self.start.settings["real_batch"])]

    def real_batch(self, n: int) -> tuple[Tensor, Tensor]:
        """Deal the next batch of the shuffled epoch of all."""
        rows = self._deal("all", torch.arange(len(self.real_labels)), n)
        return self.real_images[rows], self.real_labels[rows]

    def _deal(self, what: str, rows: Tensor, n: int) -> Tensor:
        n = min(n, len(rows))
        if what not in self.left or len(self.left[what]) < n:
            order = torch.randperm(len(rows), generator=stream(draw_seed(self.rng), "epoch"))
            self.left[what] = rows[order]
        dealt, self.left[what] = self.left[what][:n], self.left[what][n:]
        return dealt

    def _move(self, c: int) -> None:
        settings, real = self.start.settings, self.real_of_class(c)
        synthetic = self.start.tiling.decode(self.stored_of_class(c))
        if len(synthetic) > settings["synthetic_batch"]:
            order = torch.randperm(len(synthetic), generator=self.rng)
            synthetic = synthetic[order[: settings["synthetic_batch"]]]
        synthetic = (synthetic - self.mean) / self.std
        augment = settings["augment"]
        plan = augment.draw(self.rng, 1, real.shape[-1], shared=True)
        both = augment.apply(torch.cat([real, synthetic]), plan)
        of_real = gradients(self.network, both[: len(real)], c, keep_graph=False)
        of_synthetic = gradients(self.network, both[len(real) :], c, keep_graph=True)
        loss = torch.zeros((), dtype=self.images.dtype)
        for r, s in zip(of_real, of_synthetic, strict=True):
            if r.dim() > 2:
                loss = loss + torch.sum((r - s) ** 2)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _train(self) -> int:
        x, y = self.real_batch(self.source["batch_size"])
        augment = self.source["augment"]
        x = augment.apply(x, augment.draw(self.rng, len(x), x.shape[-1], shared=False))
        size, plan = x.shape[-1], self.source["cutmix"].draw(self.rng, len(x), x.shape[-1])
        if plan is None:
            loss = F.cross_entropy(self.network(x), y)
        else:
            half = int(size * (1 - float(plan.lam)) ** 0.5) // 2
            top, left = (max(int(centre) - half, 0) for centre in plan.centre_2)
            bottom, right = (min(int(centre) + half, size) for centre in plan.centre_2)
            mixed = x.clone()
            mixed[:, :, top:bottom, left:right] = x[plan.partner_N][:, :, top:bottom, left:right]
            kept = 1 - (bottom - top) * (right - left) / size**2
            logits = self.network(mixed)
            loss = kept * F.cross_entropy(logits, y) + (1 - kept) * F.cross_entropy(logits, y[plan.partner_N])
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()
        return len(x)
