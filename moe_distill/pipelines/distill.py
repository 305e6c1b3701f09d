"""Distil: run the mixture of experts and save the set of each."""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.multiprocessing.spawn import ProcessRaisedException

from moe_distill.context.run_context import Runtime
from moe_distill.data.real_set import RealSet
from moe_distill.diversity.dependence import Part, mean_dependences
from moe_distill.diversity.features import FeaturePool, features_of, projected
from moe_distill.diversity.measures import unbiased_dcor2
from moe_distill.errors import InputError, within
from moe_distill.evaluation.columns import StudentRow
from moe_distill.experts.callbacks import SaveSets, Snapshots, Threads
from moe_distill.experts.coordinator import DiversityCoordinator
from moe_distill.experts.distillation import KIND, RECORDED, Distillation
from moe_distill.experts.forecast import forward_passes
from moe_distill.experts.loading import resources_of
from moe_distill.experts.mixture import Mixture
from moe_distill.models.base import Network
from moe_distill.pipelines.bank import spared_passes
from moe_distill.pipelines.needed_trainings import trainings_of
from moe_distill.pipelines.stage import Missing, Pipeline, Stage, Work, require_one_round
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.row_files import write_csv
from moe_distill.store.identity import describe, key
from moe_distill.store.tensor_files import save_tensors
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion
from moe_distill.terminal import say
from moe_distill.training.trainer import fit, read_curves, replay
from moe_distill.validation.values import checked

SNAPSHOTS, PROJECTION = "snapshots", "features_2d.csv"


@checked
@dataclass(frozen=True)
class Distill(Pipeline):
    """Distil a plan's sets, whose networks were trained before.

    Args:
        plan: The distillation.
    """

    plan: Distillation

    def stages(self, results: FinishedRows) -> Iterator[Stage]:
        """Yield the distillation.

        Raises:
            InputError: It depends on sets that are not made here.
        """
        require_one_round(self.plan, "distill")
        yield distillation(self.plan, results)

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Distil, unless that is done; returns as :func:`distill`."""
        require_one_round(self.plan, "distill")
        return distill(self.plan, runtime)


def distillation(plan: Distillation, results: FinishedRows) -> "Distilling":
    """Return the stage that distils a plan's sets, checked.

    Raises:
        InputError: The plan cannot be distilled.
    """
    train, _ = plan.data.load(results.store.cache)
    with within("plan"):
        plan.check(train)
    return Distilling(plan, train)


@dataclass(frozen=True)
class Distilling(Stage):
    """The sets of all experts of a plan.

    Attributes:
        plan: The distillation.
        train: The real training images.
    """

    plan: Distillation
    train: RealSet

    def missing(self, results: FinishedRows) -> list[Missing]:
        """Return the distillation, unless its set is in the store."""
        settings = self.plan.settings(self.train, results.store.cache)
        if results.store.has(KIND, settings):
            return []
        name, work = f"distill {self.plan.roster}", Work.on(self.plan.network, self.train)
        passes, spared = forward_passes(self.plan, self.train), spared_passes(self.plan, self.train)
        return [Missing(name, key(settings), work, passes, spared_passes=spared)]

    def make(self, runtime: Runtime) -> list[StudentRow]:
        """Distil, unless that is done; leaves no rows."""
        distill(self.plan, runtime)
        return []


def distill(plan: Distillation, runtime: Runtime) -> dict[str, float | None]:
    """Distil the plan's sets, resuming from the last checkpoint; a finished distillation is left alone.

    Returns:
        ``experts`` and ``iterations``: how many; ``dcor2_unbiased``: mean over pairs of experts and over the
        networks of φ, None without pairs or without φ.

    Raises:
        InputError: The plan cannot be distilled, or its networks are missing.
    """
    train, _ = plan.data.load(runtime.cache)
    with within("plan"):
        plan.check(train)
    settings = plan.settings(train, runtime.cache)
    made_before = runtime.store.count_made(KIND)
    folder = runtime.store.obtain(KIND, settings, lambda new: _make(new, plan, train, runtime))
    reused = runtime.store.count_made(KIND) == made_before  # also if another process made it meanwhile
    metadata = runtime.store.read_metadata(folder, **RECORDED)
    term = f" {plan.term.title}" if plan.term else ""
    runtime.record_cost("distill", f"{plan.roster}{term}", metadata["cost"], reused)
    if reused or runtime.processes > 1:
        # A mixture in this process logs its curves while it runs. Spawned processes have no logger, as a
        # dashboard's run belongs to the process that opened it.
        replay(read_curves(folder / "curves.csv"), runtime.tracker.loggers())
    dependence = metadata["dcor2_unbiased"]
    runtime.tracker.summary({"dcor2_unbiased": dependence})
    return {
        "experts": plan.roster.num_experts,
        "iterations": metadata["iterations"],
        "dcor2_unbiased": dependence,
    }


def _make(folder: Path, plan: Distillation, train: RealSet, runtime: Runtime) -> dict[str, object]:
    """Distil into an empty folder and return the artifact's metadata."""
    # Published settings are filled in without the user naming them. A set, as experts may share a row.
    for row in {(m.name, m.row) for m in plan.roster.members if m.row is not None}:
        say("{}: what is not set comes from its row for ipc {} (--tree shows it)".format(*row))
    work = runtime.store.work(KIND, plan.settings(train, runtime.cache))
    parts = plan.parts(train, runtime.store)
    # Cloned, as parts may be views of one tensor, which safetensors refuses to store.
    save_tensors({f"expert_{i}": part.clone() for i, part in enumerate(parts)}, folder / "parts.safetensors")
    # Trajectories and features are loaded before the run, so that missing ones fail at once.
    mixture = Mixture(plan.roster, parts, resources_of(plan, train, parts, runtime.store))
    threads = runtime.threads_of(runtime.processes)
    callbacks: list[pl.Callback] = [Threads(threads), SaveSets(folder), Snapshots(work / SNAPSHOTS)]
    phi = plan.features.load(runtime.store, train) if plan.needs_features else []
    if plan.term is not None:
        callbacks.append(DiversityCoordinator(plan.term, FeaturePool(phi), plan.seed))
    cost = _run(mixture, work, callbacks, runtime)
    # They were written to the working folder, which outlives a kill; the artifact's folder does not.
    if (work / "curves.csv").is_file():
        shutil.copy(work / "curves.csv", folder / "curves.csv")
    if (work / SNAPSHOTS).is_dir():
        shutil.copytree(work / SNAPSHOTS, folder / SNAPSHOTS)
    _join_earlier(plan, train, folder, runtime)
    sets = SyntheticSet.load(folder)
    if phi:
        # Sets are loaded on the CPU; φ may still be on the device of the run.
        write_projection(sets, phi[0].cpu(), folder / PROJECTION)
    dependence = mean_dependence(sets, phi)
    return {
        "cost": cost,
        "teacher_seconds": sum(stage.seconds(runtime.store) for stage in trainings_of(plan, runtime.results)),
        "roster": str(plan.roster),
        "rows": [m.row for m in plan.roster.members],
        "iterations": mixture.total,
        "processes": runtime.processes,
        "threads": threads,
        "dcor2_unbiased": dependence if math.isfinite(dependence) else None,  # JSON has no NaN
    }


