"""The synthetic set: the only thing that passes from distilling to evaluating."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import TensorDataset

from moe_distill.errors import InputError
from moe_distill.tiling import Tiling

Space = Literal["raw", "standardised"]


@dataclass(frozen=True)
class Provenance:
    """What a set is: enough to use it without the configuration that made it.

    Attributes:
        dataset: Name of the real data; ``data_variant`` and ``data_fingerprint`` say which copy of it.
        classes: Class names in label order.
        mean: Per-channel mean of the real pixels scaled to [0, 1]; ``std`` likewise.
        method: Name of the distillation method; ``expert`` its place in the roster.
        ipc: Stored images per class.
        space: What the stored numbers are: raw pixels in [0, 1], or standardised by ``mean`` and ``std``.
        tiling: How a stored image is decoded.
        settings: The description of everything that decided the images.
    """

    dataset: str
    data_variant: str
    data_fingerprint: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    method: str
    expert: int
    ipc: int
    space: Space = "standardised"
    tiling: Tiling = field(default_factory=Tiling)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decoded:
    """Images as a network sees them: pixels (M, C, H, W), labels (M,) and the expert each came from (M,)."""

    images_MCHW: torch.Tensor
    labels_M: torch.Tensor
    experts_M: torch.Tensor


class SyntheticSet(nn.Module):
    """One expert's synthetic images, class-major: rows ``c * ipc`` to ``(c + 1) * ipc`` belong to class ``c``.

    Args:
        images_NCHW: Stored images, (classes · ipc, channels, size, size), float32.
        provenance: What they are.
        learned_rate: Step size learned together with the images, where the method learns one.
    """

    def __init__(
        self, images_NCHW: torch.Tensor, provenance: Provenance, learned_rate: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.images = nn.Parameter(images_NCHW)
        self.provenance = provenance
        labels = torch.arange(len(provenance.classes)).repeat_interleave(provenance.ipc)
        self.labels: torch.Tensor
        self.register_buffer("labels", labels, persistent=False)
        self.learned_rate = None if learned_rate is None else nn.Parameter(learned_rate)

    @property
    def tiling(self) -> Tiling:
        """How the stored images are decoded."""
        return self.provenance.tiling

    def of_class(self, c: int) -> torch.Tensor:
        """Return the decoded images of class ``c`` in the stored space, (ipc · tiles, C, H, W), with gradient."""
        ipc = self.provenance.ipc
        return self.tiling.decode(self.images[c * ipc : (c + 1) * ipc])

    def decode(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all decoded images in the stored space, tile-major, and their labels."""
        return self.tiling.decode(self.images), self.labels.repeat(self.tiling.per_image)

    def raw(self) -> torch.Tensor:
        """Return the decoded images as raw pixels: [0, 1] for real images, unclamped for learned ones."""
        images, _ = self.decode()
        if self.provenance.space == "raw":
            return images
        mean, std = _channels(self.provenance, images)
        return images * std + mean

    def standardised(self) -> torch.Tensor:
        """Return the decoded images standardised by the data set's statistics, as networks see them."""
        images, _ = self.decode()
        if self.provenance.space == "standardised":
            return images
        mean, std = _channels(self.provenance, images)
        return (images - mean) / std

    def fingerprint(self) -> str:
        """Return a sha256 over the tensors alone; equal images give equal fingerprints on every machine."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._tensors().items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
        return digest.hexdigest()

    def dataset(self) -> TensorDataset:
        """Return (standardised image, label) pairs as an ordinary data set."""
        return union([self]).dataset()

    def save(self, path: str | Path) -> None:
        """Write ``path`` (safetensors) and the JSON beside it, each moved into place at once."""
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        save_file(self._tensors(), temporary)
        about = {"provenance": dataclasses.asdict(self.provenance), "fingerprint": self.fingerprint()}
        temporary_json = temporary.with_name(f"{temporary.name}.json")
        temporary_json.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
        temporary.replace(path)
        temporary_json.replace(path.with_suffix(".json"))

    @classmethod
    def load(cls, path: str | Path) -> "SyntheticSet | Union":
        """Read one expert's file, or a folder of them as their union.

        Raises:
            InputError: The file is missing, truncated or not what was written.
        """
        path = Path(path)
        if path.is_dir():
            files = sorted(path.glob("expert_*.safetensors"), key=lambda p: int(p.stem.split("_")[1]))
            if not files:
                raise InputError("set", path, "a folder with files expert_<number>.safetensors")
            return union([cls.read(file) for file in files])
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> "SyntheticSet":
        """Read one expert's file; raises as :meth:`load`."""
        try:
            about = json.loads(path.with_suffix(".json").read_text())
            tensors = load_file(path)
            given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about["provenance"].items()}
            provenance = Provenance(**{**given, "tiling": Tiling(**given["tiling"])})
            loaded, fingerprint = cls(tensors["images"], provenance, tensors.get("learned_rate")), about["fingerprint"]
        except FileNotFoundError as error:
            raise InputError("set", path, f"a set written by this package; {error.filename} is missing") from error
        except (SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError("set", path, f"a whole set file; this one is truncated or damaged ({error})") from error
        if loaded.fingerprint() != fingerprint:
            raise InputError("set", path, f"the images it was written with, fingerprint {fingerprint[:12]}")
        return loaded

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {"images": self.images, "learned_rate": self.learned_rate}
        return {name: t.detach().cpu().contiguous() for name, t in tensors.items() if t is not None}


@dataclass(frozen=True)
class Union:
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
        """Return every member's decoded images as raw pixels in class-major order."""
        labels = torch.cat([m.decode()[1] for m in self.members])
        experts = torch.cat([torch.full((len(m.decode()[1]),), i) for i, m in enumerate(self.members)])
        order = torch.argsort(labels, stable=True)
        images = torch.cat([m.raw().detach() for m in self.members])
        return Decoded(images[order], labels[order], experts.to(labels.device)[order])

    def fingerprint(self) -> str:
        """Return a sha256 over the members' fingerprints in order."""
        return hashlib.sha256("".join(m.fingerprint() for m in self.members).encode()).hexdigest()

    def dataset(self) -> TensorDataset:
        """Return (standardised image, label) pairs as an ordinary data set."""
        decoded = self.raw()
        mean, std = _channels(self.provenance, decoded.images_MCHW)
        return TensorDataset((decoded.images_MCHW - mean) / std, decoded.labels_M)

    def require(
        self, classes: Sequence[str], channels: int, size: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        """Refuse data the sets were not distilled from.

        Raises:
            InputError: Classes, image shape or statistics differ.
        """
        shape = tuple(self.members[0].images.shape[1:])
        ours = (tuple(self.provenance.classes), shape, _rounded(self.provenance.mean), _rounded(self.provenance.std))
        theirs = (tuple(classes), (channels, size, size), _rounded(mean), _rounded(std))
        for what, mine, other in zip(("classes", "image shape", "mean", "std"), ours, theirs, strict=True):
            if mine != other:
                allowed = f"the set was distilled from {self.provenance.dataset} with {what} {_short(mine)}"
                raise InputError("data", f"({what} {_short(other)})", allowed)


def union(sets: Sequence[SyntheticSet]) -> Union:
    """Unite the experts' sets.

    Raises:
        InputError: They come from different data.
    """
    first = sets[0].provenance
    together = Union(tuple(sets))
    for member in sets[1:]:
        p = member.provenance
        together.require(p.classes, member.images.shape[1], member.images.shape[2], p.mean, p.std)
        if p.data_fingerprint != first.data_fingerprint:
            raise InputError("set", p.data_fingerprint[:12], f"experts of the same data, {first.data_fingerprint[:12]}")
    return together


def _channels(provenance: Provenance, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = (like.new_tensor(v).view(1, -1, 1, 1) for v in (provenance.mean, provenance.std))
    return mean, std


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(float(v), 6) for v in values)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "..."
