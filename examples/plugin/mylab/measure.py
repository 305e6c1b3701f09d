"""Second moments: how far apart the directions are in which the features of two sets vary."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from moe_distill.diversity.gram import unit_rows
from moe_distill.diversity.measures import Measure


@dataclass(frozen=True)
class SecondMoments(Measure):
    """−‖F'F / N − G'G / M‖² of the Frobenius norm, for rows of length 1; 0 if both are the same."""

    paired: ClassVar[bool] = False

    def _value(self, f_ND: Tensor, g_MD: Tensor) -> Tensor:
        f_ND, g_MD = unit_rows(f_ND), unit_rows(g_MD)
        return -(f_ND.T @ f_ND / len(f_ND) - g_MD.T @ g_MD / len(g_MD)).square().sum()
