"""Sets of noise that goes beyond black and white, and their files."""

import torch

from moe_distill.synthetic.provenance import Provenance
from moe_distill.synthetic.synthetic_set import SyntheticSet

CLASSES = ("cat", 'a "dog", or: not', "frög")
MEAN, STD = (0.4, 0.5, 0.3), (0.2, 0.25, 0.3)


def a_set(seed, ipc=1, channels=3, whitening=None, rate=None, soft=None, average=None, pixels=False, **more):
    """Standardised noise that goes beyond black and white, or pixels of 8 bits."""
    images = torch.randn(3 * ipc, channels, 8, 8, generator=torch.Generator().manual_seed(seed))
    if pixels:
        images = (images * 50 + 128).clamp(0, 255).round() / 255
    about = {
        "dataset": "toys",
        "data_variant": "v",
        "data_fingerprint": "d" * 64,
        "classes": CLASSES,
        "ipc": ipc,
    }
    about |= {
        "mean": MEAN[:channels],
        "std": STD[:channels],
        "expert": seed,
        "method": "mtt",
        "settings": {"lr": 0.1},
    }
    about["whitening"] = None if whitening is None else whitening.source
    rate = None if rate is None else torch.tensor(rate)
    return SyntheticSet(images, Provenance(**{**about, **more}), rate, soft, average, whitening)


def logits(seed):
    return 4 * torch.eye(3) + torch.randn(3, 3, generator=torch.Generator().manual_seed(seed))


def saved(folder, members):
    folder.mkdir()
    for number, one in enumerate(members):
        one.save(folder / f"expert_{number}.safetensors")
    return SyntheticSet.load(folder)
