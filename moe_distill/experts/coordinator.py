"""The diversity coordinator: what keeps the experts apart.

Every few iterations it measures pairs of experts on features of their decoded images. Each expert
differentiates its own side against detached features of the others, which is exactly its gradient of the full
sum over pairs, so nothing is differentiated through a collective. The gradient is added once, before that
expert's next image step.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from moe_distill.diversity.dependence import dependence
from moe_distill.diversity.features import FeaturePool
from moe_distill.diversity.measures import Measure, unbiased_dcor2
from moe_distill.diversity.pairing import Features, matched_rows, scoped
from moe_distill.errors import FieldError
from moe_distill.experts.expert import Expert
from moe_distill.experts.mixture import Mixture
from moe_distill.seeding import stream
from moe_distill.training.trainer import gather_objects
from moe_distill.validation.values import Count, NotNegative, Text, checked


@checked
@dataclass(frozen=True)
class Diversity:
    """The diversity term.

    Args:
        measure: Of two feature matrices; lower is more diverse.
        weight: Factor of the gradient, or of its norm relative to the matching gradient.
        weight_is: ``absolute``: weight times the gradient. ``share``: the gradient scaled to ``weight`` times
            the norm of the previous iteration's summed matching gradient (nothing is added at iteration 0).
        every: Iterations between two applications.
        pairs: Unordered pairs drawn for each; None takes all.
        scope: ``global``: all rows. ``per_class``: mean over classes. ``class_centred``: class means removed
            first.
        pairing: Which rows of one class belong together in a paired measure: by ``index``, or ``shuffled``.
        max_rows: Rows per expert at most; larger sets are subsampled evenly over the classes.
        name: What it is called in results; None says the measure's name and settings.
        implied: The settings that the name stands for where they are not the defaults; others are told beside
            it.
    """

    measure: Measure
    weight: NotNegative = 0.1
    weight_is: Literal["absolute", "share"] = "share"
    every: Count = 10
    pairs: Count | None = None
    scope: Literal["global", "per_class", "class_centred"] = "global"
    pairing: Literal["index", "shuffled"] = "index"
    max_rows: Count = 1024
    name: Text | None = field(default=None, metadata={"describe": False})
    implied: Mapping[str, Text | int | float | None] | None = field(
        default=None, metadata={"describe": False}
    )

    @property
    def title(self) -> str:
        """What results call it, with every setting that the name, or the defaults, do not say."""
        measure = self.measure.title
        usual = {f.name: f.default for f in fields(self)} | dict(self.implied or {})
        named = (
            [self.name]
            if self.name and usual["measure"] == measure
            else [*filter(None, [self.name]), measure]
        )
        settings = (f.name for f in fields(self) if f.name not in ("measure", "name", "implied"))
        return "-".join(
            [*named, *(f"{n}{getattr(self, n)}" for n in settings if getattr(self, n) != usual[n])]
        )

    def require_rows(self, decoded: Sequence[int], classes: int) -> None:
        """Refuse sets of too few images for the measure, before any work.

        Args:
            decoded: Images per class that networks see of each expert.
            classes: Number of classes.

        Raises:
            InputError: They are too few.
        """
        per_class = min(*decoded, max(1, self.max_rows // classes))
        rows, of_what = (
            (per_class, "a class") if self.scope == "per_class" else (per_class * classes, "an expert")
        )
        least = self.measure.least_rows
        if rows < least:
            allowed = (
                f"none (diversity=none), or more images per class: it compares {least} of {of_what} at least"
            )
            told = f"{allowed}, here are {rows} ({classes} classes)"
            if self.scope == "per_class":
                raise FieldError("scope", self.scope, told)
            raise FieldError("measure", self.measure.title, told)


class DiversityCoordinator(pl.Callback):
    """Adds the diversity gradient to the experts' images every ``every`` iterations.

    Args:
        diversity: The term.
        pool: φ.
        seed: The run's seed; φ, pairs and rows are drawn from one stream that all ranks share.
    """

    def __init__(self, diversity: Diversity, pool: FeaturePool, seed: int) -> None:
        self.diversity, self.pool, self.seed = diversity, pool, seed
        self.pending: dict[int, torch.Tensor] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start the stream in the process that works: a generator cannot be sent to another one."""
        self.rng = stream(self.seed, "coordinator")

    def on_fit_start(self, trainer: pl.Trainer, mixture: Mixture) -> None:  # type: ignore[override]
        """Move φ to where the experts are."""
        self.pool.to(trainer.strategy.root_device)

    def on_train_batch_start(self, trainer: pl.Trainer, mixture: Mixture, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        """Measure the pairs and hold every expert's gradient ready."""
        self.pending = {}
        iteration = mixture.iteration
        if iteration % self.diversity.every or mixture.roster.num_experts < 2:
            return
        phi = self.pool.draw(self.rng)
        own = {e.number: _features(e, phi) for e in mixture.mine}
        everyone = gather_features(own)
        terms = self._terms(everyone, own)
        shown = {}
        for expert in mixture.learners:
            if expert.number in terms and iteration < expert.total:
                extra = self._gradient(expert, terms[expert.number])
                shown[f"expert_{expert.number}/extra_over_matching"] = _ratio(extra, expert.matching_norm)
                self.pending[id(expert.synthetic.images)] = extra
        mixture.extra = {**self.values, **shown}

    def _pairs(self, num_experts: int) -> list[tuple[int, int]]:
        pairs = list(itertools.combinations(range(num_experts), 2))
        if self.diversity.pairs is None or self.diversity.pairs >= len(pairs):
            return pairs
        drawn = torch.randperm(len(pairs), generator=self.rng)[: self.diversity.pairs]
        return [pairs[i] for i in sorted(drawn.tolist())]

    def _terms(self, everyone: dict[int, Features], own: dict[int, Features]) -> dict[int, torch.Tensor]:
        """Return each own expert's sum over its pairs, differentiable in its own features alone."""
        d, values, unbiased = self.diversity, list[float](), list[float]()
        terms: dict[int, torch.Tensor] = {}
        for i, j in self._pairs(len(everyone)):
            rows = matched_rows(everyone[i], everyone[j], d.measure.paired, d.pairing, d.max_rows, self.rng)
            for a, b, rows_a, rows_b in ((i, j, rows[0], rows[1]), (j, i, rows[1], rows[0])):
                if a in own:
                    value = scoped(d.measure, own[a].take(rows_a), everyone[b].take(rows_b), d.scope)
                    terms[a] = terms[a] + value if a in terms else value
            with torch.no_grad():
                values.append(
                    float(scoped(d.measure, everyone[i].take(rows[0]), everyone[j].take(rows[1]), d.scope))
                )
                unbiased.append(dependence(everyone[i], everyone[j], unbiased_dcor2))
        mean = {"diversity/measure": values, "diversity/dcor2_unbiased": unbiased}
        self.values = {name: sum(v) / len(v) for name, v in mean.items()}
        return terms

    def _gradient(self, expert: Expert, term: torch.Tensor) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(term, expert.synthetic.images)
        if self.diversity.weight_is == "absolute":
            return self.diversity.weight * gradient
        norm = gradient.norm()
        scale = self.diversity.weight * expert.matching_norm / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        return gradient * scale

    def on_before_optimizer_step(  # type: ignore[override]
        self, trainer: pl.Trainer, mixture: Mixture, optimizer: torch.optim.Optimizer
    ) -> None:
        """Add the gradient that is ready, once."""
        for parameter in optimizer.param_groups[0]["params"]:
            if id(parameter) in self.pending:
                parameter.grad.add_(self.pending.pop(id(parameter)))

    def state_dict(self) -> dict[str, Any]:
        """Keep the shared stream; Lightning stores it in the checkpoint."""
        return {"rng": self.rng.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the shared stream."""
        self.rng.set_state(state_dict["rng"])


def _features(expert: Expert, phi: Any) -> Features:
    labels = expert.synthetic.decode()[1]
    return Features(phi.embed(expert.synthetic.standardised()), labels)


def gather_features(own: dict[int, Features]) -> dict[int, Features]:
    """Return the detached features of all ranks' experts by number."""
    if not own:
        parts = gather_objects({})
    else:
        parts = gather_objects({n: (f.features_ND.detach(), f.labels_N) for n, f in own.items()})
    device = next(iter(own.values())).labels_N.device if own else torch.device("cpu")
    together = {n: pair for part in parts for n, pair in part.items()}
    return {n: Features(together[n][0].to(device), together[n][1].to(device)) for n in sorted(together)}


def _ratio(extra: torch.Tensor, matching_norm: float) -> float:
    return float(extra.norm()) / matching_norm if matching_norm else 0.0
