"""Writers: a set in the files of other programs. Each fills an empty folder and says how exact the images
are.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.data.normalization import FILE
from moe_distill.store.store import write_json
from moe_distill.synthetic.files import files_of
from moe_distill.synthetic.formats.image_folder import write_class_folders
from moe_distill.synthetic.synthetic_set import SyntheticUnion

EXACT = "exact: every number is the one stored"
HALF_A_STEP = 1 / 510
PICTURES = (
    "not exact: pixels are clamped to [0, 1] and rounded to 8 bits, at most 1/510 from the clamped value"
)


@dataclass(frozen=True)
class Written:
    """What a writer says of its files.

    Args:
        exact: How exact the images are.
        notes: What somebody must know who uses the files.
    """

    exact: str
    notes: Sequence[str] = ()


def copy_set(together: SyntheticUnion, source: Path, folder: Path) -> Written:
    """Copy the files of a set, a file or a folder of them, byte for byte, its whitening included."""
    files = files_of(source) if source.is_dir() else [source]
    for file in files:
        shutil.copyfile(file, folder / file.name)
        shutil.copyfile(file.with_suffix(".json"), folder / file.with_suffix(".json").name)
    if together.provenance.whitening is not None:
        shutil.copyfile(files[0].with_name(FILE), folder / FILE)
    return Written(EXACT if source.is_dir() else f"{EXACT}; to be loaded as {source.name}, one expert's file")


def write_pictures(together: SyntheticUnion, source: Path, folder: Path) -> Written:
    """Write ``<class number>/<number>.png`` of all experts' decoded images, and ``about.json``."""
    decoded = together.raw()
    write_class_folders(decoded.images_MCHW.cpu(), decoded.labels_M.cpu(), folder)
    exact = exactness(together)
    write_json(
        folder / "about.json", {**about(together), **clamping(together), "space": "raw", "exact": exact}
    )
    return Written(exact)


def exactness(together: SyntheticUnion) -> str:
    """Say what pictures of a set leave out of it."""
    told = clamping(together)
    share, by = told["clamped_share"], told["clamped_by_at_most"]
    clamped = f"{100 * share:.2g} % of the values are clamped, by at most {by:.2g} standard deviations"
    left_out = ["the labels that were learned are left out"] * learned_labels(together)
    return "; ".join([PICTURES, clamped if share else "no value is clamped", *left_out])


def clamping(together: SyntheticUnion) -> dict[str, float]:
    """Return how much clamping to [0, 1] changes a set's decoded images, beyond what rounding to 8 bits does.

    Returns:
        ``clamped_share``: of their values; ``clamped_by_at_most``: the largest change, in standard deviations
        of its channel in the real data.
    """
    raw_MCHW = together.raw().images_MCHW
    change_MCHW = (raw_MCHW - raw_MCHW.clamp(0, 1)).abs()
    clamped_MCHW = change_MCHW > HALF_A_STEP
    std_C11 = raw_MCHW.new_tensor(together.provenance.std).view(-1, 1, 1)
    by = float((change_MCHW / std_C11)[clamped_MCHW].max()) if clamped_MCHW.any() else 0.0
    return {"clamped_share": float(clamped_MCHW.double().mean()), "clamped_by_at_most": by}


def learned_labels(together: SyntheticUnion) -> bool:
    """Say whether any expert learned its labels together with its images."""
    return any(member.soft_labels is not None for member in together.members)


def about(together: SyntheticUnion) -> dict[str, Any]:
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