def _join_earlier(plan: Distillation, train: RealSet, folder: Path, runtime: Runtime) -> None:
    """Write the sets of a sequence's earlier experts beside that of its last one, with their snapshots."""
    if plan.before is None:
        return
    earlier = plan.before.find(runtime.store, train)
    settings = describe(plan.settings(train, runtime.cache))
    for number, member in enumerate(SyntheticSet.load(earlier).members):
        # Of the whole sequence now, which is what makes the files one set.
        member.provenance = replace(member.provenance, settings=settings)
        member.save(folder / f"expert_{number}.safetensors")
    if (earlier / SNAPSHOTS).is_dir():
        shutil.copytree(earlier / SNAPSHOTS, folder / SNAPSHOTS, dirs_exist_ok=True)


def _run(
    mixture: Mixture, work: Path, callbacks: Sequence[pl.Callback], runtime: Runtime
) -> Mapping[str, float]:
    """Run the mixture and return its cost."""
    single = runtime.processes == 1
    try:
        return fit(
            mixture,
            runtime.parallel_trainer,
            work,
            f"distill {mixture.roster}",
            callbacks=callbacks,
            checkpoint_seconds=runtime.checkpoint_seconds,
            curves_every=runtime.curves_every,
            loggers=runtime.tracker.loggers() if single else (),
        )
    except ProcessRaisedException as error:
        # Of an exception in a spawned process only the traceback's text arrives; an InputError is rebuilt of
        # its last line, "…InputError: setting=value: allowed", so that the user sees it as usual.
        last_line = str(error).strip().splitlines()[-1]
        if InputError.__name__ not in last_line:
            raise
        setting, _, rest = last_line.partition(": ")[2].partition("=")
        value, _, allowed = rest.partition(": ")
        raise InputError(setting, value, allowed) from error


def write_projection(sets: SyntheticUnion, network: Network, path: Path) -> None:
    """Write the features of the experts' decoded images, projected on their two principal axes.

    Args:
        sets: The experts' sets.
        network: The first network of φ, which computes the features.
        path: A CSV with a row for each image and the columns ``expert, label, x, y, share``; ``share`` is the
            fraction of the variance that both axes explain.
    """
    members = [member.final() for member in sets.members]
    features = [features_of(network, m.standardised().detach()) for m in members]
    flat_N2, share = projected(torch.cat(features))
    experts: list[int] = []
    for member, f_ND in zip(members, features, strict=True):
        experts += [member.provenance.expert] * len(f_ND)
    labels = torch.cat([m.decode()[1] for m in members]).tolist()
    # Six digits are plenty for a chart, and keep the page that embeds them small.
    rows = [
        {"expert": expert, "label": label, "x": f"{x:.6g}", "y": f"{y:.6g}", "share": f"{share:.4f}"}
        for expert, label, (x, y) in zip(experts, labels, flat_N2.tolist(), strict=True)
    ]
    write_csv(path, rows, ("expert", "label", "x", "y", "share"))


def mean_dependence(sets: SyntheticUnion, phi: Sequence[Network]) -> float:
    """Return the unbiased dCor² between the experts' decoded images, averaged over pairs and networks.

    Args:
        sets: The experts' sets.
        phi: The networks that compute the features.

    Returns:
        The mean; NaN without pairs or without networks. See Székely and Rizzo 2014 (arXiv:1310.2926) for the
        unbiased distance correlation.
    """
    # As evaluated: the average of the images over the iterations, for a method that keeps one.
    members = [member.final() for member in sets.members]
    parts: list[Part] = [(m.standardised().detach(), m.decode()[1]) for m in members]
    return mean_dependences(parts, [network.cpu() for network in phi], {"dcor2": unbiased_dcor2})["dcor2"]
