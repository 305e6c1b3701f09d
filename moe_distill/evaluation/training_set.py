"""What networks are trained on: a set from the store or from a file, or real images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import torch

from moe_distill.context.run_context import Runtime
from moe_distill.costs import RecordedCost
from moe_distill.data.real_set import RealSet
from moe_distill.errors import renamed, within
from moe_distill.evaluation.columns import StudentRow, columns_of_plan, columns_of_real
from moe_distill.experts.distillation import RECORDED, Distillation
from moe_distill.store.identity import describe
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion
from moe_distill.training.batches import TrainingPool, real_pool, tensor_pool


class SetCost(TypedDict):
    """What a set cost to make: seconds, an empty text where they are unknown, and peak memory in MiB.

    Those of its teachers are the time of all trainings that it waited for.
    """

    seconds: float | str
    teacher_seconds: float | str
    peak_memory_mb: float


@dataclass(frozen=True)
class TrainingSet:
    """What networks are trained and tested on, with everything that result rows say about it.

    Attributes:
        pool: The training images and their labels.
        test: The test images, on the device.
        size: Height and width of an image, in pixels.
        lr: Step size that was learned with the images, or None.
        settings: What decides the images and labels; part of the students' keys.
        columns: The columns of result rows that the set decides.
        cost: What it cost to make.
        stored: Images per class that each expert stores.
        dependence: Unbiased dCor² between its experts, or None if unknown.
        dtypes: Types of the numbers that the networks which distilled it multiplied, as far as known.
    """

    pool: TrainingPool
    test: RealSet
    size: int
    lr: float | None
    settings: Mapping[str, object]
    columns: StudentRow
    cost: SetCost
    stored: tuple[int, ...] = ()
    dependence: float | None = None
    dtypes: tuple[str, ...] = ()


def training_set_of(plan: Distillation, runtime: Runtime, path: str | None = None) -> TrainingSet:
    """Return the plan's distilled set, or the set at ``path``, to be trained on.

    Raises:
        InputError: There is no such set, or it belongs to other data.
    """
    train, test = plan.data.load(runtime.cache)
    if path is not None:
        with renamed("set", "pipeline.path"):
            return _of_path(Path(path), plan, train, test, runtime)
    with within("plan"):
        plan.check(train)
    folder = plan.find(runtime.store, train)
    metadata = runtime.store.read_metadata(folder, **RECORDED)
    dependence = metadata["dcor2_unbiased"]
    columns: StudentRow = {
        "dataset": train.name,
        "data_variant": train.variant,
        "iterations": metadata["iterations"],
        **columns_of_plan(plan),
        "dcor2_unbiased": "" if dependence is None else dependence,
    }
    settings = plan.settings(train, runtime.cache)
    cost = _cost(plan, train, runtime)
    training_set = _loaded(folder, train, test, runtime, settings, columns, cost)
    return replace(_with_pieces(training_set, plan), dependence=dependence, dtypes=plan.dtypes)


def _cost(plan: Distillation, train: RealSet, runtime: Runtime) -> SetCost:
    """Return what a plan's set cost to make; of a sequence, together with the sets before it."""
    folder = plan.find(runtime.store, train)
    recorded = runtime.store.read_metadata(folder, cost=RecordedCost)["cost"]
    seconds, peak = recorded["seconds"], recorded["peak_memory_mb"]
    # Sets of earlier versions do not record it.
    teacher_seconds = runtime.store.manifest(folder).get("teacher_seconds", "")
    if plan.before is not None:
        earlier = _cost(plan.before, train, runtime)
        seconds += float(earlier["seconds"])
        peak = max(peak, earlier["peak_memory_mb"])
        both = teacher_seconds, earlier["teacher_seconds"]
        teacher_seconds = "" if "" in both else sum(map(float, both))
    return {"seconds": seconds, "teacher_seconds": teacher_seconds, "peak_memory_mb": peak}


