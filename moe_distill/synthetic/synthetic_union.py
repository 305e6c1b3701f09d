"""The sets of several experts together, which decode and evaluate as one."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import TensorDataset

from moe_distill.errors import InputError, renamed
from moe_distill.store.disk import as_path
from moe_distill.synthetic.provenance import DIGITS, Provenance

if TYPE_CHECKING:
    from moe_distill.synthetic.formats.exporting import Layout
    from moe_distill.synthetic.synthetic_set import SyntheticSet


@dataclass(frozen=True)
class Decoded:
    """Decoded images with their labels.

    Attributes:
        images_MCHW: Images at full size.
        labels_M: Class of each image.
        experts_M: Position of the expert that made each image.
        targets_MC: Probabilities that a network is trained towards; None if the labels are not learned.
    """

    images_MCHW: torch.Tensor
    labels_M: torch.Tensor
    experts_M: torch.Tensor
    targets_MC: torch.Tensor | None = None


@dataclass(frozen=True, repr=False)
class SyntheticUnion:
    """The sets of all experts together; each decodes and maps itself to raw pixels by its own statistics.

    Attributes:
        members: The experts' sets, in order.
        path: The file or folder that they were read from; None for sets that are in memory only.
    """

    members: tuple["SyntheticSet", ...]
    path: Path | None = None

    def __post_init__(self) -> None:
        """Refuse members that are no sets, or were distilled from different data."""
        sets = self.members if isinstance(self.members, tuple | list) else (self.members,)
        # Not unions, which have members of their own: SyntheticSet.union takes those too.
        if sets is not self.members or not sets or any(not hasattr(member, "images") for member in sets):
            names = ", ".join(type(member).__name__ for member in sets) or "nothing"
            raise InputError("members", names, "a tuple of SyntheticSet; SyntheticSet.union unites any sets")
        for member in self.members[1:]:
            p, first = member.provenance, self.provenance
            _, channels, size, _ = member.images.shape
            self.require(p.classes, channels, size, p.mean, p.std, p.whitening)
            if p.data_fingerprint != first.data_fingerprint:
                allowed = f"experts of the same data, {first.data_fingerprint[:12]}"
                raise InputError("set", p.data_fingerprint[:12], allowed)

    def __repr__(self) -> str:
        p = self.provenance
        methods = "+".join(dict.fromkeys(member.provenance.method for member in self.members))
        stored = sum(len(member.images) for member in self.members)
        _, channels, size, _ = self.members[0].images.shape
        images = f"{stored} images of {channels} × {size} × {size}"
        ipcs = [member.provenance.ipc for member in self.members]
        budget = f"{p.ipc}x{len(ipcs)}" if len({*ipcs}) == 1 else "+".join(map(str, ipcs))
        return f"{methods}{budget} of {p.dataset}: {images}"

    @property
    def provenance(self) -> Provenance:
        """The first member's provenance: all members have the same data set, classes and statistics."""
        return self.members[0].provenance

    @property
    def learned_rate(self) -> float | None:
        """Geometric mean of the members' learned rates; None where no member has one."""
        rates = [m.learned_rate.detach() for m in self.members if m.learned_rate is not None]
        # Geometric, as step sizes differ by factors: 0.01 and 1 have their middle at 0.1.
        return float(torch.stack(rates).log().mean().exp()) if rates else None

    def raw(self) -> Decoded:
        """Return every member's final images, decoded, as raw pixels ordered by class."""
        labels_by_member = [m.labels.repeat(m.tiling.per_image) for m in self.members]
        labels = torch.cat(labels_by_member)
        counts = [len(member_labels) for member_labels in labels_by_member]
        experts = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        images = torch.cat([m.final().raw().detach() for m in self.members])
        # Within a class the experts stay in order, as the sort is stable.
        order = torch.argsort(labels, stable=True)
        targets = None
        if any(m.soft_labels is not None for m in self.members):
            targets = torch.cat([m.targets().detach() for m in self.members])[order]
        return Decoded(images[order], labels[order], experts.to(labels.device)[order], targets)

    def fingerprint(self) -> str:
        """Return ``<tensors>-<reading>`` over all members in order; see :meth:`SyntheticSet.fingerprint`."""
        reading = hashlib.sha256("".join(m.provenance.reading() for m in self.members).encode()).hexdigest()
        return f"{self.tensors_fingerprint()}-{reading[:DIGITS]}"

    def tensors_fingerprint(self) -> str:
        """Return a sha256 over the members' tensors alone, in order."""
        return hashlib.sha256("".join(m.tensors_fingerprint() for m in self.members).encode()).hexdigest()

    @property
    def is_as_read(self) -> bool:
        """True if the set is what :attr:`path` holds: it was read from there and not changed since."""
        if self.path is None:
            return False
        from moe_distill.synthetic.synthetic_set import SyntheticSet  # it imports this module

        return SyntheticSet.load(self.path).fingerprint() == self.fingerprint()

    def dataset(self) -> TensorDataset:
        """Return (standardised image, label) pairs as a torch data set; learned labels are distributions."""
        decoded = self.raw()
        targets = decoded.labels_M if decoded.targets_MC is None else decoded.targets_MC
        return TensorDataset(self.members[0].normalisation.standardised(decoded.images_MCHW), targets)

    def save(self, folder: str | Path) -> None:
        """Write the file of each expert to a folder, numbered in their order here."""
        for number, member in enumerate(self.members):
            # Numbered anew, and without a roster: the members may come from several sets.
            settings = {name: value for name, value in member.provenance.settings.items() if name != "roster"}
            renumbered = copy.copy(member)
            renumbered.provenance = replace(member.provenance, expert=number, settings=settings)
            renumbered.save(Path(folder) / f"expert_{number}.safetensors")

    def export(
        self,
        to: str | Path,
        layout: "Layout" = "safetensors",
        *,
        license: str | None = None,
        push_to: str | None = None,
        private: bool = True,
    ) -> Path:
        """Write the set to a new folder in the files of another program, and return the folder.

        Args:
            to: The folder, which must not exist.
            layout: ``safetensors``, the set's own files; ``folder`` of pictures by class; ``ddranking``; or
                ``huggingface``, which ``datasets.load_dataset`` reads.
            license: The set's licence in a Hugging Face card, such as ``cc-by-4.0``.
            push_to: The Hub's ``<user>/<name>`` that a Hugging Face folder is uploaded to; None uploads
                nothing.
            private: Whether only the owner sees it there.

        Raises:
            InputError: The folder exists, or the upload cannot be done.
        """
        from moe_distill.synthetic.formats import exporting, hub, placing  # they import this module
        from moe_distill.synthetic.formats.card import CardFacts

        folder = as_path(to, "to")
        for name, value in (("license", license), ("push_to", push_to)):
            if value is not None and layout != "huggingface":
                raise InputError(name, value, 'leave it out: only layout="huggingface" has it')
        with renamed(placing.KEY, "to"), renamed(hub.KEY, "push_to"):
            if push_to is not None:
                hub.client_for(push_to)  # before anything is written
            exporting.export(self, folder, layout, CardFacts(license=license))
            if push_to is not None:
                hub.push_to_hub(folder, push_to, private)
        return folder

    def require(
        self,
        classes: Sequence[str],
        channels: int,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        whitening: str | None = None,
    ) -> None:
        """Check that the sets were distilled from data like these.

        Args:
            classes: Class names of the data.
            channels: Channels of its images.
            size: Height and width of its images, in pixels.
            mean: Mean of each channel.
            std: Standard deviation of each channel.
            whitening: Source of its whitening; None without one.

        Raises:
            InputError: If classes, image shape, statistics or whitening differ.
        """
        shape = tuple(self.members[0].images.shape[1:])
        self.provenance.require(shape, classes, (channels, size, size), mean, std, whitening)
