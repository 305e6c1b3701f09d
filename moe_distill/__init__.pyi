from . import measures, methods, models
from .api.distilling import DistilledSet, coreset, distill, random_images
from .api.evaluating import evaluate
from .api.loading import load_dataset
from .api.scoring import probe, score
from .data.real_set import RealSet
from .errors import InputError
from .results.results import Results, compare
from .synthetic.synthetic_set import SyntheticSet, SyntheticUnion

__version__: str
__all__ = [
    "DistilledSet",
    "InputError",
    "RealSet",
    "Results",
    "SyntheticSet",
    "SyntheticUnion",
    "compare",
    "coreset",
    "distill",
    "evaluate",
    "load_dataset",
    "measures",
    "methods",
    "models",
    "probe",
    "random_images",
    "score",
]