def _of_path(path: Path, plan: Distillation, train: RealSet, test: RealSet, runtime: Runtime) -> TrainingSet:
    sets = SyntheticSet.load(path)
    settings = {**_settings_of_file(path, sets), "data": train.fingerprint, "statistics": train.statistics}
    # Files do not record what they cost.
    unknown: SetCost = {"seconds": "", "teacher_seconds": "", "peak_memory_mb": 0.0}
    training_set = _loaded(path, train, test, runtime, settings, _columns_of_file(sets), unknown)
    # A file does not say whether its images are stitched of patches. The plan does, if its experts can be
    # those of the file; settings of whole images stay as they are, and so do the keys made of them.
    if len(training_set.stored) != len(plan.pieces) or max(plan.pieces) == 1:
        return training_set
    settings = {**settings, "pieces": list(plan.pieces)}
    return replace(_with_pieces(training_set, plan), settings=settings)


def training_set_of_real(train: RealSet, test: RealSet) -> TrainingSet:
    """Return real images to be trained on; both sets must be on the device."""
    settings = {"real": train.fingerprint, "statistics": train.statistics}
    nothing: SetCost = {"seconds": 0.0, "teacher_seconds": 0.0, "peak_memory_mb": 0.0}
    return TrainingSet(real_pool(train), test, train.size, None, settings, columns_of_real(train), nothing)


def _with_pieces(training_set: TrainingSet, plan: Distillation) -> TrainingSet:
    """Return the set with the number of patches, a side, that each image is stitched of."""
    pieces_M = torch.tensor(plan.pieces)[training_set.pool.experts_M]
    return replace(training_set, pool=replace(training_set.pool, pieces_M=pieces_M))


def _loaded(
    path: Path,
    train: RealSet,
    test: RealSet,
    runtime: Runtime,
    settings: Mapping[str, object],
    columns: StudentRow,
    cost: SetCost,
) -> TrainingSet:
    """Load a set, check that it belongs to the real data, and return it decoded and standardised."""
    union = SyntheticSet.load(path)
    device = runtime.device
    union.require(
        train.classes, train.channels, train.size, train.mean, train.std, train.normalisation.source
    )
    # Decoded to raw pixels first: a set may be stored raw, standardised or whitened, but students see all
    # images standardised alike.
    decoded = union.raw()
    images = train.normalisation.standardised(decoded.images_MCHW).to(device)
    labels, experts, targets = decoded.labels_M, decoded.experts_M, decoded.targets_MC
    pool = tensor_pool(images, labels, experts, len(train.classes), targets, train.normalisation)
    columns = {**columns, "set_fingerprint": union.fingerprint()}
    # The run's page and dashboard show the images of every set.
    runtime.sets.append((columns["roster"], path))
    stored = tuple(member.provenance.ipc for member in union.members)
    return TrainingSet(pool, test.to(device), train.size, union.learned_rate, settings, columns, cost, stored)


def _settings_of_file(path: Path, sets: SyntheticUnion) -> dict[str, object]:
    """Return what decides the images students see: the tensors, and how each member's are decoded.

    The classes, statistics and whitening are those of the real data, which the students' keys hold anyway.
    """
    provenances = [member.provenance for member in sets.members]
    decoding = [(p.space, p.ipc, describe(p.tiling)) for p in provenances]
    # The tensors and their decoding are separate entries, and a file of one expert has the fingerprint of
    # its own tensors: both as in earlier versions, whose keys must still be found.
    fingerprinted = sets if path.is_dir() else sets.members[0]
    return {"set": fingerprinted.tensors_fingerprint(), "read_as": decoding}


def _columns_of_file(sets: SyntheticUnion) -> StudentRow:
    """Return the columns that a set's files record; what only its distillation knew is an empty text."""
    members = sets.members
    provenance = members[0].provenance
    methods = "+".join(dict.fromkeys(member.provenance.method for member in members))
    sizes = [str(member.provenance.ipc) for member in members]
    ipc = sizes[0] if len(set(sizes)) == 1 else "+".join(sizes)
    return {
        "partition": "",
        "init": "",
        "iterations": "",
        "diversity": "",
        "dcor2_unbiased": "",
        "regulariser": "",
        "distill_seed": "",
        "dataset": provenance.dataset,
        "data_variant": provenance.data_variant,
        "method": methods,
        "roster": f"{methods}{ipc}x{len(members)}",
        "ipc": ipc,
        "noe": len(members),
    }
