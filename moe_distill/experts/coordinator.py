"""The diversity term between experts and the callback that applies it.

Every few iterations the coordinator measures pairs of experts on features of their decoded images. Each
expert differentiates its own features against detached features of the others, which is exactly its gradient
of the full sum over pairs, so nothing is differentiated through a collective. The gradient is added once,
before that expert's next image step.
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
from moe_distill.models.base import Network
from moe_distill.seeding import stream
from moe_distill.training.trainer import gather_objects
from moe_distill.validation.values import Count, NotNegative, Text, checked


@checked
@dataclass(frozen=True)
class Diversity:
    """Settings of the diversity term.

    Args:
        measure: Measure of two feature matrices; lower is more diverse.
        weight: Factor of the gradient, or of its norm relative to the matching gradient.
        weight_is: ``absolute``: weight times the gradient. ``share``: the gradient scaled to ``weight`` times
            the norm of the previous iteration's summed matching gradient (nothing is added at iteration 0).
        every: Iterations between two applications.
        pairs: Number of unordered pairs of experts drawn each time; None takes all.
        scope: ``global``: all rows. ``per_class``: mean over classes. ``class_centred``: class means
            subtracted first.
        pairing: How a paired measure pairs rows of a class: by ``index`` or ``shuffled``.
        max_rows: Maximum rows per expert; larger sets are subsampled evenly over the classes.
        name: Name in results; None uses the measure's name and settings.
        implied: Non-default settings that the name stands for; all other departures from the defaults are
            added to the name.
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
        """Its name in results, with every setting that neither the name nor the defaults imply.

        Example:
            >>> Diversity(unbiased_dcor2, weight=0.2, name="mild").title
            'mild-dcor_unbiased-l2normFalse-weight0.2'
        """
        implied = {f.name: f.default for f in fields(self)} | dict(self.implied or {})
        parts = [self.name] if self.name else []
        # The name may stand for a measure; else the measure is named too.
        if not self.name or implied["measure"] != self.measure.title:
            parts.append(self.measure.title)
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name not in ("measure", "name", "implied") and value != implied[setting.name]:
                parts.append(f"{setting.name}{value}")
        return "-".join(parts)

    def require_rows(self, decoded: Sequence[int], classes: int) -> None:
        """Reject a measure that cannot be used, or sets too small for it, before any computation.

        Args:
            decoded: Decoded images per class of each expert.
            classes: Number of classes.

        Raises:
            FieldError: There are too few images per class, or per expert.
        """
        self.measure.rehearse()
        by_class = self.scope == "per_class"
        per_class = min(*decoded, max(1, self.max_rows // classes))
        rows, unit = (per_class, "a class") if by_class else (per_class * classes, "an expert")
        least = self.measure.least_rows
        if rows < least:
            need = f"the measure needs at least {least} images of {unit}"
            reason = f"{need}; there are {rows} ({classes} classes)"
            allowed = f"none (diversity=none), or more images per class: {reason}"
            if by_class:
                raise FieldError("scope", self.scope, allowed)
            raise FieldError("measure", self.measure.title, allowed)


class DiversityCoordinator(pl.Callback):
    """Adds the diversity gradient to the experts' images every ``every`` iterations.

    Args:
        diversity: Settings of the term.
        pool: The feature networks φ.
        seed: The run's seed. All ranks draw networks, pairs and rows from the same stream.
    """

    def __init__(self, diversity: Diversity, pool: FeaturePool, seed: int) -> None:
        self.diversity, self.pool, self.seed = diversity, pool, seed
        self.pending: dict[int, torch.Tensor] = {}  # gradients to add, by the id of the images' parameter

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Create the random stream."""
        # In the process that computes: a generator cannot be pickled to a spawned rank.
        self.rng = stream(self.seed, "coordinator")

    def on_fit_start(self, trainer: pl.Trainer, mixture: Mixture) -> None:  # type: ignore[override]
        """Move the feature networks to the experts' device."""
        self.pool.to(trainer.strategy.root_device)

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: pl.Trainer, mixture: Mixture, batch: Any, batch_idx: int
    ) -> None:
        """Measure the pairs and store each expert's gradient for its next step.

        Args:
            trainer: Not used.
            mixture: The mixture of this rank.
            batch: Not used.
            batch_idx: Not used.
        """
        self.pending = {}
        iteration = mixture.iteration
        if iteration % self.diversity.every or mixture.roster.num_experts < 2:
            return
        phi = self.pool.draw(self.rng)
        own_features = {e.number: _features(e, phi) for e in mixture.mine}
        everyone = gather_features(own_features)
        terms = self._terms(everyone, own_features)
        ratios = {}
        for expert in mixture.learners:
            # An expert that has finished its own iterations stays in the terms of others, but does not move.
            if expert.number in terms and iteration < expert.total:
                extra = self._gradient(expert, terms[expert.number])
                ratios[f"expert_{expert.number}/extra_over_matching"] = _ratio(extra, expert.matching_norm)
                self.pending[id(expert.synthetic.images)] = extra
        # Shown with the scalars of every iteration until the next application.
        mixture.extra = {**self.values, **ratios}

    def _pairs(self, num_experts: int) -> list[tuple[int, int]]:
        """Return all unordered pairs of experts, or as many as are to be drawn."""
        pairs = list(itertools.combinations(range(num_experts), 2))
        if self.diversity.pairs is None or self.diversity.pairs >= len(pairs):
            return pairs
        drawn = torch.randperm(len(pairs), generator=self.rng)[: self.diversity.pairs]
        return [pairs[i] for i in sorted(drawn.tolist())]

    def _terms(
        self, everyone: dict[int, Features], own_features: dict[int, Features]
    ) -> dict[int, torch.Tensor]:
        """Return each own expert's sum over its pairs, differentiable in its own features only.

        Args:
            everyone: Detached features of all ranks' experts by number.
            own_features: Features of this rank's experts, with graph.
        """
        d = self.diversity
        values: list[float] = []
        unbiased: list[float] = []
        terms: dict[int, torch.Tensor] = {}
        for i, j in self._pairs(len(everyone)):
            # Every rank draws the rows of every pair, so that their common stream stays in step.
            rows_i, rows_j = matched_rows(
                everyone[i], everyone[j], d.measure.paired, d.pairing, d.max_rows, self.rng
            )
            for a, b, rows_a, rows_b in ((i, j, rows_i, rows_j), (j, i, rows_j, rows_i)):
                if a in own_features:
                    value = scoped(d.measure, own_features[a].take(rows_a), everyone[b].take(rows_b), d.scope)
                    terms[a] = terms[a] + value if a in terms else value
            with torch.no_grad():
                value = scoped(d.measure, everyone[i].take(rows_i), everyone[j].take(rows_j), d.scope)
                values.append(float(value))
                unbiased.append(dependence(everyone[i], everyone[j], unbiased_dcor2))
        scalars = {"diversity/measure": values, "diversity/dcor2_unbiased": unbiased}
        self.values = {name: sum(v) / len(v) for name, v in scalars.items()}
        return terms

    def _gradient(self, expert: Expert, term: torch.Tensor) -> torch.Tensor:
        """Return the weighted gradient of a term by the expert's images."""
        (gradient,) = torch.autograd.grad(term, expert.synthetic.images)
        if self.diversity.weight_is == "absolute":
            return self.diversity.weight * gradient
        norm = gradient.norm()
        scale = self.diversity.weight * expert.matching_norm / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        # A gradient of (almost) zero has no direction, and its scale overflows: inf times 0 would be NaN.
        return torch.where(scale.isfinite(), gradient * scale, torch.zeros_like(gradient))

    def on_before_optimizer_step(  # type: ignore[override]
        self, trainer: pl.Trainer, mixture: Mixture, optimizer: torch.optim.Optimizer
    ) -> None:
        """Add the stored gradient to the images' gradient, once per iteration."""
        # Every method puts the images into the first group.
        for parameter in optimizer.param_groups[0]["params"]:
            if id(parameter) in self.pending:
                parameter.grad.add_(self.pending.pop(id(parameter)))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the shared stream, which Lightning stores in the checkpoint."""
        return {"rng": self.rng.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the shared stream."""
        self.rng.set_state(state_dict["rng"])


def _features(expert: Expert, phi: Network) -> Features:
    """Return features of the expert's decoded images, differentiable in its stored images."""
    labels = expert.synthetic.decode()[1]
    return Features(phi.embed(expert.synthetic.standardised()), labels)


def gather_features(own_features: dict[int, Features]) -> dict[int, Features]:
    """Return the detached features of all ranks' experts by number, on this rank's device."""
    # A rank without experts takes part too: gathering is a collective.
    parts = gather_objects({n: (f.features_ND.detach(), f.labels_N) for n, f in own_features.items()})
    device = next(iter(own_features.values())).labels_N.device if own_features else torch.device("cpu")
    gathered: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    for part in parts:
        gathered.update(part)
    # Sorted, so that every rank goes through the pairs in the same order.
    return {n: Features(gathered[n][0].to(device), gathered[n][1].to(device)) for n in sorted(gathered)}


def _ratio(extra: torch.Tensor, matching_norm: float) -> float:
    """Return the norm of the added gradient relative to that of matching; 0 before the first iteration."""
    return float(extra.norm()) / matching_norm if matching_norm else 0.0
