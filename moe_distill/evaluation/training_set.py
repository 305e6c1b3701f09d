"""What networks are trained on: a set from the store or from a file, or real images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.errors import renamed, within
from moe_distill.evaluation.columns import columns_of_plan, columns_of_real
from moe_distill.experts.distillation import NOTED, Distillation
from moe_distill.store.identity import describe
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion
from moe_distill.training.batches import TrainingPool, real_pool, tensor_pool


@dataclass(frozen=True)
class TrainingSet:
    """What networks are trained on, with the columns that say so.

    ``cost`` is what it cost to make (seconds and MiB), ``stored`` the images per class that each expert keeps
    of it, ``dependence`` the unbiased dCor² between its experts where it is known.
    """

    pool: TrainingPool
    test: RealSet
    size: int
    lr: float | None
    settings: dict[str, Any]
    columns: dict[str, Any]
    cost: Mapping[str, Any]
    stored: tuple[int, ...] = ()
    dependence: float | None = None


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
    about = runtime.store.noted(folder, **NOTED)
    columns = _columns_of(plan, train, about)
    settings = plan.settings(train, runtime.cache)
    found = _distilled(folder, train, test, runtime, settings, columns, about["cost"])
    return replace(_stitched(found, plan), dependence=about["dcor2_unbiased"])


def _of_path(path: Path, plan: Distillation, train: RealSet, test: RealSet, runtime: Runtime) -> TrainingSet:
    sets = SyntheticSet.load(path)
    settings = {**_settings_of_file(path, sets), "data": train.fingerprint, "statistics": train.statistics}
    unknown = {"seconds": "", "peak_memory_mb": 0.0}
    found = _distilled(path, train, test, runtime, settings, _columns_of_file(sets), unknown)
    if len(found.stored) != len(plan.pieces) or max(plan.pieces) == 1:
        return found
    return replace(_stitched(found, plan), settings={**settings, "pieces": list(plan.pieces)})


def training_set_of_real(train: RealSet, test: RealSet) -> TrainingSet:
    """Return real images to be trained on; both sets lie on the device."""
    columns = {**columns_of_real(train), "distill_seed": "", "width": ""}
    settings = {"real": train.fingerprint, "statistics": train.statistics}
    nothing = {"seconds": 0.0, "peak_memory_mb": 0.0}
    return TrainingSet(real_pool(train), test, train.size, None, settings, columns, nothing)


def _stitched(training_set: TrainingSet, plan: Distillation) -> TrainingSet:
    """Return the candidate with what its experts stitch its images of."""
    pieces_M = torch.tensor(plan.pieces)[training_set.pool.experts_M]
    return replace(training_set, pool=replace(training_set.pool, pieces_M=pieces_M))


def _distilled(
    path: Path,
    train: RealSet,
    test: RealSet,
    runtime: Runtime,
    settings: dict[str, Any],
    columns: dict[str, Any],
    cost: Mapping[str, Any],
) -> TrainingSet:
    together = SyntheticSet.load(path)
    device = runtime.device
    together.require(
        train.classes, train.channels, train.size, train.mean, train.std, train.normalisation.source
    )
    decoded = together.raw()
    images = train.normalisation.standardised(decoded.images_MCHW).to(device)
    labels, experts, targets = decoded.labels_M, decoded.experts_M, decoded.targets_MC
    pool = tensor_pool(images, labels, experts, len(train.classes), targets, train.normalisation)
    columns["set_fingerprint"] = together.fingerprint()
    runtime.sets.append((columns["roster"], path))
    stored = tuple(m.provenance.ipc for m in together.members)
    return TrainingSet(
        pool, test.to(device), train.size, together.learned_rate, settings, columns, cost, stored
    )


def _columns_of(plan: Distillation, train: RealSet, about: Mapping[str, Any]) -> dict[str, Any]:
    data = {"dataset": train.name, "data_variant": train.variant, "iterations": about["iterations"]}
    dependence = "" if about["dcor2_unbiased"] is None else about["dcor2_unbiased"]
    return {**data, **columns_of_plan(plan), "dcor2_unbiased": dependence}


def _settings_of_file(path: Path, sets: SyntheticUnion) -> dict[str, Any]:
    """Return what decides the images students see: the numbers, and how each member's are read.

    Keys name the tensors and their reading apart, as they did when a fingerprint covered the tensors alone.
    Classes, statistics and whitening are those of the data, which the keys hold.
    """
    read = [(p.space, p.ipc, describe(p.tiling)) for p in (m.provenance for m in sets.members)]
    # A file of one expert is called by its own tensors, as it was when it was no union.
    named = sets if path.is_dir() else sets.members[0]
    return {"set": named.tensors_fingerprint(), "read_as": read}


def _columns_of_file(sets: SyntheticUnion) -> dict[str, Any]:
    members = sets.members
    p = members[0].provenance
    said = ("partition", "init", "iterations", "diversity", "dcor2_unbiased", "regulariser", "distill_seed")
    unknown = dict.fromkeys(said, "")
    methods = "+".join(dict.fromkeys(m.provenance.method for m in members))
    sizes = [str(m.provenance.ipc) for m in members]
    ipc = sizes[0] if len(set(sizes)) == 1 else "+".join(sizes)
    return {
        **unknown,
        "dataset": p.dataset,
        "data_variant": p.data_variant,
        "method": methods,
        "roster": f"{methods}{ipc}x{len(members)}",
        "ipc": ipc,
        "noe": len(members),
    }
