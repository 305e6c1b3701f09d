"""Evaluate: train fresh networks on a distilled set, across architectures and seeds."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moe_distill.data.mixing import Fusion
from moe_distill.data.realset import RealSet
from moe_distill.errors import InputError
from moe_distill.experts.plan import Distillation
from moe_distill.models.base import NetworkFactory, build
from moe_distill.pipelines.conclude import conclude
from moe_distill.pipelines.rows import columns_of_real
from moe_distill.pipelines.runtime import Runtime
from moe_distill.records import Store, commit, describe, write_json
from moe_distill.seeding import stream
from moe_distill.synthetic import SyntheticSet, Union, union
from moe_distill.training.classifier import Classifier
from moe_distill.training.recipe import Recipe
from moe_distill.training.steps import Pool, real_pool, tensor_pool

KIND, COHORT = "result", "students"


@dataclass(frozen=True)
class Examination:
    """How sets are judged.

    Args:
        students: Builders of the networks trained on a set, by the name recorded with the result.
        recipe: How they are trained.
        fusion: How images of different experts are mixed meanwhile.
        seeds: Number of students per architecture; their seeds are 0, 1, ….
    """

    students: Mapping[str, NetworkFactory]
    recipe: Recipe
    fusion: Fusion
    seeds: int

    def __post_init__(self) -> None:
        """Check the number of students."""
        if self.seeds < 1 or not self.students:
            raise InputError("seeds, students", (self.seeds, len(self.students)), "at least one seed and one network")

    def settings(self, trained_on: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Return what decides one architecture's students but for their seeds."""
        network, recipe, fusion = map(describe, (self.students[name], self.recipe, self.fusion))
        return {"set": trained_on, "network": network, "recipe": recipe, "fusion": fusion}

    def missing(self, store: Store, trained_on: Mapping[str, Any], name: str) -> list[int]:
        """Return the seeds of one architecture's students that are not in the store."""
        common = self.settings(trained_on, name)
        return [seed for seed in range(self.seeds) if store.find(KIND, {**common, "seed": seed}) is None]


@dataclass(frozen=True)
class Candidate:
    """What networks are trained on, with the columns that say so."""

    pool: Pool
    test: RealSet
    size: int
    lr: float | None
    settings: dict[str, Any]
    columns: dict[str, Any]


def evaluate(plan: Distillation, exam: Examination, runtime: Runtime, path: str | None = None) -> dict[str, Any]:
    """Train students on the plan's distilled set, or on the set at ``path``, and conclude.

    Returns:
        ``accuracy``: mean over all students; ``rows``: the result rows.
    """
    result = examined(plan, exam, runtime) if path is None else _examined_file(path, plan, exam, runtime)
    conclude(result["rows"], runtime)
    return result


def examined(plan: Distillation, exam: Examination, runtime: Runtime) -> dict[str, Any]:
    """Train students on the plan's distilled set; returns as :func:`evaluate`."""
    train, test = plan.data.load(runtime.cache)
    plan.check(train)
    folder = plan.find(runtime.store, train)
    about = runtime.store.manifest(folder)
    columns = _columns_of(plan, train, about)
    candidate = _distilled(folder, train, test, exam, runtime, plan.settings(train), columns)
    return _examine(candidate, exam, runtime, about["cost"])


def _examined_file(path: str, plan: Distillation, exam: Examination, runtime: Runtime) -> dict[str, Any]:
    train, test = plan.data.load(runtime.cache)
    sets = SyntheticSet.load(path)
    settings = {"set": sets.fingerprint(), "data": train.fingerprint, "statistics": train.statistics}
    candidate = _distilled(Path(path), train, test, exam, runtime, settings, _columns_of_file(sets))
    return _examine(candidate, exam, runtime, {"seconds": "", "peak_memory_mb": 0.0})


def upper_bound(plan: Distillation, exam: Examination, runtime: Runtime) -> dict[str, Any]:
    """Train the same students on all real training data, by the same code; returns as :func:`evaluate`."""
    train, test = (part.to(runtime.device) for part in plan.data.load(runtime.cache))
    columns = {**columns_of_real(train), "distill_seed": "", "width": ""}
    settings = {"real": train.fingerprint, "statistics": train.statistics}
    candidate = Candidate(real_pool(train), test, train.size, None, settings, columns)
    result = _examine(candidate, exam, runtime, {"seconds": 0.0, "peak_memory_mb": 0.0})
    conclude(result["rows"], runtime)
    return result


def _examine(candidate: Candidate, exam: Examination, runtime: Runtime, spent: Mapping[str, Any]) -> dict[str, Any]:
    """Train the students that are missing and return all rows."""
    rows = [row for name in exam.students for row in _architecture(name, candidate, exam, runtime, spent)]
    return {"accuracy": sum(r["accuracy_last"] for r in rows) / len(rows), "rows": rows}


