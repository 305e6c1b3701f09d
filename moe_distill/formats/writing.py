"""Writers: a set in the files of other programs. Each fills an empty folder and says how exact the images are."""

import shutil
from pathlib import Path
from typing import Any

import torch

from moe_distill.formats.image_folder import write_class_folders
from moe_distill.normalisation import FILE
from moe_distill.records import write_json
from moe_distill.synthetic import SyntheticSet, Union

EXACT = "exact: every number is the one stored"
PICTURES = "not exact: pixels are clamped to [0, 1] and rounded to 8 bits, at most 1/510 from the clamped value"


def copy_set(together: Union, source: Path, folder: Path) -> str:
    """Copy the files of a set, a file or a folder of them, byte for byte, its whitening included."""
    files = sorted(source.glob("expert_*.safetensors")) if source.is_dir() else [source]
    for file in files:
        shutil.copyfile(file, folder / file.name)
        shutil.copyfile(file.with_suffix(".json"), folder / file.with_suffix(".json").name)
    if together.provenance.whitening is not None:
        shutil.copyfile(files[0].with_name(FILE), folder / FILE)
    return EXACT if source.is_dir() else f"{EXACT}; to be loaded as {source.name}, one expert's file"


def write_pictures(together: Union, source: Path, folder: Path) -> str:
    """Write ``<class number>/<number>.png`` of all experts' decoded images, and ``about.json``."""
    decoded = together.raw()
    write_class_folders(decoded.images_MCHW.cpu(), decoded.labels_M.cpu(), folder)
    exact = PICTURES if decoded.targets_MC is None else f"{PICTURES}; the labels that were learned are left out"
    write_json(folder / "about.json", {**about(together), "space": "raw", "exact": exact})
    return exact


def write_ddranking(together: Union, source: Path, folder: Path) -> str:
    """Write DD-Ranking's input: all experts' decoded images as networks see them, sorted by class.

    ``images.pt`` (M, C, H, W); ``labels.pt``, logits (M, classes), where labels were learned; ``lr.pt``, a scalar,
    where a step size was; ``about.json`` with the statistics, which DD-Ranking must be given: its own for CIFAR-100
    are those of CIFAR-10.

    Source: DD-Ranking v0.2, the tensors it takes.
    """
    members = [member.final() for member in together.members]
    labels_M = torch.cat([member.decode()[1] for member in members])
    order_M = labels_M.argsort(stable=True)
    images_MCHW = torch.cat([member.standardised().detach() for member in members])[order_M]
    torch.save(images_MCHW.cpu().contiguous(), folder / "images.pt")
    if any(member.soft_labels is not None for member in members):
        logits_MC = torch.cat([_logits(member) for member in members])[order_M]
        torch.save(logits_MC.cpu().contiguous(), folder / "labels.pt")
    rates = [member.learned_rate.detach() for member in members if member.learned_rate is not None]
    if rates:
        rate = rates[0] if len(rates) == 1 else torch.tensor(together.learned_rate)
        torch.save(rate.cpu().clone(), folder / "lr.pt")
    write_json(folder / "about.json", about(together))
    if all(member.provenance.space != "raw" and member.tiling.per_image == 1 for member in members):
        return EXACT
    return "exact as networks see the images: decoded and standardised in float32"


def _logits(member: SyntheticSet) -> torch.Tensor:
    """Return the logits of a set's decoded images (M, classes); of classes alone, those of a one-hot label."""
    if member.soft_labels is None:
        return member.targets().detach().clamp_min(1e-30).log()
    return member.soft_labels.detach().repeat(member.tiling.per_image, 1)


def about(together: Union) -> dict[str, Any]:
    """Return what a reader of the other files must know of the set, as plain JSON."""
    p = together.provenance
    return {
        "dataset": p.dataset,
        "data_variant": p.data_variant,
        "data_fingerprint": p.data_fingerprint,
        "classes": list(p.classes),
        "mean": list(p.mean),
        "std": list(p.std),
        "whitening": p.whitening,
        "space": "standardised" if p.whitening is None else "zca",
        "methods": [member.provenance.method for member in together.members],
        "ipc": [member.provenance.ipc for member in together.members],
        "learned_rate": together.learned_rate,
        "set_fingerprint": together.fingerprint(),
    }
