"""Import: turn a public distilled set into one of this package, so that the same code evaluates it."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from rich import get_console

from moe_distill.data.realset import DataSource, RealSet
from moe_distill.errors import InputError
from moe_distill.formats.fitting import AUTO, arranged, space_of
from moe_distill.formats.foreign import KEY, Foreign, Wanted
from moe_distill.formats.placing import check_new, digest_of, new_folder
from moe_distill.formats.readers import Layout, layout_of
from moe_distill.pipelines.runtime import Runtime
from moe_distill.synthetic import SyntheticSet
from moe_distill.tiling import Tiling
from moe_distill.values import Count, Positive, Text, checked


@checked
def import_set(
    data: DataSource,
    runtime: Runtime,
    path: Text | None = None,
    to: Text | None = None,
    layout: Text = AUTO,
    space: Literal["auto", "raw", "standardised", "zca"] = "auto",
    name: Text | None = None,
    factor: Count | None = None,
    by_column: bool = False,
    largest_gib: Positive = 4.0,
) -> dict[str, Any]:
    """Read a public set, check it against the data and write it as the set of one expert.

    Args:
        data: The real data, whose classes, size and normalisation the set is read by.
        runtime: Where the run works.
        path: The set's file or folder.
        to: A new folder; None is ``imported`` in the run's folder.
        layout: How the files are laid out (``formats.readers.LAYOUTS``); ``auto`` goes by their names.
        space: What the numbers are, ``raw``, ``standardised`` or ``zca``; ``auto`` decides where it is certain.
        name: The method's name in records; None takes what the files say.
        factor: Tiles a side of a stored image; None is 1, but for the layout ``idc``, which holds both kinds.
        by_column: Tiles are numbered column by column (IDM) instead of row by row (IDC).
        largest_gib: GiB that a file may have, unpacked.

    Returns:
        ``images``: how many; ``set``: the folder.

    Raises:
        InputError: Something does not fit; then nothing is written.
    """
    target = Path(to).expanduser() if to else runtime.output / "imported"
    where, limit = _checked(path, target, largest_gib)
    chosen = layout_of(where, layout)
    train, _ = data.load(runtime.cache)
    tiles = _tiles(factor, chosen, train.size)
    foreign = chosen.read(where, Wanted(train.classes, (train.channels, train.size, train.size), limit))
    made = _made(foreign, space, Tiling(tiles, by_column), train, name, {"from": path, "layout": chosen.name})
    with new_folder(target) as folder:
        made.save(folder / "expert_0.safetensors")
    _tell(made, target)
    return {"images": len(made.images), "set": str(target)}


def _checked(path: str | None, target: Path, largest_gib: float) -> tuple[Path, int]:
    """Return where to read and how many bytes at most."""
    check_new(target)
    if path is None:
        raise InputError(KEY, None, "the file or folder of a distilled set")
    return Path(path).expanduser(), int(largest_gib * 2**30)


def _tiles(factor: int | None, layout: Layout, size: int) -> int:
    if factor is None and layout.tiled:
        raise InputError("pipeline.factor", None, "1 for IDC-I, 2 for IDC (3 on ImageNet): the file does not say")
    tiles = 1 if factor is None else factor
    if not 1 <= tiles <= size:
        raise InputError("pipeline.factor", factor, f"a whole number from 1 to {size}, or null")
    return tiles


def _made(
    foreign: Foreign, said: str, tiling: Tiling, train: RealSet, name: str | None, source: dict[str, Any]
) -> SyntheticSet:
    """Return what was read as a set, checked; ``source`` is what its settings say of where it comes from."""
    where = source["from"]
    fitted = arranged(foreign, len(train.classes), where)
    space = space_of(fitted.images_NCHW, said, foreign, train.normalisation, where)
    digests = {file.name: digest_of(file) for file in foreign.files}
    provenance = train.provenance(
        method=name or foreign.method,
        expert=0,
        ipc=len(fitted.images_NCHW) // len(train.classes),
        space=space,
        # Padding of sides the factor does not divide: grey, which is 0 where pixels are centred.
        tiling=replace(tiling, fill=0.5 if space == "raw" else 0.0),
        settings={"imported": {**source, "labels": fitted.labels, "sha256": digests}},
    )
    rate = None if foreign.learned_rate is None else torch.tensor(foreign.learned_rate)
    return SyntheticSet(fitted.images_NCHW, provenance, rate, fitted.soft_NC, whitening=train.whitening)


def _tell(made: SyntheticSet, target: Path) -> None:
    p = made.provenance
    source = p.settings["imported"]
    rate = "" if made.learned_rate is None else f", learned step size {made.learned_rate.item():.4g}"
    what = f"{len(made.images)} images, {p.ipc} a class, read as {source['layout']} and {p.space}"
    console = get_console()
    console.print(f"{p.method}: {what}; labels {source['labels']}{rate}", markup=False, soft_wrap=True)
    exact = f"the images are those of the files, in float32: pipeline=evaluate pipeline.path={target}"
    console.print(exact, markup=False, soft_wrap=True)
