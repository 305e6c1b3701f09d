"""The Lightning strategy that distributes experts over processes."""

import signal
from typing import Any, Literal

from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.strategies import DDPStrategy

from moe_distill.experts.ranks import WatchedRanks
from moe_distill.validation.values import checked

StartMethod = Literal["spawn", "fork", "forkserver"]


@checked
class ExpertParallelStrategy(DDPStrategy):
    """DDP's processes and collectives without its module wrapper, because ranks hold different experts.

    Plain DDP would broadcast the first rank's images to the others and turn the mixture into copies of one
    expert.

    Args:
        start_method: How the processes of a stage are started.
        more: Further arguments of :class:`pytorch_lightning.strategies.DDPStrategy`.
    """

    def __init__(self, start_method: StartMethod = "spawn", **more: Any) -> None:
        # Set explicitly: inside a Slurm job Lightning would wait for the job's tasks as if they were ranks.
        super().__init__(start_method=start_method, cluster_environment=LightningEnvironment(), **more)

    def _configure_launcher(self) -> None:
        """Use the launcher that watches its processes, if they are spawned."""
        super()._configure_launcher()
        if self._start_method == "spawn":
            self._launcher = WatchedRanks(self, start_method="spawn")

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run a step, counted for the process that watches the ranks."""
        # Ranks meet in collectives between steps only, so a rank inside a step is one the others wait for.
        if isinstance(self._launcher, WatchedRanks):
            with self._launcher.step():
                return super().training_step(*args, **kwargs)
        return super().training_step(*args, **kwargs)

    def on_train_start(self) -> None:
        """Let SIGTERM end a rank at once."""
        # Lightning's handler would broadcast, out of step with the other ranks' collectives.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def configure_ddp(self) -> None:
        """Leave the module unwrapped: ranks hold different parameters."""
