"""An expert: one synthetic set, one method, one optimiser, one random stream."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.experts.apply import Apply
from moe_distill.experts.roster import ExpertSpec
from moe_distill.experts.rotation import Balance
from moe_distill.experts.schedule import Course, set_rates
from moe_distill.experts.shared import SharedResources
from moe_distill.experts.state import ExpertState, restore, state_of
from moe_distill.methods.base import IterationContext
from moe_distill.models.base import Network, build
from moe_distill.seeding import stream
from moe_distill.synthetic.provenance import provenance_of
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.teachers.real_batches import ChosenBatches
from moe_distill.training.trainer import ticks


class Expert(pl.LightningModule):
    """Distils its part of the real data into its synthetic set, alone or as a member of a mixture.

    Where architectures take turns, iteration t is the turn of architecture t mod A. Each has a method and a
    random stream of its own, which count and draw as if there were no others; initial images are those of the
    first, and so equal to those of an expert without others.

    Args:
        number: Its index in the roster.
        spec: Its method and ipc.
        part: Indices of its real images in the training data.
        resources: Data, networks and settings that all experts share.
    """

    def __init__(self, number: int, spec: ExpertSpec, part: torch.Tensor, resources: SharedResources) -> None:
        super().__init__()
        self.automatic_optimization = False  # the method decides when its images move
        self.number, self.spec, self.resources = number, spec, resources
        self.networks = [network or resources.network for network in spec.networks]
        self.methods = [spec.method() for _ in self.networks]
        self.method = self.methods[0]
        self.part = part
        # By number, so that an expert draws the same on any number of ranks.
        self.rng = stream(resources.seed, "expert", number)
        others = range(1, len(self.networks))
        self.rngs = [self.rng, *(stream(resources.seed, "expert", number, "turn", n) for n in others)]
        self.balance = Balance(spec.rotation.balance if spec.rotation else "none", len(self.networks))
        sampling = resources.real_sampling
        # One for each architecture, as each has images that represent a class to it.
        self.chosen = [ChosenBatches(sampling) if sampling else None for _ in self.networks]
        # One for each architecture, as their losses differ.
        self.courses = [Course(resources.schedule) for _ in self.networks]
        self.regulariser = resources.regulariser if self.method.trainable else None
        # A separate stream: with a regulariser, the method still draws what it draws without one.
        self.rng_regulariser = stream(resources.seed, "regulariser", number)
        self.iteration = 0
        self.matching_norm = 0.0
        self.last_scalars: dict[str, float] = {}
        self.synthetic = self._blank_set()
        self._real: RealSet | None = None

    def _blank_set(self) -> SyntheticSet:
        """Return a set of zeros with everything that the method learns."""
        whole, method = self.resources.whole, self.method
        provenance = provenance_of(
            whole,
            method=self.spec.name,
            expert=self.number,
            ipc=self.spec.ipc,
            space=whole.space if method.space == "standardised" else method.space,
            tiling=method.tiling,
            settings=self.resources.settings,
        )
        shape = (len(whole.classes) * self.spec.ipc, whole.channels, whole.size, whole.size)
        learned_rate = None if method.step_size is None else torch.tensor(method.step_size)
        soft_labels = torch.zeros(shape[0], len(whole.classes)) if method.learns_labels else None
        average = None if self._ema is None else torch.zeros(shape)
        return SyntheticSet(
            torch.zeros(shape), provenance, learned_rate, soft_labels, average, whole.whitening
        )

    @property
    def total(self) -> int:
        """Number of iterations of the expert's method."""
        return self.method.iterations

    @property
    def images_seen(self) -> int:
        """Images sent forward so far, counting a backward pass as two."""
        whole = self.resources.whole
        per_class = len(self.part) // len(whole.classes)
        # A method that does not know its number counts as nothing.
        per_iteration = self.method.forward_passes(len(whole.classes), self.spec.ipc, per_class) or 0.0
        if self.resources.real_sampling is not None:
            sampling, batches = self.resources.real_sampling, self.method.class_batches
            per_iteration += sampling.forward_passes(len(self.part), batches)
        if self.regulariser is not None:
            decoded = len(self.synthetic.images) * self.method.tiling.per_image
            per_iteration += self.regulariser.forward_passes(decoded, len(whole))
        return int(self.iteration * per_iteration)

    def new_network(self, turn: int, rng: torch.Generator) -> Network:
        """Build a network of the architecture whose turn it is, on the expert's device."""
        whole = self.resources.whole
        shape = {"channels": whole.channels, "classes": len(whole.classes), "size": whole.size}
        network = build(self.networks[turn], **shape, rng=rng)
        if self.resources.warm:
            drawn = int(torch.randint(len(self.resources.warm), (), generator=rng))
            network.load_state_dict(self.resources.warm[drawn])
        return network.to(self.synthetic.images.device)

    def context(self, iteration: int, turn: int | None = None) -> IterationContext:
        """Return everything that the method of an architecture may read in an iteration.

        Args:
            iteration: Index of the iteration, from 0.
            turn: Index of the architecture; None for the one whose turn it is.
        """
        turns = len(self.networks)
        turn = iteration % turns if turn is None else turn
        device = self.synthetic.images.device
        whole = self.resources.real_on(device)
        if self._real is None or self._real.device != device:
            # Once per device, since a subset copies its images.
            self._real = whole.subset(self.part)
        trajectories = self.resources.trajectories.get(self.number)
        banks = self.resources.banks.get(self.number)
        # Turns that this architecture has had: its networks age as they do without other architectures.
        turns_had = -(-(iteration - turn) // turns)
        return IterationContext(
            turns_had,
            self.synthetic,
            self._real,
            whole,
            functools.partial(self.new_network, turn),
            self.rngs[turn],
            trajectories[turn] if trajectories else None,
            self.resources.pretrained_on(self.number, device),
            turns,
            self.resources.matched_with(device),
            self.resources.perturbation,
            # By iteration, so that it needs no place in checkpoints.
            stream(self.resources.seed, "options", self.number, turn, turns_had),
            self.chosen[turn],
            banks[turn] if banks else None,
        )

    @property
    def _ema(self) -> float | None:
        """Decay of the moving average of the images; None without one."""
        if not self.method.trainable or self.resources.ema is None:
            return self.method.ema
        return self.resources.ema

    def regularisation(self) -> torch.Tensor:
        """Return the gradient of the regulariser by the current images."""
        assert self.regulariser is not None
        device = self.synthetic.images.device
        networks = self.resources.regulariser_networks_on(device)
        loss = self.regulariser.loss(
            self.synthetic, self.resources.real_on(device), networks, self.rng_regulariser
        )
        return torch.autograd.grad(loss, self.synthetic.images)[0]

    def start(self) -> None:
        """Fill the set's initial images."""
        # The first one last, so that its images stay.
        for turn, method in reversed([*enumerate(self.methods)]):
            method.start(self.context(0, turn))
        self.synthetic.update_average(0.0)  # with decay 0 the average becomes the initial images

    def iterate(self, iteration: int, optimizer: Any, owner: pl.LightningModule) -> None:
        """Run one iteration of the method, or nothing once the method's own iterations are done.

        Args:
            iteration: Index of the iteration, from 0.
            optimizer: The set's optimiser; None for a set that never moves.
            owner: The module that the Trainer runs, for its backward pass.

        Raises:
            InputError: The loss, the images or anything learned with them is not finite.
        """
        if iteration >= self.total:
            return
        turn = iteration % len(self.methods)
        if self.resources.schedule is not None and optimizer is not None:
            set_rates(optimizer, self.courses[turn].factor(iteration, self.total))
        apply = Apply(
            self, optimizer, owner, self.balance.factor(turn), self.resources.matched_over(self.spec.ipc)
        )
        scalars = self.methods[turn].iterate(self.context(iteration), apply)
        if not isinstance(scalars, Mapping):
            allowed = "a method whose iterate() returns numbers by name, to be drawn as curves"
            raise InputError("method", f"{type(scalars).__name__} returned by iterate()", allowed)
        if (watched := scalars.get("objective", scalars.get("loss"))) is not None:
            self.courses[turn].add(float(watched))
        prefix = f"{self.spec.rotation.words[turn]}/" if self.spec.rotation else ""
        # Those of other architectures stay until their next turn, or curves would show every A-th one alone.
        others = {name: v for name, v in self.last_scalars.items() if not name.startswith(prefix)}
        self.last_scalars = {**others, **{f"{prefix}{name}": float(v) for name, v in scalars.items()}}
        if self._ema is not None:
            self.synthetic.update_average(self._ema)
        if apply.moved:
            # An iteration that the method skipped keeps the norm of the last one that moved.
            self.matching_norm = float(apply.gradient.norm())
            self.balance.add(turn, self.matching_norm / apply.factor)
        self.iteration = iteration + 1
        self._require_finite(iteration)

    def _require_finite(self, iteration: int) -> None:
        # One number per tensor: a sum is finite only if every entry is.
        sums = {name: float(tensor.sum()) for name, tensor in self.synthetic.state_dict().items()}
        for name, value in {**self.last_scalars, **sums}.items():
            if not math.isfinite(value):
                where = f"expert {self.number} ({self.spec.name}) at iteration {iteration}"
                advice = "the last good checkpoint is kept, try smaller learning rates in method"
                raise InputError(f"{name} of {where}", value, f"finite numbers; {advice}")

    def configure_model(self) -> None:
        """Fill the initial images when run alone, without a mixture."""
        if self.iteration == 0:  # not where a checkpoint is resumed
            self.start()

    def configure_optimizers(self) -> Any:
        """Return the set's optimiser; None for a set that never moves.

        Raises:
            InputError: The method is trainable, but lists nothing to train.
        """
        groups = self.method.parameter_groups(self.synthetic)
        if self.method.trainable and not groups:
            allowed = "a method whose parameter_groups has the images, or with trainable = False"
            raise InputError("method", self.spec.name, allowed)
        optimizer = self.method.image_optimizer or self.resources.optimizer
        return optimizer(groups) if groups else None

    def train_dataloader(self) -> DataLoader[int]:
        """Return a loader of the remaining iterations."""
        return ticks(self.iteration, self.total)

    def training_step(self, iteration: int, _: int) -> None:
        """Run one iteration, without a mixture."""
        self.iterate(iteration, self.optimizers(), self)

    def scalars(self) -> Mapping[str, float]:
        """Return the scalars of the last iteration, for the curves."""
        norms = {}
        if self.spec.rotation is not None:
            words = [f"{word}/matching_norm" for word in self.spec.rotation.words]
            norms = {word: n for word, n in zip(words, self.balance.norms, strict=True) if n}
        return {f"expert_{self.number}/{name}": v for name, v in {**self.last_scalars, **norms}.items()}

    def state(self) -> ExpertState:
        """Return everything the next iteration depends on, except the optimiser."""
        return state_of(self)

    def take_state(self, state: ExpertState) -> None:
        """Restore what :meth:`state` returned."""
        restore(self, state)
