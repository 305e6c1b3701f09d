"""FTD: trajectory matching with flat trajectories.

Du, Jiang, Tan, Zhou and Li, "Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation",
CVPR 2023.
"""

from typing import ClassVar

from moe_distill.methods.mtt import MTT
from moe_distill.methods.presets.ftd import PRESETS
from moe_distill.methods.presets.rows import Presets


class FTD(MTT):
    """MTT whose teachers train towards flat minima, and whose images are averaged over the iterations.

    Both are settings: the optimiser of the teachers' recipe (GSAM) and ``ema``. The published one judges the
    average with a network that was trained on the last images before; here fresh networks do.
    """

    presets: ClassVar[Presets] = PRESETS
