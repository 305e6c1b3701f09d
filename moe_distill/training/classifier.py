"""Supervised training of S networks at once, as a LightningModule that can be killed and resumed."""

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
from moe_distill.training.staged import TrainingStage, stages_of
from moe_distill.training.trainer import ticks

_TEST_CHUNK = 1000  # test images in one pass, to bound memory


class Classifier(pl.LightningModule):
    """Trains S networks on one pool of images, each with its own random stream.

    Args:
        networks: S freshly built networks of one architecture.
        pool: Images to train on.
        test: Real images for the tests at the recipe's test points.
        recipe: How the networks are trained, in stages if it says so.
        streams: S generators.
        fusion: How images of different experts are mixed, or None.
        lr: Initial learning rate that replaces the recipe's (a set's learned rate), or None.
        step_done: Called after each step, before any checkpoint, with the number of steps done and the
            networks; or None.
        steps_at_most: Number of steps after which training ends early, or None.

    Raises:
        InputError: The recipe needs a teacher's labels, but the pool has no teacher.
        FieldError: The recipe has fewer epochs than stages.
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
            allowed = "set or hard: no teacher is available to label"
            raise InputError("recipe.labels", recipe.labels, allowed)
        self.automatic_optimization = False  # the cohort has its own optimisers
        self.networks = torch.nn.ModuleList(networks)
        self.stages = stages_of(pool, recipe, fusion)
        self.pool = self.stages[-1].pool
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
    def epochs(self) -> int:
        """Number of epochs of all stages."""
        return sum(stage.recipe.total_epochs for stage in self.stages)

    @property
    def total(self) -> int:
        """Number of steps of the whole training."""
        steps_of_recipe = self.stages[-1].end
        return steps_of_recipe if self.steps_at_most is None else min(self.steps_at_most, steps_of_recipe)

    @property
    def cohort(self) -> steps.Cohort:
        """The networks with their optimisers."""
        # Made on first use: which cohort is faster depends on the device, where the networks are only now.
        if self._cohort is None:
            self._cohort = steps.cohort(self.students, self.recipe)
            if self._state is not None:
                self._cohort.load_state_dict(self._state)
        return self._cohort

    def configure_optimizers(self) -> None:
        """Return no optimiser to Lightning; the cohort has its own."""

    def train_dataloader(self) -> DataLoader[int]:
        """Return a loader of the remaining steps."""
        return ticks(self.iteration, self.total)

    def training_step(self, step: int, _: int) -> None:
        """Take one step of every network, and test them after the recipe's test epochs."""
        stage = next(stage for stage in self.stages if step < stage.end)
        epoch, step_of_epoch = divmod(step - stage.first_step, stage.steps_per_epoch)
        if step_of_epoch == 0:
            self._begin_epoch(stage, epoch)
        # Every network goes through the pool in its own order.
        begin = step_of_epoch * self.recipe.batch_size
        rows = [order[begin : begin + self.recipe.batch_size] for order in self.orders]
        step_batches = [
            batches.training_batch(stage.pool, rows_B, self.recipe, self.fusion, rng)
            for rows_B, rng in zip(rows, self.streams, strict=True)
        ]
        self.losses = self.cohort.step(step_batches, self.streams).tolist()
        self.images_seen += sum(len(rows_B) for rows_B in rows)
        self.iteration = step + 1
        epoch_done = stage is self.stages[-1] and step_of_epoch == stage.steps_per_epoch - 1
        if self.iteration == self.total or (epoch_done and stage.recipe.tests_after(epoch)):
            self.accuracies[stage.first_epoch + epoch] = self.tested()
        if self.step_done is not None:
            self.step_done(self.iteration, self.cohort)

    def _begin_epoch(self, stage: TrainingStage, epoch: int) -> None:
        """Shuffle the stage's pool for every network and set the learning rate of its epoch."""
        self.orders = [torch.randperm(len(stage.pool), generator=rng) for rng in self.streams]
        dropped = stage.recipe.fresh_optimizer and epoch in stage.recipe.drop_epochs
        begins = epoch == 0 and stage.first_step > 0  # with a new optimiser
        self.cohort.set_lr(stage.recipe.lr_at(epoch, self.lr), begins or dropped)

    def tested(self) -> list[float]:
        """Return every network's accuracy on the test set, as fractions; NaN for networks that diverged.

        An empty test set gives NaN too.
        """
        if len(self.test_set) == 0:
            return [math.nan for _ in self.networks]
        diverged = set[int]()
        metrics = [
            MulticlassAccuracy(self.pool.classes, average="micro").to(self.device) for _ in self.networks
        ]
        test = self.test_set
        for begin in range(0, len(test.labels_N), _TEST_CHUNK):
            rows = slice(begin, begin + _TEST_CHUNK)
            logits_SNC = self.cohort.logits(test.normalised(test.images_NCHW[rows]))
            for i, logits_NC in enumerate(logits_SNC):
                # The largest of NaN logits is some class, so a diverged network would seem to guess.
                if not logits_NC.isfinite().all():
                    diverged.add(i)
                metrics[i].update(logits_NC, test.labels_N[rows])
        return [math.nan if i in diverged else float(metric.compute()) for i, metric in enumerate(metrics)]

    def scalars(self) -> Mapping[str, float]:
        """Return the losses of the last step, for the curves."""
        return {f"student_{i}/loss": loss for i, loss in enumerate(self.losses)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store everything the next step depends on."""
        del checkpoint["loops"]  # the module keeps its own clock
        checkpoint["state_dict"] = {}  # the weights are in the cohort's state
        checkpoint["classifier"] = {
            "iteration": self.iteration,
            "cohort": self.cohort.state_dict(),
            "streams": [rng.get_state() for rng in self.streams],
            "orders": self.orders,
            "accuracies": self.accuracies,
            "images_seen": self.images_seen,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what :meth:`on_save_checkpoint` stored."""
        stored = checkpoint["classifier"]
        checkpoint["state_dict"] = self.state_dict()  # Lightning loads it after this hook
        self.iteration = stored["iteration"]
        self.orders = stored["orders"]
        self.accuracies = stored["accuracies"]
        self.images_seen = stored["images_seen"]
        self._state = stored["cohort"]  # loaded when the cohort is made, on the device
        for rng, state in zip(self.streams, stored["streams"], strict=True):
            rng.set_state(state)
