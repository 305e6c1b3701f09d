"""The contract between a distillation method and the expert that runs it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol

import torch

from moe_distill.data.initialization import Initial, needs_images, random_real
from moe_distill.data.normalization import Space
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError
from moe_distill.methods.presets.rows import Presets, Settings, published_row
from moe_distill.models.base import Network
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling
from moe_distill.teachers.feature_initializer import FeatureInitializer
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.teachers.trajectories import Trajectories, TrajectoryPool


class Apply(Protocol):
    """The one way images move: backward, terms of others, optimiser step, clear."""

    def __call__(
        self, loss: torch.Tensor | None = None, *, grads: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """Move the set by the gradient of ``loss``, or by ``grads`` (by parameter name) where they come
        ready-made.
        """


@dataclass(frozen=True)
class IterationContext:
    """What a method may see in one iteration.

    Attributes:
        iteration: From 0.
        syn: The expert's own set.
        real: The expert's own part of the real data.
        whole: All real data, for networks that a method is told to train on all of it.
        new_network: Builds a network of the distilling architecture, initialised from the generator it is
            given.
        rng: The expert's random stream.
        trajectories: Its teachers', where its method asks for them.
        pretrained: The networks of each of the method's pools by its name (:attr:`Method.all_pools`), frozen,
            in evaluation mode.
    """

    iteration: int
    syn: SyntheticSet
    real: RealSet
    whole: RealSet
    new_network: Callable[[torch.Generator], Network]
    rng: torch.Generator
    trajectories: Trajectories | None = None
    pretrained: Mapping[str, Sequence[Network]] = field(default_factory=dict)


class Method(ABC):
    """A distillation method: one instance an expert, plain PyTorch.

    A method decides *when* images move, by calling ``apply``, never *how*. It reads real images from
    ``context.real`` alone, unless its networks are told to see all of them.

    Attributes:
        iterations: Iterations it runs; 0 for a selection.
        trainable: False if its images never move.
        row_by: Which ipc picks the row of published settings, the nearest in ratio: that of the whole budget,
            or the expert's own.
        space: What the stored numbers are.
        step_size: First value of the step size that is learned with the images; None if none is.
        learns_labels: Whether the set holds soft labels: learned with the images, or a teacher's.
        ema: Decay of the moving average of the images, taken after each iteration; None keeps none.
        teachers: Those whose trajectories it matches; None if it matches none.
        pools: Networks trained on real data that it asks for, by the name under which it finds them in
            ``context.pretrained``; its initialiser asks for its own (:attr:`all_pools`).
        init: What the images start as, where ``prepare`` asks.
        labeller: The pool whose network labels students' batches where their recipe asks for it; None if none
            can.
        pieces: Patches a side of which each stored image is stitched.
        moves_by_class: Whether ``apply`` moves one class at a time, so that an iteration is as many steps.
        presets: Published settings by data set; a configuration and :meth:`published` look them up.
        revision: Raised by whoever changes the images that equal settings give: older sets are then no longer
            found.
    """

    iterations: int = 0
    step_size: float | None = None
    learns_labels: bool = False
    ema: float | None = None
    teachers: TrajectoryPool | None = None
    pools: Mapping[str, PretrainedNetworks] = MappingProxyType({})
    init: Initial = staticmethod(random_real)
    labeller: PretrainedNetworks | None = None
    pieces: int = 1
    moves_by_class: ClassVar[bool] = False
    trainable: ClassVar[bool] = True
    row_by: ClassVar[Literal["budget", "own"]] = "own"
    presets: ClassVar[Presets] = {}
    space: ClassVar[Space] = "standardised"
    revision: ClassVar[int] = 0

    @classmethod
    def published(cls, data: str, ipc: int, noe: int = 1, normalisation: str = "channel") -> Settings:
        """Return the settings that its authors published for a data set, nested as its parts are; maybe none.

        Args:
            data: The data set's name, such as ``cifar10``.
            ipc: Stored images per class of each expert.
            noe: Number of experts: some methods take the row of the whole budget (``row_by``).
            normalisation: How the data are normalised: ``channel``, ``zca`` or ``cifar10``.
        """
        by = ipc * noe if cls.row_by == "budget" else ipc
        return published_row(cls.presets, data, normalisation, by)[1]

    @property
    def tiling(self) -> Tiling:
        """How a stored image is decoded."""
        return Tiling()

    @property
    def epochs_needed(self) -> int:
        """Epochs its teachers are trained for: the largest index of a snapshot it asks for."""
        return 0

    @property
    def all_pools(self) -> Mapping[str, PretrainedNetworks]:
        """The method's pools, and that of an initialiser that looks through a network as ``init``."""
        return {
            **self.pools,
            **({"init": self.init.pool} if isinstance(self.init, FeatureInitializer) else {}),
        }

    def check(self, real: RealSet) -> None:
        """Refuse real data that the method cannot work with, before any work.

        Raises:
            InputError: It cannot.
        """
        return

    def require_images(self, ipc: int, fewest: int) -> None:
        """Refuse to make so many images of a class from too few real ones, before any work.

        What starts as noise takes none: a class may have fewer.

        Args:
            ipc: Stored images per class.
            fewest: Real images of the expert's smallest class.

        Raises:
            InputError: They are too few.
        """
        if ipc > fewest and needs_images(self.init):
            raise InputError("ipc", ipc, f"at most {fewest}, the images an expert sees of the smallest class")

    def start(self, context: IterationContext) -> None:
        """Hand an initialiser the network that it looks through, then :meth:`prepare`."""
        if isinstance(self.init, FeatureInitializer):
            self.init = replace(self.init, network=context.pretrained["init"][0])
        self.prepare(context)

    @abstractmethod
    def prepare(self, context: IterationContext) -> None:
        """Fill the set's initial images and build what the method keeps."""

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Run one iteration; return scalars to show, the matching loss as ``loss``."""
        return {}

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return the optimiser's groups: each trainable tensor of the set with its own settings."""
        return []

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float | None:
        """Return images sent forward in one iteration, a backward pass counted as two (for cost forecasts).

        None where the method does not say, whose cost is then not foretold; a selection has no iterations.

        Args:
            classes: Number of classes.
            ipc: Stored images per class.
            per_class: Real images per class in the expert's part.
        """
        return None if self.iterations else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return what the next iteration depends on besides images and the random stream."""
        return {}

    def load_state_dict(self, state: dict[str, Any], context: IterationContext) -> None:
        """Go on from what :meth:`state_dict` returned."""
        return


class Regulariser(Protocol):
    """A differentiable function of an expert's whole set, carried by any method that moves images."""

    @property
    def pools(self) -> Sequence[PretrainedNetworks]:
        """Networks trained on real data that it asks for, one pool an architecture."""

    @property
    def title(self) -> str:
        """What results call it."""

    def check(self, real: RealSet, trained_on: Sequence[RealSet]) -> None:
        """Refuse networks that it cannot work with, before any work.

        Args:
            real: All real training data.
            trained_on: What the networks of each pool are trained on.

        Raises:
            InputError: There are such.
        """

    def forward_passes(self, decoded: int, real: int) -> float:
        """Return images sent forward in one evaluation, a backward pass counted as two (for cost forecasts).

        Args:
            decoded: Decoded images of the expert's set.
            real: All real training images.
        """

    def loss(
        self, syn: SyntheticSet, real: RealSet, networks: Sequence[Sequence[Network]], rng: torch.Generator
    ) -> torch.Tensor:
        """Return a scalar.

        Args:
            syn: The expert's set.
            real: All real training data.
            networks: Those of each pool, frozen, in evaluation mode.
            rng: The regulariser's random stream.
        """


def fill_by_class(syn: SyntheticSet, images_of: Callable[[int], torch.Tensor]) -> None:
    """Put what ``images_of`` gives for class c, (ipc, C, H, W) in the stored space, in the place of its
    images.

    Raises:
        ValueError: It gives another number of images.
    """
    ipc = syn.provenance.ipc
    with torch.no_grad():
        for c in range(len(syn.provenance.classes)):
            images = images_of(c)
            if len(images) != ipc:  # one image would be taken ipc times
                raise ValueError(f"{len(images)} images of class {c} where the set holds {ipc}")
            syn.images[c * ipc : (c + 1) * ipc] = images


def squared_distance_of_means(real_ND: torch.Tensor, synthetic_MD: torch.Tensor) -> torch.Tensor:
    """Return ‖mean ψ(real) − mean ψ(synthetic)‖², summed over the D features (DM Eq. 4); real carries no
    gradient.
    """
    return (real_ND.detach().mean(0) - synthetic_MD.mean(0)).square().sum()
