"""Where a run computes: all that a user decides about Lightning's Trainer."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch

from moe_distill.errors import FieldError
from moe_distill.experts.strategy import ExpertParallelStrategy
from moe_distill.validation.values import checked
from moe_distill.validation.wording import Where

Devices = Annotated[
    int, Where(lambda n: 1 <= n <= 1000, "a whole number of at least 1; CUDA_VISIBLE_DEVICES says which GPUs")
]
# A stage's module keeps its clock: one pass over the iterations that are left, nothing cut, repeated or
# added.
_FIXED = {"max_epochs": 1, "limit_val_batches": 0, "use_distributed_sampler": False}
_QUIET = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@checked
@dataclass(frozen=True)
class Hardware:
    """Where, and on how many devices; nothing else, as no other option of a Trainer is in the keys of
    results.

    Args:
        accelerator: ``auto`` takes GPUs where there are any.
        devices: Processes of the mixture, on GPUs one a device.
        strategy: How several processes share the experts out.

    Raises:
        FieldError: This machine lacks them, or several processes have no strategy.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Devices = 1
    strategy: ExpertParallelStrategy | None = None

    def __post_init__(self) -> None:
        """Check the machine before any work."""
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            raise FieldError("accelerator", "gpu", "cpu or auto: no GPU is visible here")
        if self.devices > 1 and self.strategy is None:
            raise FieldError("devices", self.devices, "1, or experts over processes: trainer=expert_parallel")
        if self.accelerator != "cpu" and 0 < torch.cuda.device_count() < self.devices:
            raise FieldError(
                "devices", self.devices, f"at most {torch.cuda.device_count()}, the GPUs visible here"
            )

    def __call__(self, **more: Any) -> pl.Trainer:
        """Return a Trainer over all devices.

        Args:
            more: Further arguments of the Trainer, or others in the place of these.
        """
        mine = {"accelerator": self.accelerator, "devices": self.devices, "strategy": self.strategy or "auto"}
        return pl.Trainer(**{**mine, **_FIXED, **_QUIET, **more})
