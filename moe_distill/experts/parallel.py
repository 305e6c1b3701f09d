"""Experts over processes."""

from typing import Any

from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import DDPStrategy


class ExpertParallelStrategy(DDPStrategy):
    """DDP's processes and collectives without its wrapper: ranks hold different experts.

    Plain DDP would broadcast the first rank's images over the others' and turn the mixture into copies of one expert.

    Args:
        start_method: How processes start; ``spawn`` inside one stage, ``popen`` is refused by sweeps.
        more: As for :class:`pytorch_lightning.strategies.DDPStrategy`.
    """

    def __init__(self, start_method: str = "spawn", **more: Any) -> None:
        # Named, or Lightning would take the ranks to be tasks of the Slurm job it runs in, and wait for them.
        super().__init__(start_method=start_method, cluster_environment=LightningEnvironment(), **more)  # type: ignore[arg-type]

    def configure_ddp(self) -> None:
        """Leave the module unwrapped."""
