"""Import: turn a public distilled set into one of this package, so that the same code evaluates it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from moe_distill.context.run_context import Runtime
from moe_distill.data.normalization import Normalisation, Space
from moe_distill.data.real_set import DataSource, RealSet
from moe_distill.errors import InputError
from moe_distill.pipelines.stage import Pipeline
from moe_distill.store.disk import expanded
from moe_distill.synthetic.formats import conventions
from moe_distill.synthetic.formats.fitting import AUTO, arranged, space_of
from moe_distill.synthetic.formats.foreign import KEY, Foreign, Wanted
from moe_distill.synthetic.formats.layouts import Layout, layout_of
from moe_distill.synthetic.formats.permuted import coarse, looks_permuted
from moe_distill.synthetic.formats.placing import check_new, digest_of, new_folder
from moe_distill.synthetic.provenance import provenance_of
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling
from moe_distill.terminal import say
from moe_distill.validation.values import Count, Positive, Text, checked

_LOOKED_AT = 200


@dataclass(frozen=True)
class Reading:
    """How the user says that a set is to be read.

    Args:
        space: What the numbers are, ``raw``, ``standardised`` or ``zca``; ``auto`` decides where it is
            certain.
        name: The method's name in records; None takes what the files say.
        factor: Tiles a side of a stored image; None is what the layout has, 2 for ``idm``; ``idc`` holds both
            kinds.
        by_column: Tiles are numbered column by column (IDM) instead of row by row (IDC); None is as the
            layout has it.
        convention: Whose order of the classes and whose statistics the numbers go by, a name in
            ``formats.conventions`` or ``ours``; ``auto`` goes by what the files or their layout tell.
        classes: Class names or WordNet ids in the order of the labels, which go before the convention's.
    """

    space: str
    name: str | None
    factor: int | None
    by_column: bool | None
    convention: str
    classes: Sequence[str] | None

    def checked(self, layout: Layout, train: RealSet) -> "Reading":
        """Return itself where it can be done.

        Raises:
            InputError: The layout needs a factor, or a value cannot be.
        """
        conventions.require_convention(self.convention, train.name)
        if self.factor is None and layout.tiled:
            raise InputError(
                "pipeline.factor", None, "1 for IDC-I, 2 for IDC (3 on ImageNet): the file does not say"
            )
        if self.factor is not None and not 1 <= self.factor <= train.size:
            raise InputError(
                "pipeline.factor", self.factor, f"a whole number from 1 to {train.size}, or null"
            )
        return self


@checked
@dataclass(frozen=True)
class ImportSet(Pipeline):
    """Read a public set, check it against the data and write it as the set of one expert.

    Args:
        data: The real data, whose classes, size and normalisation the set is read by.
        path: The set's file or folder.
        to: A new folder; None is ``imported`` in the run's folder.
        layout: How the files are laid out (``formats.layouts.LAYOUTS``); ``auto`` goes by their names.
        space: See :class:`Reading`, as for the others down to ``classes``.
        name: See ``space``.
        factor: See ``space``.
        by_column: See ``space``.
        convention: See ``space``.
        classes: See ``space``.
        largest_gib: GiB that a file may have, unpacked.
    """

    data: DataSource
    path: Text | None = None
    to: Text | None = None
    layout: Text = AUTO
    space: Literal["auto", "raw", "standardised", "zca"] = "auto"
    name: Text | None = None
    factor: Count | None = None
    by_column: bool | None = None
    convention: Text = AUTO
    classes: Sequence[Text] | None = None
    largest_gib: Positive = 4.0

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Read, check and write the set.

        Returns:
            ``images``: how many; ``set``: the folder.

        Raises:
            InputError: Something does not fit or cannot be told; then nothing is written.
        """
        target, where, limit = _checked(self.path, self.to, runtime, self.largest_gib)
        chosen = layout_of(where, self.layout)
        train, wanted = _wanted(self.data, runtime, limit)
        how = Reading(self.space, self.name, self.factor, self.by_column, self.convention, self.classes)
        reading = how.checked(chosen, train)
        made = _made(
            chosen.read(where, wanted), reading, wanted, train, {"from": self.path, "layout": chosen.name}
        )
        with new_folder(target) as folder:
            made.save(folder / "expert_0.safetensors")
        _tell(made, target, _permuted(made, train))
        return {"images": len(made.images), "set": str(target)}


def _checked(
    path: str | None, to: str | None, runtime: Runtime, largest_gib: float
) -> tuple[Path, Path, int]:
    """Return where to write, where to read, and how many bytes at most."""
    target = expanded(to, "pipeline.to") if to else runtime.output / "imported"
    check_new(target)
    if path is None:
        raise InputError(KEY, None, "the file or folder of a distilled set")
    return target, expanded(path, KEY), int(largest_gib * 2**30)


