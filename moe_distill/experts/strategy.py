"""Experts over processes."""

import contextlib
import signal
from typing import Any, Literal

from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import DDPStrategy

from moe_distill.experts.ranks import WatchedRanks
from moe_distill.validation.values import checked

StartMethod = Literal["spawn", "fork", "forkserver"]


@checked
class ExpertParallelStrategy(DDPStrategy):
    """DDP's processes and collectives without its wrapper: ranks hold different experts.

    Plain DDP would broadcast the first rank's images over the others' and turn the mixture into copies of one
    expert.

    Args:
        start_method: How processes start, inside one stage.
        more: As for :class:`pytorch_lightning.strategies.DDPStrategy`.
    """

    def __init__(self, start_method: StartMethod = "spawn", **more: Any) -> None:
        # Named, or Lightning would take the ranks to be tasks of the Slurm job it runs in, and wait for them.
        super().__init__(start_method=start_method, cluster_environment=LightningEnvironment(), **more)

    def _configure_launcher(self) -> None:
        """Start processes that are watched."""
        super()._configure_launcher()
        if self._start_method == "spawn":
            self._launcher = WatchedRanks(self, start_method="spawn")

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run a step, which whoever watches the ranks can see; they meet between steps only."""
        watched = (
            self._launcher.step() if isinstance(self._launcher, WatchedRanks) else contextlib.nullcontext()
        )
        with watched:
            return super().training_step(*args, **kwargs)

    def on_train_start(self) -> None:
        """Let SIGTERM end a rank at once: Lightning's handler would broadcast out of step with the other
        ranks.
        """
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def configure_ddp(self) -> None:
        """Leave the module unwrapped."""
