"""DD-Ranking's input: the order of classes and the statistics that its code has, and what to know when it is
run.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from moe_distill.data.normalization import Normalisation
from moe_distill.errors import InputError
from moe_distill.store.store import write_json
from moe_distill.synthetic.formats.conventions import CONVENTIONS
from moe_distill.synthetic.formats.foreign import Statistics
from moe_distill.synthetic.formats.writing import EXACT, Written, about, learned_labels
from moe_distill.synthetic.provenance import Provenance
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion

_THEIRS = CONVENTIONS["ddranking"]
_PERCENT = (
    "DD-Ranking 0.2.0 puts percent into the exponentials of its scores; its documentation has fractions there, and "
    "pipeline=score goes by the documentation, so that the two cannot be compared"
)
_FAILS = (
    "its evaluators train on these files and then fail by themselves: the one of hard labels when it saves its "
    "results, those of soft labels and of augmentation when they draw random images or look for a teacher"
)


def write_ddranking(together: SyntheticUnion, source: Path, folder: Path) -> Written:
    """Write DD-Ranking's input: all experts' decoded images as its networks see them, sorted by its class
    numbers.

    ``images.pt`` (M, C, H, W); ``labels.pt``, logits (M, classes), where labels were learned; ``lr.pt``, a
    scalar, where a step size was; ``about.json`` with the classes in the order of its labels, and the
    statistics.

    Source: DD-Ranking v0.2, the tensors it takes and ``ddranking/utils/data.py``.

    Raises:
        InputError: The order of the classes cannot be told.
    """
    p = together.provenance
    classes, (mean, std) = _their_order(p), _their_statistics(p)
    from_C = torch.tensor([p.classes.index(name) for name in classes])
    members = [member.final() for member in together.members]
    labels_M = from_C.argsort()[torch.cat([member.decode()[1].cpu() for member in members])]
    order_M = labels_M.argsort(stable=True)
    images_MCHW = torch.cat([_seen(member, mean, std).cpu() for member in members])[order_M]
    torch.save(images_MCHW.contiguous(), folder / "images.pt")
    if learned_labels(together):
        logits_MC = torch.cat([_logits(member).cpu() for member in members])[order_M][:, from_C]
        torch.save(logits_MC.contiguous(), folder / "labels.pt")
    rates = [member.learned_rate.detach() for member in members if member.learned_rate is not None]
    if rates:
        rate = rates[0] if len(rates) == 1 else torch.tensor(together.learned_rate)
        torch.save(rate.cpu().clone(), folder / "lr.pt")
    each = len(labels_M) // len(classes)
    notes = _notes(together, each, classes, (mean, std))
    told = {
        "classes": list(classes),
        "mean": list(mean),
        "std": list(std),
        "images_per_class": each,
        "notes": notes,
    }
    write_json(folder / "about.json", {**about(together), **told})
    untouched = all(m.provenance.space != "raw" and m.tiling.per_image == 1 for m in members)
    if untouched and (mean, std) == (p.mean, p.std):
        return Written(EXACT, notes)
    return Written("exact as networks see the images: decoded and standardised in float32", notes)


def _their_order(p: Provenance) -> Sequence[str]:
    """Return the classes in the order of DD-Ranking's labels."""
    order = _THEIRS.orders.get(p.dataset, p.classes)
    if sorted(order) != sorted(p.classes):
        allowed = f"classes of {p.dataset} by the names {', '.join(order)}, whose order DD-Ranking has"
        raise InputError("pipeline.layout", "ddranking", allowed)
    return order


def _their_statistics(p: Provenance) -> tuple[Statistics, Statistics]:
    """Return the mean and std that DD-Ranking standardises a data set's real images by; the set's where it
    has none.
    """
    return _THEIRS.statistics.get(p.dataset, (p.mean, p.std)) if p.whitening is None else (p.mean, p.std)


def _seen(member: SyntheticSet, mean: Statistics, std: Statistics) -> torch.Tensor:
    p = member.provenance
    if (mean, std) == (p.mean, p.std):
        return member.standardised().detach()
    return Normalisation(mean, std).standardised(member.raw().detach())


def _logits(member: SyntheticSet) -> torch.Tensor:
    """Return the logits of a set's decoded images (M, classes); of classes alone, those of a one-hot
    label.
    """
    if member.soft_labels is None:
        return member.targets().detach().clamp_min(1e-30).log()
    return member.soft_labels.detach().repeat(member.tiling.per_image, 1)


def _notes(
    together: SyntheticUnion, each: int, classes: Sequence[str], statistics: tuple[Statistics, Statistics]
) -> list[str]:
    """Say what somebody must know who runs DD-Ranking on the files."""
    p = together.provenance
    stored = sum(member.provenance.ipc for member in together.members)
    opponent = f"its random images are then {each} of each class"
    if stored != each:
        opponent += f", those of pipeline=score as many as are stored, {stored}"
    notes = [f"give DD-Ranking ipc={each}, the decoded images of each class; {opponent}"]
    if tuple(classes) != tuple(p.classes):
        notes.append(f"labels are numbered as DD-Ranking does: {', '.join(classes)}")
    if statistics != (p.mean, p.std):
        mean, std = (list(values) for values in statistics)
        notes.append(
            f"images are standardised by mean {mean} and std {std}, as DD-Ranking standardises {p.dataset}"
        )
    return [*notes, _PERCENT, _FAILS]
