"""Small sets of known settings."""

import torch

from moe_distill.synthetic.synthetic_set import Provenance, SyntheticSet
from moe_distill.synthetic.tiling import Tiling

CLASSES, MEAN, STD = ("cat", "dog", "frög"), (0.4, 0.5), (0.2, 0.3)


def a_set(seed=0, ipc=2, rate=None, tiling=1, size=8, **changes):
    images = torch.randn(len(CLASSES) * ipc, 2, size, size, generator=torch.Generator().manual_seed(seed))
    about = {
        "data_fingerprint": "d" * 64,
        "classes": CLASSES,
        "mean": MEAN,
        "std": STD,
        "expert": seed,
        "ipc": ipc,
    }
    about |= {
        "settings": {"lr": 0.1, "nested": [1, {"a": None}]},
        "tiling": Tiling(tiling, by_column=True, fill=0.25),
    }
    about |= {"dataset": "toys", "data_variant": "v", "method": "dm"}
    provenance = Provenance(**{**about, **changes})
    return SyntheticSet(images, provenance, None if rate is None else torch.tensor(rate))
