"""Import: convert a published distilled set to this package's format, so that the same code evaluates it."""

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
from moe_distill.synthetic.formats.fitting import AUTO, ordered_by_class, space_of
from moe_distill.synthetic.formats.foreign import KEY, ForeignSet, TargetData
from moe_distill.synthetic.formats.layouts import Layout, layout_of
from moe_distill.synthetic.formats.permuted import coarse, looks_permuted
from moe_distill.synthetic.formats.placing import check_new, digest_of, new_folder
from moe_distill.synthetic.provenance import provenance_of
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling
from moe_distill.terminal import say
from moe_distill.validation.values import Count, Positive, Text, checked

_REAL_IMAGES = 200  # of each class, that the imported images are compared with


@dataclass(frozen=True)
class Reading:
    """How a set's files are to be interpreted, as far as the user says so.

    Args:
        space: What the numbers are: ``raw``, ``standardised`` or ``zca``; ``auto`` decides if it is certain.
        name: The method's name in result rows; None takes what the files say.
        factor: Tiles per side of a stored image; None takes the layout's, 2 for ``idm``. It must be given for
            ``idc``, whose files may be of either kind.
        by_column: Whether tiles are numbered column by column (IDM) instead of row by row (IDC); None takes
            the layout's order.
        convention: The program whose class order and statistics the numbers follow: a name in
            ``formats.conventions``, or ``ours``; ``auto`` takes what the files or their layout say.
        classes: Class names or WordNet ids in the order of the labels; they override the convention's order.
    """

    space: str
    name: str | None
    factor: int | None
    by_column: bool | None
    convention: str
    classes: Sequence[str] | None

    def checked(self, layout: Layout, train: RealSet) -> "Reading":
        """Return this object, once it was checked against the layout and the real training data.

        Raises:
            InputError: The layout needs a factor, or a value is out of range.
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
    """Read a published set, check it against the data and write it as the set of one expert.

    Args:
        data: The real data; the set must have its classes, size and normalisation.
        path: The set's file or folder.
        to: A new folder; None is ``imported`` in the run's folder.
        layout: How the files are laid out (``formats.layouts.LAYOUTS``); ``auto`` goes by their names.
        space: See :class:`Reading`, as for the others down to ``classes``.
        name: See ``space``.
        factor: See ``space``.
        by_column: See ``space``.
        convention: See ``space``.
        classes: See ``space``.
        largest_gib: Largest size of a file in GiB, unpacked.
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
            InputError: Something does not fit or cannot be determined; then nothing is written.
        """
        # The target first: nothing should be read in vain if it exists already.
        target = expanded(self.to, "pipeline.to") if self.to else runtime.output / "imported"
        check_new(target)
        if self.path is None:
            raise InputError(KEY, None, "the file or folder of a distilled set")
        path = expanded(self.path, KEY)
        layout = layout_of(path, self.layout)
        train, _ = self.data.load(runtime.cache)
        required = _requirements(self.data, train, limit=int(self.largest_gib * 2**30))
        how = Reading(self.space, self.name, self.factor, self.by_column, self.convention, self.classes)
        reading = how.checked(layout, train)
        foreign = layout.read(path, required)
        imported = _converted(foreign, reading, required, train, self.path, layout.name)
        with new_folder(target) as folder:
            imported.save(folder / "expert_0.safetensors")
        _report(imported, target, _permuted(imported, train))
        return {"images": len(imported.images), "set": str(target)}


def _requirements(data: DataSource, train: RealSet, limit: int) -> TargetData:
    """Return what a set must fit to belong to the real data, in files of at most ``limit`` bytes."""
    # Whitened data wrap their source, which alone knows the WordNet ids of its classes.
    source = getattr(data, "source", data)
    synsets = tuple(getattr(source, "wnids", ()))
    return TargetData(train.classes, (train.channels, train.size, train.size), limit, synsets)


def _converted(
    foreign: ForeignSet, reading: Reading, required: TargetData, train: RealSet, path: str, layout: str
) -> SyntheticSet:
    """Return what was read as a checked set, whose settings record where it comes from."""
    order = conventions.label_order(foreign, train.name, required, reading.convention, reading.classes)
    fitted = ordered_by_class(foreign, len(train.classes), path).reordered(order)
    images_NCHW, space, changes = _in_space(fitted.images_NCHW, foreign, reading, train, path)
    # Recorded only if the files number the classes differently.
    if order != sorted(order):
        changes["label_order"] = [train.classes[c] for c in order]
    # So that it can be checked later from which files the set was made.
    digests = {file.name: digest_of(file) for file in foreign.files}
    by_column = foreign.by_column if reading.by_column is None else reading.by_column
    # If the factor does not divide a side, the rest is padded grey: 0.5 in raw pixels, 0 in centred ones.
    tiling = Tiling(reading.factor or foreign.factor, by_column, fill=0.5 if space == "raw" else 0.0)
    provenance = provenance_of(
        train,
        method=reading.name or foreign.method,
        expert=0,
        ipc=len(images_NCHW) // len(train.classes),
        space=space,
        tiling=tiling,
        settings={
            "imported": {
                "from": path,
                "layout": layout,
                "labels": fitted.labels,
                "sha256": digests,
                **changes,
            }
        },
    )
    rate = None if foreign.learned_rate is None else torch.tensor(foreign.learned_rate)
    return SyntheticSet(images_NCHW, provenance, rate, fitted.soft_NC, whitening=train.whitening)


def _in_space(
    images_NCHW: torch.Tensor, foreign: ForeignSet, reading: Reading, train: RealSet, path: str
) -> tuple[torch.Tensor, Space, dict[str, Any]]:
    """Return the images, raw or normalised as the real data; their space; and a record of the changes."""
    statistics = conventions.statistics_of(foreign, train.name, reading.convention)
    mean, std = statistics or (train.mean, train.std)
    original = Normalisation(mean, std, train.whitening)
    space = space_of(images_NCHW, reading.space, foreign, original, path)
    # Only standardised numbers depend on a mean and std.
    if space != "standardised":
        return images_NCHW, space, {}
    # Now it matters which statistics they are, and programs differ.
    conventions.require_statistics(foreign, train.name, reading.convention)
    if (mean, std) == (train.mean, train.std):
        return images_NCHW, space, {}
    changed = {"standardised_by": {"mean": list(mean), "std": list(std)}}
    return train.normalisation.standardised(original.raw(images_NCHW)), space, changed


def _permuted(imported: SyntheticSet, train: RealSet) -> bool:
    """Return True if the labels seem to be in another order, judged by some real images of each class."""
    # A few hundred images are enough for the mean of a class.
    indices = [train.class_indices(c)[:_REAL_IMAGES] for c in range(len(train.classes))]
    real = [coarse(train.images_NCHW[rows] / 255) for rows in indices]
    with torch.no_grad():
        return looks_permuted(imported.raw(), imported.decode()[1], real)


def _report(imported: SyntheticSet, target: Path, permuted: bool) -> None:
    """Print what was read and how to use it, so that the user sees what `auto` decided."""
    p = imported.provenance
    source = p.settings["imported"]
    rate, tiles = "", ""
    if imported.learned_rate is not None:
        rate = f", learned step size {imported.learned_rate.item():.4g}"
    if p.tiling.factor > 1:
        tiles = f", {p.tiling.factor}×{p.tiling.factor} tiles in each"
    what = f"{len(imported.images)} images, {p.ipc} a class{tiles}, read as {source['layout']} and {p.space}"
    lines = [f"{p.method}: {what}; labels {source['labels']}{rate}"]
    order = source.get("label_order", p.classes)
    first_labels = ", ".join(f"{label} {name}" for label, name in enumerate(order[:10]))
    more = ", …" if len(order) > 10 else ""
    lines.append(f"labels of the files: {first_labels}{more}")
    exact = "the images are those of the files, in float32"
    if statistics := source.get("standardised_by"):
        exact = (
            f"the images were standardised by mean {statistics['mean']} and std {statistics['std']}"
            " and now are by the data's own"
        )
    lines.append(f"{exact}: pipeline=evaluate pipeline.path={target}")
    if permuted:
        # Only a warning: images of some methods resemble no real class.
        lines.append(
            "warning: these images look as if their classes were in another order than their labels say "
            "(nearest means of real classes); see pipeline.convention and pipeline.classes"
        )
    for line in lines:
        say(line)
