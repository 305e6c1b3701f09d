"""The measures of diversity, by name: functions of two feature matrices, lower is more diverse."""

from moe_distill.diversity.measures import (
    CKA,
    HSIC,
    DistanceCorrelation,
    DistanceCovariance,
    Measure,
    PairedCosine,
)
from moe_distill.diversity.unpaired import (
    CosineAllPairs,
    NegativeCorrelation,
    NegativeEnergy,
    NegativeMMD,
    Orthogonality,
)

__all__ = [
    "CKA",
    "HSIC",
    "CosineAllPairs",
    "DistanceCorrelation",
    "DistanceCovariance",
    "Measure",
    "NegativeCorrelation",
    "NegativeEnergy",
    "NegativeMMD",
    "Orthogonality",
    "PairedCosine",
]
