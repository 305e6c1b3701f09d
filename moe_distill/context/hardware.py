"""Where a run computes: the options of Lightning's Trainer that a user may set."""

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
# A stage's module counts its own iterations, and its loader yields those that remain. So the Trainer makes
# exactly one pass, does not validate, and adds no distributed sampler, which would drop or repeat iterations.
_FIXED = {"max_epochs": 1, "limit_val_batches": 0, "use_distributed_sampler": False}
# Stages write their own checkpoints and show their own progress bar.
_QUIET = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@checked
@dataclass(frozen=True)
class Hardware:
    """The devices that a run computes on.

    There are no further options on purpose: the keys of results do not record how the Trainer is set up, so
    nothing that changes the numbers may be set here.

    Args:
        accelerator: ``auto`` takes a GPU if one is visible.
        devices: Number of processes of the mixture; on GPUs each process has its own device.
        strategy: How several processes divide the experts among them.

    Raises:
        FieldError: This machine lacks the devices, or several processes have no strategy.

    Example:
        >>> Hardware("cpu")
        Hardware(accelerator='cpu', devices=1, strategy=None)
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
        # Without any GPU, "auto" falls back to CPU processes, of which there may be any number.
        if self.accelerator != "cpu" and 0 < torch.cuda.device_count() < self.devices:
            raise FieldError(
                "devices", self.devices, f"at most {torch.cuda.device_count()}, the GPUs visible here"
            )

    def __call__(self, **overrides: Any) -> pl.Trainer:
        """Return a Trainer over all devices.

        Args:
            **overrides: Arguments of the Trainer, which replace the defaults here.
        """
        where = {
            "accelerator": self.accelerator,
            "devices": self.devices,
            "strategy": self.strategy or "auto",
        }
        return pl.Trainer(**{**where, **_FIXED, **_QUIET, **overrides})
