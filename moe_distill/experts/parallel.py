"""Experts over processes."""

from typing import Any, Literal

from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import DDPStrategy

from moe_distill.values import checked

StartMethod = Literal["spawn", "fork", "forkserver"]


@checked
class ExpertParallelStrategy(DDPStrategy):
    """DDP's processes and collectives without its wrapper: ranks hold different experts.

    Plain DDP would broadcast the first rank's images over the others' and turn the mixture into copies of one expert.

    Args:
        start_method: How processes start, inside one stage.
        more: As for :class:`pytorch_lightning.strategies.DDPStrategy`.
    """

    def __init__(self, start_method: StartMethod = "spawn", **more: Any) -> None:
        # Named, or Lightning would take the ranks to be tasks of the Slurm job it runs in, and wait for them.
        super().__init__(start_method=start_method, cluster_environment=LightningEnvironment(), **more)

    def configure_ddp(self) -> None:
        """Leave the module unwrapped."""
