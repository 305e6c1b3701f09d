"""A bank: class means of real features under stored snapshots, each with a draw of the augmentation.

Matching needs of the real images nothing but the mean of their features. A mean over all of them has no noise
of a batch, and is computed once for all iterations and runs that use it. It must be taken under the very draw
of the augmentation that the synthetic images get: with one mean over many draws, the expected loss would be
another one. So an entry of the bank is a snapshot, a draw for each class, and the means under both.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open

from moe_distill.data.augmentation.dsa import Augmentation, Plan
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.models.base import Network, NetworkFactory
from moe_distill.seeding import stream
from moe_distill.store.store import Store
from moe_distill.teachers.snapshots import draw_whole, load_weights
from moe_distill.teachers.trajectories import Trajectories, TrajectoryPool
from moe_distill.validation.values import Count, checked

KIND = "statistics"
MEANS = "means.safetensors"
CHUNK = 512  # images in one pass through a network, to bound memory


class Entry(NamedTuple):
    """What an iteration takes from a bank.

    Attributes:
        teacher: Number of the teacher.
        epoch: Epoch of its weights.
        plans: The draw of the augmentation for each class; empty without augmentation.
        means_CD: Mean features of the real images of each class under these weights and draws, float32.
    """

    teacher: int
    epoch: int
    plans: Sequence[Plan]
    means_CD: torch.Tensor

    def augmented(self, x_NCHW: torch.Tensor, c: int) -> torch.Tensor:
        """Return standardised images of a class as its real images were seen."""
        return Augmentation.apply(x_NCHW, self.plans[c]) if self.plans else x_NCHW


@checked
@dataclass(frozen=True)
class BankSpec:
    """What the entries of a bank are made of.

    Args:
        entries: B, the number of entries.
        epochs: E, the last epoch whose weights serve.
        augment: Augmentation of standardised images, drawn once for each class of an entry.
        per_class_images: Real images of a class in each mean, drawn anew for each entry; None for all.
    """

    entries: Count
    epochs: Count
    augment: Augmentation | None
    per_class_images: Count | None = None


@dataclass(frozen=True)
class BankDraws:
    """Everything random about the entries of a bank; none of it is stored, as it follows from settings.

    Attributes:
        spec: The settings.
        teachers: N, the number of teachers.
        seed: Seed of the teachers' pool.
        data: Fingerprint of the real images.
        classes: Number of classes.
        size: Side of an image in pixels.
    """

    spec: BankSpec
    teachers: int
    seed: int
    data: str
    classes: int
    size: int

    @functools.cached_property
    def snapshots(self) -> list[tuple[int, int]]:
        """Teacher and epoch of each entry."""
        return dealt(self._stream("snapshots"), self.spec.entries, self.teachers, self.spec.epochs)

    def plans(self, number: int) -> list[Plan]:
        """Return an entry's draw of the augmentation for each class; none without augmentation."""
        if self.spec.augment is None:
            return []
        rng = self._stream(number, "augmentation")
        return [self.spec.augment.draw(rng, 1, self.size, shared=True) for _ in range(self.classes)]

    def rows(self, number: int, c: int, rows_N: torch.Tensor) -> torch.Tensor:
        """Return those of the rows of a class whose mean an entry holds."""
        if self.spec.per_class_images is None:
            return rows_N
        order_N = torch.randperm(len(rows_N), generator=self._stream(number, "images", c))
        return rows_N[order_N[: self.spec.per_class_images]]

    def _stream(self, *purpose: str | int) -> torch.Generator:
        return stream(self.seed, "bank", self.data, *purpose)


