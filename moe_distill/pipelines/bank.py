"""The stage that computes a bank: means of an expert's real images under stored snapshots."""

import functools
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from moe_distill.context.run_context import Runtime
from moe_distill.costs import Meter
from moe_distill.data.real_set import RealSet
from moe_distill.experts.distillation import KIND as SET
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.stage import Missing, Work
from moe_distill.pipelines.trainings import Training, recorded_cost
from moe_distill.progress import with_progress
from moe_distill.results.known_rows import FinishedRows
from moe_distill.store.identity import key
from moe_distill.store.store import Store
from moe_distill.store.tensor_cache import cached
from moe_distill.store.tensor_files import Tensors, save_tensors
from moe_distill.teachers.bank import KIND, MEANS, Bank, entry_means


@dataclass(frozen=True)
class BankMaking(Training):
    """The bank of one architecture of an expert.

    Attributes:
        bank: What is computed.
        name: What the expert is called in forecasts and progress bars.
        plan: The distillation that reads it.
        train: All real training images.
    """

    bank: Bank
    name: str
    plan: Distillation
    train: RealSet

    def missing(self, results: FinishedRows) -> list[Missing]:
        """Return the bank, unless it is in the store."""
        settings = self.bank.settings
        if results.store.has(KIND, settings):
            return []
        passes = float(self.bank.spec.entries * self.bank.images)
        work = Work.on(self.bank.network, self.train)
        return [Missing("bank of real means", key(settings), work, passes, spared_passes=-passes)]

    def accuracies(self, runtime: Runtime) -> list[float | None]:
        """Compute the bank, unless it is in the store; it trains no network."""
        settings, store = self.bank.settings, runtime.store
        made_before = store.count_made(KIND)
        # Banks can be large, and nobody reads one once the plan's set exists.
        verify = store.find(SET, self.plan.settings(self.train, runtime.cache)) is None
        folder = store.obtain(KIND, settings, lambda new: self._make(new, runtime), verify=verify)
        cost = recorded_cost(store, folder)
        runtime.record_cost("pretrain", f"bank of {self.name}", cost, store.count_made(KIND) == made_before)
        return []

    def seconds(self, store: Store) -> float:
        """Return the time that computing the bank took."""
        return recorded_cost(store, store.find(KIND, self.bank.settings))["seconds"]

    def _make(self, folder: Path, runtime: Runtime) -> dict[str, object]:
        """Compute the entries, each kept through a kill, and write them to one file."""
        # An earlier stage may have changed the number: a mixture in one process sets its own.
        torch.set_num_threads(runtime.threads_of(1))
        meter = Meter(runtime.device)
        bank, draws = self.bank, self.bank.draws
        part = bank.part.to(runtime.device)
        trajectories = bank.pool.load(runtime.store, bank.seen, bank.network)
        shell = bank.pool.blank(bank.seen, bank.network, 0).to(runtime.device).eval()

        def compute(number: int) -> Tensors:
            begin = time.perf_counter()
            means_CD = entry_means(number, draws, trajectories, shell, part)
            # Kept with them, so that an entry from before a kill counts with what it took.
            return {"means": means_CD, "seconds": torch.tensor(time.perf_counter() - begin).double()}

        entries, work = bank.spec.entries, runtime.store.work(KIND, bank.settings)
        numbers = with_progress(range(entries), f"bank of {self.name}", entries)
        made = [cached(work / f"{n}.safetensors", functools.partial(compute, n)) for n in numbers]
        save_tensors({str(number): tensors["means"] for number, tensors in enumerate(made)}, folder / MEANS)
        cost = meter.read(steps=entries, images=entries * bank.images)
        return {"cost": {**cost, "seconds": sum(float(tensors["seconds"]) for tensors in made)}}


def spared_passes(plan: Distillation, real: RealSet) -> float:
    """Return the forward passes of real batches that banks take the place of in a whole distillation."""
    per_class = len(real) // len(real.classes) // len(plan.numbers)
    methods = [plan.roster.members[number].method() for number in plan.numbers]
    return sum(m.iterations * m.spared_passes(len(real.classes), per_class) for m in methods)
