"""Writers of sets for other programs: each fills an empty folder and reports how exact the images are."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from moe_distill.data.normalization import FILE
from moe_distill.store.store import write_json
from moe_distill.synthetic.files import files_of
from moe_distill.synthetic.formats import about
from moe_distill.synthetic.formats.image_folder import write_class_folders
from moe_distill.synthetic.synthetic_set import SyntheticUnion

EXACT = "exact: every number is the one stored"
HALF_A_STEP = 1 / 510  # the most that rounding to 8 bits changes a pixel in [0, 1]
PICTURES = (
    "not exact: pixels are clamped to [0, 1] and rounded to 8 bits, at most 1/510 from the clamped value"
)


@dataclass(frozen=True)
class ExportReport:
    """A writer's report on its files.

    Args:
        exact: How exact the images are.
        notes: Notes for those who use the files.
    """

    exact: str
    notes: Sequence[str] = ()


class Facts(TypedDict):
    """A description of a set, as plain JSON; see :class:`~moe_distill.synthetic.provenance.Provenance`.

    ``methods`` and ``ipc`` have an entry for each expert. ``space`` is that of the images as networks see
    them.
    """

    dataset: str
    data_variant: str
    data_fingerprint: str
    classes: list[str]
    mean: list[float]
    std: list[float]
    whitening: str | None
    space: str
    methods: list[str]
    ipc: list[int]
    learned_rate: float | None
    set_fingerprint: str


def copy_set(together: SyntheticUnion, source: Path, folder: Path) -> ExportReport:
    """Copy the files of a set byte for byte, including its whitening.

    Args:
        together: The set.
        source: Its file, or the folder of its files.
        folder: An empty folder to write to.
    """
    files = files_of(source) if source.is_dir() else [source]
    for file in files:
        shutil.copyfile(file, folder / file.name)
        shutil.copyfile(file.with_suffix(".json"), folder / file.with_suffix(".json").name)
    if together.provenance.whitening is not None:  # one file, which all experts share
        shutil.copyfile(files[0].with_name(FILE), folder / FILE)
    return ExportReport(
        EXACT if source.is_dir() else f"{EXACT}; to be loaded as {source.name}, one expert's file"
    )


def write_pictures(together: SyntheticUnion, source: Path, folder: Path) -> ExportReport:
    """Write ``<class number>/<number>.png`` of all experts' decoded images, and ``about.json``.

    Args:
        together: The set.
        source: Unused: the images are in ``together``.
        folder: An empty folder to write to.
    """
    decoded = together.raw()
    write_class_folders(decoded.images_MCHW.cpu(), decoded.labels_M.cpu(), folder)
    exact = exactness(together)
    if learned_labels(together):
        exact += "; the labels that were learned are left out"
    facts = {**facts_of(together), **clamping(together), "space": "raw", "exact": exact}
    write_json(folder / about.FILE, facts)
    return ExportReport(exact)


def exactness(together: SyntheticUnion) -> str:
    """Return a description of what 8-bit pictures lose of a set's images."""
    changes = clamping(together)
    share, most = changes["clamped_share"], changes["clamped_by_at_most"]
    clamped = f"{100 * share:.2g} % of the values are clamped, by at most {most:.2g} standard deviations"
    return f"{PICTURES}; {f'{clamped} of their channel' if share else 'no value is clamped'}"


def clamping(together: SyntheticUnion) -> dict[str, float]:
    """Return how much clamping to [0, 1] changes a set's decoded images, beyond rounding to 8 bits.

    Returns:
        ``clamped_share``, the share of clamped values, and ``clamped_by_at_most``, the largest change in
        standard deviations of its channel in the real data.
    """
    raw_MCHW = together.raw().images_MCHW
    change_MCHW = (raw_MCHW - raw_MCHW.clamp(0, 1)).abs()
    clamped_MCHW = change_MCHW > HALF_A_STEP
    std_C11 = raw_MCHW.new_tensor(together.provenance.std).view(-1, 1, 1)
    # The maximum of no value is an error in torch.
    most = float((change_MCHW / std_C11)[clamped_MCHW].max()) if clamped_MCHW.any() else 0.0
    # A bool tensor has no mean in torch.
    return {"clamped_share": float(clamped_MCHW.double().mean()), "clamped_by_at_most": most}


def learned_labels(together: SyntheticUnion) -> bool:
    """Return True if any expert learned its labels together with its images."""
    return any(member.soft_labels is not None for member in together.members)


def facts_of(together: SyntheticUnion) -> Facts:
    """Return the description of a set that readers of its exported files need."""
    p = together.provenance
    return Facts(
        dataset=p.dataset,
        data_variant=p.data_variant,
        data_fingerprint=p.data_fingerprint,
        classes=list(p.classes),
        mean=list(p.mean),
        std=list(p.std),
        whitening=p.whitening,
        space="standardised" if p.whitening is None else "zca",
        methods=[member.provenance.method for member in together.members],
        ipc=[member.provenance.ipc for member in together.members],
        learned_rate=together.learned_rate,
        set_fingerprint=together.fingerprint(),
    )