def dealt(rng: torch.Generator, entries: int, teachers: int, last: int) -> list[tuple[int, int]]:
    """Return teacher and epoch of each entry of a bank, as evenly as their number allows.

    Teachers take turns, every epoch from 0 to ``last`` serves equally often or once more, and no pair comes
    again before all have served.

    Args:
        rng: Draws the order of teachers and epochs, and so which of them serve once more.
        entries: B, the number of entries.
        teachers: N, the number of teachers.
        last: E, the last epoch.

    Example:
        >>> len({*dealt(stream(0, "demo"), entries=6, teachers=2, last=2)})
        6
    """
    epochs = last + 1
    teacher_order, epoch_order = (torch.randperm(n, generator=rng).tolist() for n in (teachers, epochs))
    # Both in turn give a pair again after as many entries as their least common multiple; a shift by one
    # epoch then leads to the next pairs.
    period = math.lcm(teachers, epochs)
    return [(teacher_order[b % teachers], epoch_order[(b + b // period) % epochs]) for b in range(entries)]


@torch.no_grad()
def mean_features(
    network: Network, real: RealSet, rows_N: torch.Tensor, plan: Plan | None, chunk: int = CHUNK
) -> torch.Tensor:
    """Return the mean features of some real images, float64 of shape (D,), on their device.

    Args:
        network: Computes the features.
        real: The images.
        rows_N: Their indices.
        plan: The draw of the augmentation of standardised images; None for none.
        chunk: Images in one pass through the network.
    """
    sums_D = torch.zeros((), dtype=torch.float64, device=real.device)
    for rows in rows_N.split(chunk):
        x_NCHW = real.at(rows)[0]
        f_ND = network.embed(x_NCHW if plan is None else Augmentation.apply(x_NCHW, plan))
        sums_D = sums_D + f_ND.sum(0, dtype=torch.float64)
    return sums_D / len(rows_N)


def entry_means(
    number: int, draws: BankDraws, trajectories: Trajectories, shell: Network, part: RealSet
) -> torch.Tensor:
    """Compute the means (C, D) of one entry, float32 on the CPU.

    Args:
        number: The entry's.
        draws: Everything random about the entries.
        trajectories: The teachers'.
        shell: A network of their architecture, in evaluation mode; its weights are replaced.
        part: The expert's real images, on the device of the network.
    """
    load_weights(shell, trajectories.snapshot(*draws.snapshots[number]))
    plans = draws.plans(number)
    means = []
    for c in range(draws.classes):
        rows_N = draws.rows(number, c, part.class_indices(c))
        means.append(mean_features(shell, part, rows_N, plans[c] if plans else None))
    return torch.stack(means).float().cpu()


@dataclass(frozen=True)
class StoredBank:
    """A bank that is in the store; only the path of its file is kept in memory.

    Attributes:
        draws: Everything random about its entries.
        path: A safetensors file with the means (C, D) of each entry under its number.
    """

    draws: BankDraws
    path: Path

    def means(self, number: int) -> torch.Tensor:
        """Return the means (C, D) of an entry, float32 on the CPU."""
        with safe_open(self.path, "pt") as file:
            return file.get_tensor(str(number))

    def draw(self, rng: torch.Generator) -> Entry:
        """Return an entry, each equally likely."""
        number = draw_whole(rng, 0, self.draws.spec.entries - 1)
        return Entry(*self.draws.snapshots[number], self.draws.plans(number), self.means(number))


@dataclass(frozen=True, eq=False)
class Bank:
    """The bank of one architecture of an expert, before it is computed.

    Attributes:
        spec: What its entries are made of.
        pool: The teachers whose snapshots serve.
        network: Builds their architecture.
        seen: The images that they are trained on.
        part: The expert's real images, whose means the bank holds.
    """

    spec: BankSpec
    pool: TrajectoryPool
    network: NetworkFactory
    seen: RealSet
    part: RealSet

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that determines the means, as stored in their key."""
        teachers = [self.pool.settings(self.seen, self.network, i) for i in range(self.pool.networks)]
        return {
            "bank": self.spec,
            "trajectories": teachers,
            "data": self.part.fingerprint,
            "statistics": self.part.statistics,
        }

    @property
    def draws(self) -> BankDraws:
        """Everything random about the entries."""
        classes, size = len(self.part.classes), self.part.size
        seed, fingerprint = self.pool.seed, self.part.fingerprint
        return BankDraws(self.spec, self.pool.networks, seed, fingerprint, classes, size)

    @property
    def images(self) -> int:
        """Real images that are sent forward for one entry."""
        counts_C = self.part.counts()
        if self.spec.per_class_images is not None:
            counts_C = counts_C.clamp(max=self.spec.per_class_images)
        return int(counts_C.sum())

    def load(self, store: Store) -> StoredBank:
        """Return the bank from the store.

        Raises:
            InputError: It was not computed yet.
        """
        folder = store.find(KIND, self.settings)
        if folder is None:
            value = f"a bank of {self.spec.entries} entries that is not in {store.root}"
            command = "run the same command with pipeline=pretrain (or pipeline=full) first"
            raise InputError("method.targets", value, f"a bank computed before: {command}")
        return StoredBank(self.draws, folder / MEANS)
