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
HALF_A_STEP = 1 / 510
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
    exact = exactness(together)
    write_json(folder / "about.json", {**about(together), **clamping(together), "space": "raw", "exact": exact})
    return exact


def exactness(together: Union) -> str:
    """Say what pictures of a set leave out of it."""
    told = clamping(together)
    share, by = told["clamped_share"], told["clamped_by_at_most"]
    clamped = f"{100 * share:.2g} % of the values are clamped, by at most {by:.2g} standard deviations"
    left_out = ["the labels that were learned are left out"] * learned_labels(together)
    return "; ".join([PICTURES, clamped if share else "no value is clamped", *left_out])


def clamping(together: Union) -> dict[str, float]:
    """Return how much clamping to [0, 1] changes a set's decoded images, beyond what rounding to 8 bits does.

    Returns:
        ``clamped_share``: of their values; ``clamped_by_at_most``: the largest change, in standard deviations of its
        channel in the real data.
    """
    raw_MCHW = together.raw().images_MCHW
    change_MCHW = (raw_MCHW - raw_MCHW.clamp(0, 1)).abs()
    clamped_MCHW = change_MCHW > HALF_A_STEP
    std_C11 = raw_MCHW.new_tensor(together.provenance.std).view(-1, 1, 1)
    by = float((change_MCHW / std_C11)[clamped_MCHW].max()) if clamped_MCHW.any() else 0.0
    return {"clamped_share": float(clamped_MCHW.double().mean()), "clamped_by_at_most": by}


def learned_labels(together: Union) -> bool:
    """Say whether any expert learned its labels together with its images."""
    return any(member.soft_labels is not None for member in together.members)


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
