"""DD-Ranking's input, with its order of classes and its statistics, and notes for running it."""

from collections.abc import Sequence
from pathlib import Path

import torch

from moe_distill.data.normalization import Normalisation
from moe_distill.data.real_set import Statistics
from moe_distill.errors import InputError
from moe_distill.store.store import write_json
from moe_distill.synthetic.formats import about
from moe_distill.synthetic.formats.conventions import CONVENTIONS
from moe_distill.synthetic.formats.writing import EXACT, ExportReport, facts_of, learned_labels
from moe_distill.synthetic.provenance import Provenance
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion

_THEIRS = CONVENTIONS["ddranking"]
# Notes on faults of DD-Ranking v0.2, for those who run it on exported files.
_PERCENT = (
    "DD-Ranking 0.2.0 puts percent into the exponentials of its scores; its documentation has fractions "
    "there, and pipeline=score goes by the documentation, so that the two cannot be compared"
)
_FAILS = (
    "its evaluators train on these files and then fail by themselves: the one of hard labels when it saves "
    "its results, those of soft labels and of augmentation when they draw random images or look for a teacher"
)


def write_ddranking(together: SyntheticUnion, source: Path, folder: Path) -> ExportReport:
    """Write DD-Ranking's input: all experts' decoded images, normalised and sorted by class as its code does.

    Files are ``images.pt`` (M, C, H, W); ``labels.pt``, logits (M, classes), if labels were learned;
    ``lr.pt``, a scalar, if a step size was learned; and ``about.json`` with the classes in the order of the
    labels and the statistics.

    Source: DD-Ranking v0.2, the tensors it takes and ``ddranking/utils/data.py``.

    Args:
        together: The set.
        source: Unused: the tensors are in ``together``.
        folder: An empty folder to write to.

    Raises:
        InputError: If DD-Ranking's order of the classes is not known.
    """
    p = together.provenance
    classes = _their_order(p)
    mean, std = _their_statistics(p)
    from_C = torch.tensor([p.classes.index(name) for name in classes])  # our class of each of its labels
    members = [member.final() for member in together.members]
    # The argsort of a permutation is its inverse: its label of each of our classes.
    labels_M = from_C.argsort()[torch.cat([member.decode()[1].cpu() for member in members])]
    # Without labels.pt it takes images class by class.
    order_M = labels_M.argsort(stable=True)
    images_MCHW = torch.cat([_seen(member, mean, std).cpu() for member in members])[order_M]
    torch.save(images_MCHW.contiguous(), folder / "images.pt")
    if learned_labels(together):
        logits_MC = torch.cat([_logits(member).cpu() for member in members])[order_M][:, from_C]
        torch.save(logits_MC.contiguous(), folder / "labels.pt")
    _write_rate(together, folder / "lr.pt")
    images_per_class = len(labels_M) // len(classes)
    notes = _notes(together, images_per_class, classes, (mean, std))
    of_files = {"classes": list(classes), "mean": list(mean), "std": list(std)}
    of_files |= {"images_per_class": images_per_class, "notes": notes}
    write_json(folder / about.FILE, {**facts_of(together), **of_files})
    untouched = all(m.provenance.space != "raw" and m.tiling.per_image == 1 for m in members)
    if untouched and (mean, std) == (p.mean, p.std):
        return ExportReport(EXACT, notes)
    return ExportReport("exact as networks see the images: decoded and standardised in float32", notes)


def _write_rate(together: SyntheticUnion, path: Path) -> None:
    """Write the step size of a set, unless none was learned."""
    rates = [m.learned_rate.detach() for m in together.members if m.learned_rate is not None]
    if rates:
        # A single rate is written bit by bit; the geometric mean of several passes through a Python float.
        rate = rates[0] if len(rates) == 1 else torch.tensor(together.learned_rate)
        # Cloned, as torch.save writes the whole storage of a view.
        torch.save(rate.cpu().clone(), path)


def _their_order(p: Provenance) -> Sequence[str]:
    """Return the classes in the order of DD-Ranking's labels."""
    order = _THEIRS.orders.get(p.dataset, p.classes)
    if sorted(order) != sorted(p.classes):
        allowed = f"classes of {p.dataset} by the names {', '.join(order)}, whose order DD-Ranking has"
        raise InputError("pipeline.layout", "ddranking", allowed)
    return order


def _their_statistics(p: Provenance) -> tuple[Statistics, Statistics]:
    """Return DD-Ranking's mean and std of a data set; the set's if it has none, or the set is whitened."""
    if p.whitening is not None:
        return p.mean, p.std
    return _THEIRS.statistics.get(p.dataset, (p.mean, p.std))


def _seen(member: SyntheticSet, mean: Statistics, std: Statistics) -> torch.Tensor:
    """Return a set's decoded images, normalised by DD-Ranking's statistics or by the set's whitening."""
    p = member.provenance
    if (mean, std) == (p.mean, p.std):  # without the detour over raw pixels, which would round
        return member.standardised().detach()
    return Normalisation(mean, std).standardised(member.raw().detach())


def _logits(member: SyntheticSet) -> torch.Tensor:
    """Return the label logits of a set's decoded images (M, classes)."""
    if member.soft_labels is None:
        # Of a one-hot label; the logarithm of 0 would be -inf, of which some losses make NaN.
        return member.targets().detach().clamp_min(1e-30).log()
    return member.soft_labels.detach().repeat(member.tiling.per_image, 1)


def _notes(
    together: SyntheticUnion,
    images_per_class: int,
    classes: Sequence[str],
    statistics: tuple[Statistics, Statistics],
) -> list[str]:
    """Return notes for those who run DD-Ranking on the files."""
    p = together.provenance
    stored = sum(member.provenance.ipc for member in together.members)
    opponent = f"its random images are then {images_per_class} of each class"
    if stored != images_per_class:
        opponent += f", those of pipeline=score as many as are stored, {stored}"
    notes = [f"give DD-Ranking ipc={images_per_class}, the decoded images of each class; {opponent}"]
    if tuple(classes) != tuple(p.classes):
        notes.append(f"labels are numbered as DD-Ranking does: {', '.join(classes)}")
    if statistics != (p.mean, p.std):
        mean, std = (list(values) for values in statistics)
        notes.append(
            f"images are standardised by mean {mean} and std {std}, as DD-Ranking standardises {p.dataset}"
        )
    return [*notes, _PERCENT, _FAILS]
