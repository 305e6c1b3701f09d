"""Supervised training of S networks at once as a LightningModule that can be killed and resumed."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.models.base import Network
from moe_distill.training import batches
from moe_distill.training import cohort as steps
from moe_distill.training.fusion import Fusion
from moe_distill.training.recipe import Recipe
from moe_distill.training.trainer import ticks

_TEST_CHUNK = 1000


class Classifier(pl.LightningModule):
    """Trains S networks on one pool of images, each on its own stream; one batch of the loader is one step.

    Args:
        networks: S freshly built networks of one architecture.
        pool: What they train on.
        test: Real images they are tested on at the recipe's test points.
        recipe: How they train.
        streams: S generators.
        fusion: How images of different experts are mixed, or None.
        lr: First learning rate in place of the recipe's (a set's learned rate).
        step_done: Called after each step with how many are done and the networks; before the next checkpoint.
        steps_at_most: Where the training ends if that is before the recipe's last epoch does.

    Raises:
        InputError: The recipe asks for a teacher's labels, and the pool has no teacher.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        pool: batches.TrainingPool,
        test: RealSet,
        recipe: Recipe,
        streams: Sequence[torch.Generator],
        fusion: Fusion | None = None,
        lr: float | None = None,
        step_done: Callable[[int, steps.Cohort], None] | None = None,
        steps_at_most: int | None = None,
    ) -> None:
        super().__init__()
        if recipe.labels == "teacher_online" and pool.label is None:
            raise InputError(
                "recipe.labels", recipe.labels, "set or hard: there is no teacher here that labels"
            )
        self.automatic_optimization = False
        self.networks = torch.nn.ModuleList(networks)
        self.pool = pool if fusion is None else batches.fused(pool, fusion)
        self.test_set, self.recipe, self.fusion, self.lr = test, recipe, fusion, lr
        self.streams = list(streams)
        self.step_done, self.steps_at_most = step_done, steps_at_most
        self.iteration = 0
        self.images_seen = 0
        self.orders: list[torch.Tensor] = []
        self.accuracies: dict[int, list[float]] = {}
        self.losses: list[float] = []
        self._cohort: steps.Cohort | None = None
        self._state: dict[str, Any] | None = None

    @property
    def students(self) -> list[Network]:
        """The networks, in the order of their streams."""
        return cast(list[Network], list(self.networks))

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the pool, the smaller last batch included."""
        return -(-len(self.pool) // self.recipe.batch_size)

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        steps_of_recipe = self.recipe.total_epochs * self.steps_per_epoch
        return steps_of_recipe if self.steps_at_most is None else min(self.steps_at_most, steps_of_recipe)

    @property
    def cohort(self) -> steps.Cohort:
        """The networks as they step; made once they lie on their device."""
        if self._cohort is None:
            self._cohort = steps.cohort(self.students, self.recipe)
            if self._state is not None:
                self._cohort.load_state_dict(self._state)
        return self._cohort

    def configure_optimizers(self) -> None:
        """Leave the optimisers to the cohort."""

    def train_dataloader(self) -> DataLoader[int]:
        """Hand out the steps that are left."""
        return ticks(self.iteration, self.total)

    def training_step(self, step: int, _: int) -> None:
        """Take one step of every network; test after the epochs the recipe names."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if within == 0:
            self._begin_epoch(epoch)
        size = self.recipe.batch_size
        rows = [order[within * size : (within + 1) * size] for order in self.orders]
        drawn = [
            batches.training_batch(self.pool, r, self.recipe, self.fusion, g)
            for r, g in zip(rows, self.streams, strict=True)
        ]
        self.losses = self.cohort.step(drawn, self.streams).tolist()
        self.images_seen += sum(len(r) for r in rows)
        self.iteration = step + 1
        if self.iteration == self.total or (
            within == self.steps_per_epoch - 1 and self.recipe.tests_after(epoch)
        ):
            self.accuracies[epoch] = self.tested()
        if self.step_done is not None:
            self.step_done(self.iteration, self.cohort)

    def _begin_epoch(self, epoch: int) -> None:
        self.orders = [torch.randperm(len(self.pool), generator=g) for g in self.streams]
        dropped = epoch in self.recipe.drop_epochs
        self.cohort.set_lr(self.recipe.lr_at(epoch, self.lr), dropped and self.recipe.fresh_optimizer)

    def tested(self) -> list[float]:
        """Return every network's accuracy on the test set, as fractions; NaN of one that diverged."""
        diverged = set[int]()
        metrics = [
            MulticlassAccuracy(self.pool.classes, average="micro").to(self.device) for _ in self.networks
        ]
        test = self.test_set
        for begin in range(0, len(test.labels_N), _TEST_CHUNK):
            rows = slice(begin, begin + _TEST_CHUNK)
            logits_SNC = self.cohort.logits(test.normalised(test.images_NCHW[rows]))
            diverged.update(i for i, logits_NC in enumerate(logits_SNC) if not logits_NC.isfinite().all())
            for metric, logits_NC in zip(metrics, logits_SNC, strict=True):
                metric.update(logits_NC, test.labels_N[rows])
        return [math.nan if i in diverged else float(metric.compute()) for i, metric in enumerate(metrics)]

    def scalars(self) -> Mapping[str, float]:
        """Return what the curves show of the last step."""
        return {f"student_{i}/loss": loss for i, loss in enumerate(self.losses)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep everything the next step depends on."""
        del checkpoint["loops"]  # the clock is ours
        checkpoint["state_dict"] = {}
        checkpoint["classifier"] = {
            "iteration": self.iteration,
            "cohort": self.cohort.state_dict(),
            "streams": [g.get_state() for g in self.streams],
            "orders": self.orders,
            "accuracies": self.accuracies,
            "images_seen": self.images_seen,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back what :meth:`on_save_checkpoint` kept."""
        held = checkpoint["classifier"]
        checkpoint["state_dict"] = self.state_dict()
        self.iteration, self.orders, self.accuracies = held["iteration"], held["orders"], held["accuracies"]
        self.images_seen = held["images_seen"]
        self._state = held["cohort"]
        for generator, state in zip(self.streams, held["streams"], strict=True):
            generator.set_state(state)
