"""An expert: one synthetic set, one method, one optimiser, one random stream."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.experts.roster import ExpertSpec
from moe_distill.experts.shared import SharedResources
from moe_distill.methods.base import IterationContext
from moe_distill.models.base import Network, build
from moe_distill.seeding import stream
from moe_distill.synthetic.provenance import provenance_of
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.training.trainer import ticks


class Expert(pl.LightningModule):
    """Distils its part of the real data into its synthetic set; runs alone or as a member of a mixture.

    Args:
        number: Its place in the roster.
        spec: Its method and ipc.
        part: Indices of its real images in the whole.
        resources: What all experts share.
    """

    def __init__(self, number: int, spec: ExpertSpec, part: torch.Tensor, resources: SharedResources) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.number, self.spec, self.resources = number, spec, resources
        self.method = spec.method()
        self.part = part
        self.rng = stream(resources.seed, "expert", number)
        self.regulariser = resources.regulariser if self.method.trainable else None
        self.rng_regulariser = stream(resources.seed, "regulariser", number)
        self.iteration = 0
        self.matching_norm = 0.0
        self.shown: dict[str, float] = {}
        self.synthetic = self._blank()
        self._real: RealSet | None = None

    def _blank(self) -> SyntheticSet:
        whole = self.resources.whole
        provenance = provenance_of(
            whole,
            method=self.spec.name,
            expert=self.number,
            ipc=self.spec.ipc,
            space=whole.space if self.method.space == "standardised" else self.method.space,
            tiling=self.method.tiling,
            settings=self.resources.settings,
        )
        shape = (len(whole.classes) * self.spec.ipc, whole.channels, whole.size, whole.size)
        method = self.method
        return SyntheticSet(
            torch.zeros(shape),
            provenance,
            None if method.step_size is None else torch.tensor(method.step_size),
            torch.zeros(shape[0], len(whole.classes)) if method.learns_labels else None,
            None if method.ema is None else torch.zeros(shape),
            whole.whitening,
        )

    @property
    def total(self) -> int:
        """Iterations of the expert's method."""
        return self.method.iterations

    @property
    def images_seen(self) -> int:
        """Forward equivalents so far."""
        whole = self.resources.whole
        per_class = len(self.part) // len(whole.classes)
        each = (
            self.method.forward_passes(len(whole.classes), self.spec.ipc, per_class) or 0.0
        )  # where it does not say
        if self.regulariser is not None:
            decoded = len(self.synthetic.images) * self.method.tiling.per_image
            each += self.regulariser.forward_passes(decoded, len(whole))
        return int(self.iteration * each)

    def new_network(self, rng: torch.Generator) -> Network:
        """Build a network of the expert's distilling architecture on its device."""
        whole = self.resources.whole
        shape = {"channels": whole.channels, "classes": len(whole.classes), "size": whole.size}
        return build(self.spec.network or self.resources.network, **shape, rng=rng).to(
            self.synthetic.images.device
        )

    def context(self, iteration: int) -> IterationContext:
        """Return what the method may see."""
        device = self.synthetic.images.device
        whole = self.resources.real_on(device)
        if self._real is None or self._real.device != device:
            self._real = whole.subset(self.part)
        trajectories = self.resources.trajectories.get(self.number)
        networks = self.resources.pretrained_on(self.number, device)
        return IterationContext(
            iteration, self.synthetic, self._real, whole, self.new_network, self.rng, trajectories, networks
        )

    def regularisation(self) -> torch.Tensor:
        """Return the gradient of the regulariser by the images as they are."""
        assert self.regulariser is not None
        device = self.synthetic.images.device
        networks = self.resources.regulariser_networks_on(device)
        loss = self.regulariser.loss(
            self.synthetic, self.resources.real_on(device), networks, self.rng_regulariser
        )
        return torch.autograd.grad(loss, self.synthetic.images)[0]

    def start(self) -> None:
        """Fill the set's initial images."""
        self.method.start(self.context(0))
        self.synthetic.update_average(0.0)

    def iterate(self, iteration: int, optimizer: Any, owner: pl.LightningModule) -> None:
        """Run one iteration of the method; the clock stops at the method's own number of iterations.

        Args:
            iteration: From 0.
            optimizer: The set's optimiser; None for a set that never moves.
            owner: The module the Trainer runs, for its backward pass.

        Raises:
            InputError: The matching loss, the images or what is learned with them are not finite.
        """
        if iteration >= self.total:
            return
        apply = Apply(self, optimizer, owner)
        scalars = self.method.iterate(self.context(iteration), apply)
        self.shown = {name: float(value) for name, value in scalars.items()}
        if self.method.ema is not None:
            self.synthetic.update_average(self.method.ema)
        if apply.moved:
            self.matching_norm = float(apply.gradient.norm())
        self.iteration = iteration + 1
        self._require_finite(iteration)

    def _require_finite(self, iteration: int) -> None:
        held = {name: float(tensor.sum()) for name, tensor in self.synthetic.state_dict().items()}
        for name, value in {**self.shown, **held}.items():
            if not math.isfinite(value):
                where = f"expert {self.number} ({self.spec.name}) at iteration {iteration}"
                allowed = (
                    "finite numbers; the last good checkpoint is kept, try smaller learning rates in method"
                )
                raise InputError(f"{name} of {where}", value, allowed)

    def configure_model(self) -> None:
        """Start from the initial images when run alone."""
        if self.iteration == 0:
            self.start()

    def configure_optimizers(self) -> Any:
        """Return the set's optimiser; None for a set that never moves."""
        groups = self.method.parameter_groups(self.synthetic)
        return self.resources.optimizer(groups) if groups else None

    def train_dataloader(self) -> DataLoader[int]:
        """Hand out the iterations that are left."""
        return ticks(self.iteration, self.total)

    def training_step(self, iteration: int, _: int) -> None:
        """Run one iteration alone."""
        self.iterate(iteration, self.optimizers(), self)

    def scalars(self) -> Mapping[str, float]:
        """Return what the curves show of the last iteration."""
        return {f"expert_{self.number}/{name}": value for name, value in self.shown.items()}

    def state(self) -> dict[str, Any]:
        """Return everything the next iteration depends on, the optimiser apart."""
        return {
            "images": {k: v.detach().cpu() for k, v in self.synthetic.state_dict().items()},
            "method": self.method.state_dict(),
            "rng": self.rng.get_state(),
            "rng_regulariser": self.rng_regulariser.get_state(),
            "iteration": self.iteration,
            "matching_norm": self.matching_norm,
        }

    def take_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        self.synthetic.load_state_dict(state["images"])
        self.method.load_state_dict(state["method"], self.context(state["iteration"]))
        self.rng.set_state(state["rng"])
        self.rng_regulariser.set_state(state["rng_regulariser"])
        self.iteration, self.matching_norm = state["iteration"], state["matching_norm"]


class Apply:
    """The one place images move: backward, the expert's own term, those of others inside the optimiser's
    step, clear.

    It sums the matching gradients of the iteration, before any term is added, for their norm. The expert's
    regulariser is added to every step of all images; where a method moves class by class, to the first of an
    iteration.
    """

    def __init__(self, expert: Expert, optimizer: Any, owner: pl.LightningModule) -> None:
        self.expert, self.optimizer, self.owner = expert, optimizer, owner
        self.gradient = torch.zeros_like(expert.synthetic.images)
        self.moved = False

    def __call__(
        self, loss: torch.Tensor | None = None, *, grads: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Move the set by the gradient of ``loss``, or by ready-made ``grads``; return the loss, detached."""
        if loss is not None:
            self.owner.manual_backward(loss)
        for name, given in (grads or {}).items():
            self.expert.synthetic.get_parameter(name).grad = given
        if (grad := self.expert.synthetic.images.grad) is not None:
            self.gradient += grad
            if self.expert.regulariser is not None and not (self.moved and self.expert.method.moves_by_class):
                grad += self.expert.regularisation()
        self.optimizer.step()
        self.moved = True
        self.optimizer.zero_grad(set_to_none=False)
        return self.gradient.new_zeros(()) if loss is None else loss.detach()
