from .base import Method, fill_by_class
from .coreset import (
    First,
    Herding,
    HerdingTiled,
    KCenter,
    KCenterTiled,
    KMeans,
    KMeansTiled,
    Random,
    RandomTiled,
)
from .datm import DATM
from .dc import DC
from .dm import DM
from .dsa import DSA
from .ftd import FTD
from .idc import IDC
from .idm import IDM
from .mtt import MTT
from .ncfm import NCFM
from .rded import RDED
from .tgdd import TGDD

__all__ = [
    "DATM",
    "DC",
    "DM",
    "DSA",
    "FTD",
    "IDC",
    "IDM",
    "MTT",
    "NCFM",
    "RDED",
    "TGDD",
    "First",
    "Herding",
    "HerdingTiled",
    "KCenter",
    "KCenterTiled",
    "KMeans",
    "KMeansTiled",
    "Method",
    "Random",
    "RandomTiled",
    "fill_by_class",
]
