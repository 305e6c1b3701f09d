"""The synthetic set: all that evaluation knows of distillation."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from moe_distill.data.normalization import FILE, Normalisation, Space, Whitening
from moe_distill.store.disk import as_path, file_of_user
from moe_distill.synthetic import files as set_files
from moe_distill.synthetic.provenance import Provenance
from moe_distill.synthetic.synthetic_union import Decoded, SyntheticUnion
from moe_distill.synthetic.tiling import Tiling

if TYPE_CHECKING:
    from moe_distill.synthetic.formats.exporting import Layout

__all__ = ["Decoded", "Provenance", "Space", "SyntheticSet", "SyntheticUnion"]


class SyntheticSet(nn.Module):
    """One expert's synthetic images, ordered by class: rows ``c * ipc`` to ``(c + 1) * ipc`` are class ``c``.

    Args:
        images_NCHW: Stored images, (classes · ipc, channels, size, size), float32.
        provenance: Describes the set.
        learned_rate: Step size learned together with the images, a scalar; None if the method learns none.
        soft_labels: Logits (classes · ipc, classes) learned together with the images; None if the method
            learns none.
        average: Exponential moving average of the images, which is then evaluated in their place; None if the
            method has none.
        whitening: The whitening whose source is in the provenance; None without one.

    Example:
        >>> from moe_distill.data.real_set import RealSet
        >>> from moe_distill.synthetic.provenance import provenance_of
        >>> pixels = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
        >>> real = RealSet(pixels, torch.arange(2), ("cat", "dog"), (0.5,), (0.25,), "demo", "none")
        >>> provenance = provenance_of(real, method="dc", expert=0, ipc=3, tiling=Tiling(factor=2))
        >>> synthetic = SyntheticSet(torch.zeros(6, 1, 8, 8), provenance)
        >>> synthetic.of_class(1).shape, synthetic.standardised().shape
        (torch.Size([12, 1, 8, 8]), torch.Size([24, 1, 8, 8]))
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
        # Not in the state dict: labels follow from classes and ipc.
        self.register_buffer("labels", labels, persistent=False)
        self.learned_rate = None if learned_rate is None else nn.Parameter(learned_rate)
        self.soft_labels = None if soft_labels is None else nn.Parameter(soft_labels)
        self.register_buffer("average", average)
        self.normalisation = Normalisation(provenance.mean, provenance.std, whitening)

    def __repr__(self) -> str:
        p, (stored, channels, size, _) = self.provenance, self.images.shape
        images = f"{stored} images of {channels} × {size} × {size}"
        return f"{p.method}{p.ipc}, expert {p.expert} of {p.dataset}: {images}"

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
        """Return the set to evaluate: with the averaged images if there are any, else the set itself."""
        if self.average is None:
            return self
        return SyntheticSet(
            self.average,
            self.provenance,
            learned_rate=None if self.learned_rate is None else self.learned_rate.detach(),
            soft_labels=None if self.soft_labels is None else self.soft_labels.detach(),
            whitening=self.normalisation.whitening,
        )

    def targets(self) -> torch.Tensor:
        """Return the probabilities (M, classes) of all decoded images, in the order of :meth:`decode`."""
        if self.soft_labels is None:
            targets = nn.functional.one_hot(self.labels, len(self.provenance.classes)).to(self.images)
        else:
            targets = self.soft_labels.softmax(1)
        return targets.repeat(self.tiling.per_image, 1)  # tile by tile, as the images are decoded

    def of_class(self, c: int) -> torch.Tensor:
        """Return the decoded images of class ``c`` in the stored space, (ipc · tiles, C, H, W)."""
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
        """Return the decoded images as networks see them: standardised by the statistics, or whitened."""
        images, _ = self.decode()
        return self.normalisation.standardised(images) if self.provenance.space == "raw" else images

    def fingerprint(self) -> str:
        """Return ``<tensors>-<reading>``: a sha256 over the tensors, and one over the relevant metadata.

        For the second part see :meth:`~moe_distill.synthetic.provenance.Provenance.reading`.
        """
        return f"{self.tensors_fingerprint()}-{self.provenance.reading()}"

    def tensors_fingerprint(self) -> str:
        """Return a sha256 over the tensors alone."""
        return set_files.fingerprint_of(self._tensors())

    def save(self, path: str | Path) -> None:
        """Write ``path`` (safetensors), the JSON beside it and the whitening, if any, each atomically.

        Raises:
            InputError: The file cannot be written.
        """
        with file_of_user(path) as file:
            set_files.write_set(file, self._tensors(), self.provenance, self.fingerprint())
            if self.normalisation.whitening is not None:
                self.normalisation.whitening.save(file.with_name(FILE))

    @classmethod
    def load(cls, path: str | Path) -> "SyntheticUnion":
        """Read one expert's file, or a folder with the files of all experts, as a union.

        Raises:
            InputError: If a file is missing, damaged or changed, or a folder's files are not those of all
                experts of one roster.
        """
        path = as_path(path)
        if not path.is_dir():
            return SyntheticUnion((cls.read(path),), path)
        files = set_files.files_of(path)
        members = [cls.read(files[0])]
        # A whitening may take gigabytes: all experts share the one that the first has read.
        members += [cls.read(file, members[0].normalisation.whitening) for file in files[1:]]
        set_files.require_roster(files, [member.provenance for member in members])
        return SyntheticUnion(tuple(members), path)

    @classmethod
    def read(cls, path: Path, whitening: Whitening | None = None) -> "SyntheticSet":
        """Read one expert's file.

        Args:
            path: The safetensors file.
            whitening: A whitening in memory; the one that the file names is read only if it is another one.

        Raises:
            InputError: As for :meth:`load`.
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

    def dataset(self) -> TensorDataset:
        """Return (standardised image, label) pairs as a torch data set; learned labels are distributions."""
        return SyntheticUnion((self,)).dataset()

    def export(self, to: str | Path, layout: "Layout" = "safetensors", **more: Any) -> Path:
        """Write the set to a new folder; see :meth:`SyntheticUnion.export`."""
        return SyntheticUnion((self,)).export(to, layout, **more)

    @staticmethod
    def union(sets: "Iterable[SyntheticSet | SyntheticUnion]") -> "SyntheticUnion":
        """Return several sets, or unions of them, as the sets of as many experts.

        Raises:
            InputError: They were distilled from different data.
        """
        members = [m for s in sets for m in (s.members if isinstance(s, SyntheticUnion) else (s,))]
        return SyntheticUnion(tuple(members))

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors: dict[str, torch.Tensor | None] = {
            "images": self.images,
            "learned_rate": self.learned_rate,
            "soft_labels": self.soft_labels,
            "average": self.average,
        }
        return {name: t.detach().cpu().contiguous() for name, t in tensors.items() if t is not None}
