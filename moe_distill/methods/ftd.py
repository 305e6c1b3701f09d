"""FTD: trajectory matching with flat trajectories.

Du, Jiang, Tan, Zhou and Li, "Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation",
CVPR 2023.
"""

from typing import ClassVar

from moe_distill.methods.mtt import MTT
from moe_distill.methods.presets.ftd import PRESETS
from moe_distill.methods.presets.rows import Presets


class FTD(MTT):
    """MTT with teachers that train towards flat minima and a moving average of the images.

    Both are settings: the optimiser in the teachers' recipe (GSAM) and ``ema``. The published program
    evaluates the average with a network already trained on the last images; here networks are always fresh.
    """

    presets: ClassVar[Presets] = PRESETS
