"""The synthetic set: the only thing that passes from distilling to evaluating."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from moe_distill.data.normalization import FILE, Normalisation, Space, Whitening
from moe_distill.errors import InputError
from moe_distill.synthetic import files as set_files
from moe_distill.synthetic.provenance import DIGITS, Provenance
from moe_distill.synthetic.tiling import Tiling

__all__ = ["Decoded", "Provenance", "Space", "SyntheticSet", "SyntheticUnion", "union"]


@dataclass(frozen=True)
class Decoded:
    """Images as a network sees them: pixels (M, C, H, W), labels (M,) and the expert each came from (M,).

    Targets (M, classes) are the probabilities a network is trained towards; None where labels alone say it.
    """

    images_MCHW: torch.Tensor
    labels_M: torch.Tensor
    experts_M: torch.Tensor
    targets_MC: torch.Tensor | None = None


class SyntheticSet(nn.Module):
    """One expert's synthetic images, class-major: rows ``c * ipc`` to ``(c + 1) * ipc`` belong to class
    ``c``.

    Args:
        images_NCHW: Stored images, (classes · ipc, channels, size, size), float32.
        provenance: What they are.
        learned_rate: Step size learned together with the images, a scalar, where the method learns one.
        soft_labels: Logits (classes · ipc, classes) learned together with the images, where the method learns
            them.
        average: Exponential moving average of the images, where the method keeps one: what is evaluated.
        whitening: The whitening that the provenance names.
    """

    average: torch.Tensor | None

    def __init__(
        self,
        images_NCHW: torch.Tensor,
        provenance: Provenance,
        learned_rate: torch.Tensor | None = None,
        soft_labels: torch.Tensor | None = None,
        average: torch.Tensor | None = None,
        whitening: Whitening | None = None,
    ) -> None:
        super().__init__()
        self.images = nn.Parameter(images_NCHW)
        self.provenance = provenance
        labels = torch.arange(len(provenance.classes)).repeat_interleave(provenance.ipc)
        self.labels: torch.Tensor
        self.register_buffer("labels", labels, persistent=False)
        self.learned_rate = None if learned_rate is None else nn.Parameter(learned_rate)
        self.soft_labels = None if soft_labels is None else nn.Parameter(soft_labels)
        self.register_buffer("average", average)
        self.normalisation = Normalisation(provenance.mean, provenance.std, whitening)

    @property
    def tiling(self) -> Tiling:
        """How the stored images are decoded."""
        return self.provenance.tiling

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average of the images: average ← decay · average + (1 - decay) · images (FTD, §3.3)."""
        if self.average is not None:
            self.average.lerp_(self.images, 1 - decay)

    def final(self) -> "SyntheticSet":
        """Return what is evaluated: the set with the averaged images where it has them, else itself."""
        if self.average is None:
            return self
        rate, labels = (None if t is None else t.detach() for t in (self.learned_rate, self.soft_labels))
        return SyntheticSet(
            self.average, self.provenance, rate, labels, whitening=self.normalisation.whitening
        )

    def targets(self) -> torch.Tensor:
        """Return the probabilities (M, classes) of all decoded images, in the order of :meth:`decode`."""
        if self.soft_labels is None:
            targets = nn.functional.one_hot(self.labels, len(self.provenance.classes)).to(self.images)
        else:
            targets = self.soft_labels.softmax(1)
        return targets.repeat(self.tiling.per_image, 1)

    def of_class(self, c: int) -> torch.Tensor:
        """Return the decoded images of class ``c`` in the stored space, (ipc · tiles, C, H, W), with
        gradient.
        """
        ipc = self.provenance.ipc
        return self.tiling.decode(self.images[c * ipc : (c + 1) * ipc])

    def decode(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all decoded images in the stored space, tile-major, and their labels."""
        return self.tiling.decode(self.images), self.labels.repeat(self.tiling.per_image)

    def raw(self) -> torch.Tensor:
        """Return the decoded images as raw pixels: [0, 1] for real images, unclamped for learned ones."""
        return self.as_raw(self.decode()[0])

    def as_raw(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return images of the stored space as raw pixels, unclamped."""
        return images_NCHW if self.provenance.space == "raw" else self.normalisation.raw(images_NCHW)

    def standardised(self) -> torch.Tensor:
        """Return the decoded images standardised by the data set's statistics or whitened, as networks see
        them.
        """
        images, _ = self.decode()
        return self.normalisation.standardised(images) if self.provenance.space == "raw" else images

    def fingerprint(self) -> str:
        """Return ``<tensors>-<reading>``: a sha256 over the tensors, and one over all else that students see
        by.
        """
        return f"{self.tensors_fingerprint()}-{self.provenance.reading()}"

    def tensors_fingerprint(self) -> str:
        """Return a sha256 over the tensors alone."""
        return set_files.fingerprint_of(self._tensors())

    def dataset(self) -> TensorDataset:
        """Return (standardised image, label) pairs as an ordinary data set; the label is a distribution if
        learned.
        """
        return union([self]).dataset()

    def save(self, path: str | Path) -> None:
        """Write ``path`` (safetensors) and the JSON beside it, each moved into place at once."""
        path = Path(path)
        set_files.write_set(path, self._tensors(), self.provenance, self.fingerprint())
        if self.normalisation.whitening is not None:
            self.normalisation.whitening.save(path.with_name(FILE))

    @classmethod
    def load(cls, path: str | Path) -> "SyntheticUnion":
        """Read a folder of the experts' files, or the file of one, as their union.

        Raises:
            InputError: The file is missing, truncated or not what was written, or the folder's are not each
                that of the expert its name says.
        """
        path = Path(path)
        if not path.is_dir():
            return union([cls.read(path)])
        files = set_files.files_of(path)
        sets = [cls.read(files[0])]
        sets += [cls.read(file, sets[0].normalisation.whitening) for file in files[1:]]
        set_files.require_roster(files, [one.provenance for one in sets])
        return union(sets)

    @classmethod
    def read(cls, path: Path, whitening: Whitening | None = None) -> "SyntheticSet":
        """Read one expert's file and the whitening it names, unless that one is given; raises as
        :meth:`load`.
        """
        tensors, provenance, fingerprint = set_files.read_set(path)
        if provenance.whitening is None:
            whitening = None
        elif whitening is None or whitening.source != provenance.whitening:
            whitening = set_files.whitening_beside(path, provenance.whitening)
        try:
            loaded = cls(tensors.pop("images"), provenance, **tensors, whitening=whitening)
        except (LookupError, TypeError) as error:
            raise set_files.damaged(path, error) from error
        set_files.require_sealed(path, fingerprint, loaded.fingerprint())
        return loaded

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors: dict[str, torch.Tensor | None] = {"images": self.images, "learned_rate": self.learned_rate}
        tensors |= {"soft_labels": self.soft_labels, "average": self.average}
        return {name: t.detach().cpu().contiguous() for name, t in tensors.items() if t is not None}


@dataclass(frozen=True)
class SyntheticUnion:
    """The sets of all experts together; each decodes and maps itself to raw pixels by its own statistics."""

    members: tuple[SyntheticSet, ...]

    @property
    def provenance(self) -> Provenance:
        """The first member's provenance: data set, classes and statistics are common to all."""
        return self.members[0].provenance

    @property
    def learned_rate(self) -> float | None:
        """Geometric mean of the members' learned rates; None where no member has one."""
        rates = [m.learned_rate.detach() for m in self.members if m.learned_rate is not None]
        return float(torch.stack(rates).log().mean().exp()) if rates else None

    def raw(self) -> Decoded:
        """Return every member's final images, decoded, as raw pixels in class-major order."""
        labels = torch.cat([m.decode()[1] for m in self.members])
        experts = torch.cat([torch.full((len(m.decode()[1]),), i) for i, m in enumerate(self.members)])
        order = torch.argsort(labels, stable=True)
        images = torch.cat([m.final().raw().detach() for m in self.members])
        soft = any(m.soft_labels is not None for m in self.members)
        targets = torch.cat([m.targets().detach() for m in self.members])[order] if soft else None
        return Decoded(images[order], labels[order], experts.to(labels.device)[order], targets)

    def fingerprint(self) -> str:
        """Return ``<tensors>-<reading>`` of all members in order, as :meth:`SyntheticSet.fingerprint` of
        one.
        """
        reading = hashlib.sha256("".join(m.provenance.reading() for m in self.members).encode()).hexdigest()
        return f"{self.tensors_fingerprint()}-{reading[:DIGITS]}"

    def tensors_fingerprint(self) -> str:
        """Return a sha256 over the members' tensors alone, in order."""
        return hashlib.sha256("".join(m.tensors_fingerprint() for m in self.members).encode()).hexdigest()

    def dataset(self) -> TensorDataset:
        """Return (standardised image, label) pairs as an ordinary data set; labels are distributions if
        learned.
        """
        decoded = self.raw()
        targets = decoded.labels_M if decoded.targets_MC is None else decoded.targets_MC
        return TensorDataset(self.members[0].normalisation.standardised(decoded.images_MCHW), targets)

    def require(
        self,
        classes: Sequence[str],
        channels: int,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        whitening: str | None = None,
    ) -> None:
        """Refuse data the sets were not distilled from.

        Raises:
            InputError: Classes, image shape, statistics or whitening differ.
        """
        shape = tuple(self.members[0].images.shape[1:])
        self.provenance.require(shape, classes, (channels, size, size), mean, std, whitening)


def union(sets: Sequence[SyntheticSet]) -> SyntheticUnion:
    """Unite the experts' sets.

    Raises:
        InputError: They come from different data.
    """
    first = sets[0].provenance
    together = SyntheticUnion(tuple(sets))
    for member in sets[1:]:
        p = member.provenance
        together.require(
            p.classes, member.images.shape[1], member.images.shape[2], p.mean, p.std, p.whitening
        )
        if p.data_fingerprint != first.data_fingerprint:
            raise InputError(
                "set", p.data_fingerprint[:12], f"experts of the same data, {first.data_fingerprint[:12]}"
            )
    return together