def _wanted(data: DataSource, runtime: Runtime, limit: int) -> tuple[RealSet, Wanted]:
    """Return the training data and what of it a set must fit: WordNet ids too, also where data is read
    whitened.
    """
    train, _ = data.load(runtime.cache)
    synsets = tuple(getattr(getattr(data, "source", data), "wnids", ()))
    return train, Wanted(train.classes, (train.channels, train.size, train.size), limit, synsets)


def _made(
    foreign: Foreign, reading: Reading, wanted: Wanted, train: RealSet, source: dict[str, Any]
) -> SyntheticSet:
    """Return what was read as a set, checked; ``source`` is what its settings say of where it comes from."""
    where = source["from"]
    order = conventions.label_order(foreign, train.name, wanted, reading.convention, reading.classes)
    fitted = arranged(foreign, len(train.classes), where).reordered(order)
    images_NCHW, space, told = _in_space(fitted.images_NCHW, foreign, reading, train, where)
    if order != sorted(order):
        told["label_order"] = [train.classes[c] for c in order]
    digests = {file.name: digest_of(file) for file in foreign.files}
    by_column = foreign.by_column if reading.by_column is None else reading.by_column
    # Padding of sides the factor does not divide: grey, which is 0 where pixels are centred.
    tiling = Tiling(reading.factor or foreign.factor, by_column, fill=0.5 if space == "raw" else 0.0)
    provenance = provenance_of(
        train,
        method=reading.name or foreign.method,
        expert=0,
        ipc=len(images_NCHW) // len(train.classes),
        space=space,
        tiling=tiling,
        settings={"imported": {**source, "labels": fitted.labels, "sha256": digests, **told}},
    )
    rate = None if foreign.learned_rate is None else torch.tensor(foreign.learned_rate)
    return SyntheticSet(images_NCHW, provenance, rate, fitted.soft_NC, whitening=train.whitening)


def _in_space(
    images_NCHW: torch.Tensor, foreign: Foreign, reading: Reading, train: RealSet, where: str
) -> tuple[torch.Tensor, Space, dict[str, Any]]:
    """Return images as the data here has them: raw, or by its own normalisation; their space; and what was
    changed.
    """
    told = conventions.statistics_of(foreign, train.name, reading.convention)
    mean, std = told or (train.mean, train.std)
    seen = Normalisation(mean, std, train.whitening)
    space = space_of(images_NCHW, reading.space, foreign, seen, where)
    if space != "standardised":
        return images_NCHW, space, {}
    conventions.require_statistics(foreign, train.name, reading.convention)
    if (mean, std) == (train.mean, train.std):
        return images_NCHW, space, {}
    changed = {"standardised_by": {"mean": list(mean), "std": list(std)}}
    return train.normalisation.standardised(seen.raw(images_NCHW)), space, changed


def _permuted(made: SyntheticSet, train: RealSet) -> bool:
    """Say whether the labels look as if they were in another order, by some real images of each class."""
    rows = [train.class_indices(c)[:_LOOKED_AT] for c in range(len(train.classes))]
    real = [coarse(train.images_NCHW[some] / 255) for some in rows]
    with torch.no_grad():
        return looks_permuted(made.raw(), made.decode()[1], real)


def _tell(made: SyntheticSet, target: Path, permuted: bool) -> None:
    p = made.provenance
    source = p.settings["imported"]
    rate = "" if made.learned_rate is None else f", learned step size {made.learned_rate.item():.4g}"
    tiles = f", {p.tiling.factor}×{p.tiling.factor} tiles in each" * (p.tiling.factor > 1)
    what = f"{len(made.images)} images, {p.ipc} a class{tiles}, read as {source['layout']} and {p.space}"
    lines = [f"{p.method}: {what}; labels {source['labels']}{rate}"]
    order = source.get("label_order", p.classes)
    few = ", ".join(f"{label} {name}" for label, name in enumerate(order[:10]))
    lines.append(f"labels of the files: {few}{', …' * (len(order) > 10)}")
    exact = "the images are those of the files, in float32"
    if by := source.get("standardised_by"):
        exact = f"the images were standardised by mean {by['mean']} and std {by['std']} and now are by the data's own"
    lines.append(f"{exact}: pipeline=evaluate pipeline.path={target}")
    if permuted:
        lines.append(
            "warning: these images look as if their classes were in another order than their labels say "
            "(nearest means of real classes); see pipeline.convention and pipeline.classes"
        )
    for line in lines:
        say(line)