def _architecture(
    name: str, candidate: Candidate, exam: Examination, runtime: Runtime, spent: Mapping[str, Any]
) -> list[dict[str, Any]]:
    common = exam.settings(candidate.settings, name)
    settings = [{**common, "seed": seed} for seed in range(exam.seeds)]
    if missing := exam.missing(runtime.store, candidate.settings, name):
        cohort = {**common, "seeds": missing}

        def make(folder: Path) -> None:
            write_json(folder / "rows.json", _train(name, cohort, candidate, exam, runtime, spent))

        trained = json.loads((runtime.store.obtain(COHORT, cohort, make) / "rows.json").read_text())
        for row in trained:
            runtime.store.obtain(KIND, settings[row["seed"]], functools.partial(_write_row, row))
    rows = []
    for held in settings:
        folder = runtime.store.path(KIND, held)
        row = json.loads((folder / "row.json").read_text())
        rows.append({**row, "experiment": runtime.experiment, "scale": runtime.scale, "config_hash": folder.name})
    cost = {"seconds": sum(r["train_seconds"] for r in rows), "peak_memory_mb": max(r["peak_memory_mb"] for r in rows)}
    cost |= {"steps": sum(r["steps"] for r in rows), "images": sum(r["epochs"] * r["images_decoded"] for r in rows)}
    runtime.spent("evaluate", f"{candidate.columns['roster']} {name}", cost, not missing)
    return rows


def _write_row(row: Mapping[str, Any], folder: Path) -> None:
    write_json(folder / "row.json", row)


def _train(
    name: str,
    cohort: Mapping[str, Any],
    candidate: Candidate,
    exam: Examination,
    runtime: Runtime,
    spent: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Train one architecture from several seeds at once and return a row for each."""
    seeds: Sequence[int] = cohort["seeds"]
    test, recipe, factory = candidate.test, exam.recipe, exam.students[name]
    shape = {"channels": test.channels, "classes": candidate.pool.classes, "size": candidate.size}
    networks = [build(factory, **shape, rng=stream(s, "student", name)).to(test.device) for s in seeds]
    streams = [stream(s, "student", name, "training") for s in seeds]
    classifier = Classifier(networks, candidate.pool, test, recipe, streams, exam.fusion, candidate.lr)
    label = f"{candidate.columns['roster']} → {name} ×{len(seeds)}"
    cost = runtime.fit(classifier, runtime.store.work(COHORT, cohort), label)
    last = classifier.accuracies[max(classifier.accuracies)]
    return [
        {
            **candidate.columns,
            "fusion": exam.fusion.describe_for(len(candidate.pool.experts_M.unique())),
            "recipe": recipe.name,
            "architecture": name,
            "width": getattr(factory, "keywords", {}).get("width", 1.0),
            "seed": seed,
            "accuracy_last": last[i],
            "accuracy_best": max(tested[i] for tested in classifier.accuracies.values()),
            "epochs": recipe.total_epochs,
            "steps": classifier.total,
            "images_decoded": len(candidate.pool),
            "distill_seconds": spent["seconds"],
            "train_seconds": cost["seconds"] / len(seeds),
            "peak_memory_mb": max(cost["peak_memory_mb"], spent["peak_memory_mb"]),
            "device": _device_name(test.device),
            "dtype": str(next(networks[0].parameters()).dtype).removeprefix("torch."),
            "commit": commit(),
        }
        for i, seed in enumerate(seeds)
    ]


def _distilled(
    path: Path,
    train: RealSet,
    test: RealSet,
    exam: Examination,
    runtime: Runtime,
    settings: dict[str, Any],
    columns: dict[str, Any],
) -> Candidate:
    sets = SyntheticSet.load(path)
    together = sets if isinstance(sets, Union) else union([sets])
    device = runtime.device
    together.require(train.classes, train.channels, train.size, train.mean, train.std, train.normalisation.source)
    decoded = together.raw()
    images = train.normalisation.standardised(decoded.images_MCHW).to(device)
    pool = tensor_pool(images, decoded.labels_M, decoded.experts_M, len(train.classes), decoded.targets_MC)
    columns["set_fingerprint"] = together.fingerprint()
    runtime.sets.append((columns["roster"], path))
    return Candidate(pool, test.to(device), train.size, together.learned_rate, settings, columns)


def _columns_of(plan: Distillation, train: RealSet, about: Mapping[str, Any]) -> dict[str, Any]:
    init = {m.method.keywords.get("init", m.method).func.__name__.lower() for m in plan.roster.members}
    return {
        "dataset": train.name,
        "data_variant": train.variant,
        "method": plan.roster.method,
        "roster": str(plan.roster),
        "partition": type(plan.split).__name__.lower(),
        "init": "+".join(sorted(init)),
        "ipc": plan.roster.ipc,
        "noe": plan.roster.noe,
        "iterations": about["iterations"],
        "diversity": plan.term.title if plan.term else "none",
        "distill_seed": plan.seed,
    }


def _columns_of_file(sets: SyntheticSet | Union) -> dict[str, Any]:
    members = sets.members if isinstance(sets, Union) else (sets,)
    p = members[0].provenance
    unknown = dict.fromkeys(("partition", "init", "iterations", "diversity", "distill_seed"), "")
    methods = "+".join(dict.fromkeys(m.provenance.method for m in members))
    ipc = "+".join(dict.fromkeys(str(m.provenance.ipc) for m in members))
    return {
        **unknown,
        "dataset": p.dataset,
        "data_variant": p.data_variant,
        "method": methods,
        "roster": f"{methods}{ipc}x{len(members)}",
        "ipc": ipc,
        "noe": len(members),
    }


def _device_name(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
