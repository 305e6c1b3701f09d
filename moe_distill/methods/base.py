"""The contract between a distillation method and the expert that runs it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch

from moe_distill.data.initialization import Initial, needs_images, random_real
from moe_distill.data.normalization import Space
from moe_distill.data.real_set import RealSet
from moe_distill.errors import InputError

# The contract is one, so that all of it is imported from here.
from moe_distill.methods.context import Apply as Apply
from moe_distill.methods.context import IterationContext as IterationContext
from moe_distill.methods.context import teachers_of as teachers_of
from moe_distill.methods.presets.rows import Presets, Settings, published_row
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling
from moe_distill.teachers.bank import BankSpec
from moe_distill.teachers.network_initializer import NetworkInitializer
from moe_distill.teachers.pool import PretrainedNetworks
from moe_distill.teachers.recorded_networks import RecordedNetworks
from moe_distill.teachers.trajectories import TrajectoryPool
from moe_distill.training.recipe import OptimizerFactory


class Method(ABC):
    """A distillation method in plain PyTorch; each expert has one instance.

    A method decides *when* images move, by calling ``apply``, never *how*. It reads real images only from
    ``context.real``, unless its networks are configured to see all of them.

    Attributes:
        iterations: Number of iterations; 0 for a selection of real images.
        trainable: False if its images never move.
        row_by: Which ipc selects the row of published settings (nearest in ratio): ``budget``, the ipc of all
            experts together, or ``own``, the expert's.
        space: What the stored numbers are: standardised or raw pixels.
        step_size: Initial value of the step size that is learned with the images; None if none is learned.
        learns_labels: Whether the set holds soft labels, either learned with the images or from a teacher.
        ema: Decay of the moving average of the images, updated after each iteration; None for no average.
        teachers: The pool whose trajectories it matches; None if it matches none.
        bank: The bank of means under these teachers' snapshots that it reads; None if it reads none.
        pools: Pretrained networks that it needs, by the name under which it finds them in
            ``context.pretrained``. The initialiser's pool is added in :attr:`all_pools`.
        init: Initial images, if ``prepare`` uses it.
        labeller: The pool whose network labels students' batches if their recipe asks for it, or None.
        pieces: Patches per side that each stored image is stitched from.
        balance: How architectures that take turns are balanced, unless the roster sets it.
        matches_union: Whether it can match earlier sets together with its own (``context.matched``).
        moves_by_class: Whether each ``apply`` moves one class, so that an iteration takes one step per class.
        perturbs: Whether it matches under ``context.to_match`` of its networks, as ``perturbation`` needs.
        presets: Published settings by data set, read by the configuration and by :meth:`published`.
        revision: Raise it when equal settings come to give other images: older sets are then not found.
    """

    iterations: int = 0
    step_size: float | None = None
    learns_labels: bool = False
    ema: float | None = None
    teachers: TrajectoryPool | None = None
    bank: BankSpec | None = None
    # Read-only, because all methods share the default.
    pools: Mapping[str, PretrainedNetworks] = MappingProxyType({})
    # Static, or calling it through an instance would pass the method as an argument.
    init: Initial = staticmethod(random_real)
    labeller: PretrainedNetworks | None = None
    pieces: int = 1
    balance: ClassVar[Literal["none", "norm"]] = "norm"
    matches_union: ClassVar[bool] = False
    moves_by_class: ClassVar[bool] = False
    perturbs: ClassVar[bool] = False
    trainable: ClassVar[bool] = True
    row_by: ClassVar[Literal["budget", "own"]] = "own"
    presets: ClassVar[Presets] = {}
    space: ClassVar[Space] = "standardised"
    revision: ClassVar[int] = 0

    @classmethod
    def published(cls, data: str, ipc: int, noe: int = 1, normalisation: str = "channel") -> Settings:
        """Return the settings that the authors published for a data set; empty if there are none.

        Settings of a part, such as a queue, are nested under its name.

        Args:
            data: The data set's name, such as ``cifar10``.
            ipc: Stored images per class of each expert.
            noe: Number of experts; methods with ``row_by = "budget"`` take the row of ``ipc * noe``.
            normalisation: How the data are normalised: ``channel``, ``zca`` or ``cifar10``.

        Raises:
            InputError: A number is none, or below 1.

        Example:
            >>> from moe_distill.methods.dc import DC
            >>> DC.published("cifar10", ipc=10)
            {'iterations': 1001, 'outer': 10, 'inner': 50}
        """
        for name, number in (("ipc", ipc), ("noe", noe)):
            if not isinstance(number, int) or number < 1:
                raise InputError(name, number, "a whole number of at least 1")
        row_ipc = ipc * noe if cls.row_by == "budget" else ipc
        return published_row(cls.presets, data, normalisation, row_ipc)[1]

    @property
    def class_batches(self) -> int:
        """Real batches of each class that an iteration takes by ``context.class_batch``."""
        return 0

    @property
    def tiling(self) -> Tiling:
        """How a stored image is decoded."""
        return Tiling()

    @property
    def image_optimizer(self) -> OptimizerFactory | None:
        """Builds the optimiser of its images in place of the run's; None for the run's."""
        return None

    @property
    def epochs_needed(self) -> int:
        """Epochs its teachers must train for: the largest snapshot index that it reads."""
        return 0

    @property
    def all_pools(self) -> Mapping[str, PretrainedNetworks | RecordedNetworks]:
        """The method's pools, plus that of an initialiser that looks through networks, named ``init``."""
        if isinstance(self.init, NetworkInitializer):
            return {**self.pools, "init": self.init.pool}
        return self.pools

    def check(self, real: RealSet) -> None:
        """Reject real data that the method cannot work with, before any computation.

        Raises:
            InputError: The method cannot work with these data.
        """
        return

    def require_images(self, ipc: int, fewest: int) -> None:
        """Reject an ipc for which the expert's smallest class has too few real images.

        Args:
            ipc: Stored images per class.
            fewest: Real images of the expert's smallest class.

        Raises:
            InputError: There are fewer real images than initial images to take from them.
        """
        # Noise is no real image: a set that starts from it may be larger than the class.
        if ipc > fewest and needs_images(self.init):
            raise InputError("ipc", ipc, f"at most {fewest}, the images an expert sees of the smallest class")

    def start(self, context: IterationContext) -> None:
        """Give an initialiser that looks through networks the loaded ones, then call :meth:`prepare`."""
        # Only now are pretrained networks on the device; the initialiser is frozen, hence the copy.
        if isinstance(self.init, NetworkInitializer):
            self.init = self.init.through(context.pretrained["init"])
        self.prepare(context)

    @abstractmethod
    def prepare(self, context: IterationContext) -> None:
        """Fill the set's initial images and build the method's own state."""

    def iterate(self, context: IterationContext, apply: Apply) -> dict[str, torch.Tensor]:
        """Run one iteration and return scalars to log, the matching loss under ``loss``.

        Under ``objective`` it may return what ``schedule=plateau`` watches in place of the loss.
        """
        return {}

    def parameter_groups(self, syn: SyntheticSet) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups: the set's trainable tensors with their settings."""
        return []

    def forward_passes(self, classes: int, ipc: int, per_class: int) -> float | None:
        """Return the images sent forward in one iteration, counting a backward pass as two forward passes.

        Used for cost forecasts; None means unknown, and then no cost is forecast.

        Args:
            classes: Number of classes.
            ipc: Stored images per class.
            per_class: Real images per class in the expert's part.
        """
        return None if self.iterations else 0.0  # a selection has no iterations, so it costs nothing

    def spared_passes(self, classes: int, per_class: int) -> float:
        """Return the forward passes that the bank spares one iteration; arguments are those of the cost."""
        return 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return all state that the next iteration needs, except the images and the random stream."""
        return {}

    def load_state_dict(self, state: dict[str, Any], context: IterationContext) -> None:
        """Restore what :meth:`state_dict` returned."""
        return


def fill_by_class(syn: SyntheticSet, images_of: Callable[[int], torch.Tensor]) -> None:
    """Fill the set's images class by class with what ``images_of`` returns.

    Args:
        syn: The set to fill.
        images_of: Returns the images (ipc, C, H, W) of a class, in the stored space.

    Raises:
        InputError: ``images_of`` returns something else, which a user's own initialiser may do.
    """
    ipc, shape = syn.provenance.ipc, (syn.provenance.ipc, *syn.images.shape[1:])
    with torch.no_grad():  # the images are a leaf, which autograd does not let be written in place
        for c in range(len(syn.provenance.classes)):
            images = images_of(c)
            # Without this check broadcasting would silently copy a single image ipc times.
            made = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
            if made != shape:
                raise InputError("init", f"{made} for class {c}", f"a function that returns a tensor {shape}")
            syn.images[c * ipc : (c + 1) * ipc] = images


def squared_distance_of_means(real_ND: torch.Tensor, synthetic_MD: torch.Tensor) -> torch.Tensor:
    """Return ‖mean ψ(real) − mean ψ(synthetic)‖², a scalar (DM Eq. 4). Real features get no gradient.

    Example:
        >>> squared_distance_of_means(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), torch.tensor([[0.0, 1.0]]))
        tensor(5.)
    """
    return (real_ND.detach().mean(0) - synthetic_MD.mean(0)).square().sum()
