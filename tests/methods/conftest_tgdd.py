"""The arrays of TGDD's published program, as networks, draws, images and trajectories of ours."""

from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parameters_to_vector

from moe_distill.data.augmentation.dsa import Color, Crop, Cutout, Plan
from moe_distill.data.real_set import RealSet
from moe_distill.models.convnet import ConvNet
from moe_distill.synthetic.provenance import provenance_of
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tgdd.npz")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def array(key):
    return torch.from_numpy(GOLDEN[key])


def network_of(flat, size, classes):
    """A ConvNet with the golden weights: all convolutions, then all norms, then the classifier."""
    network = ConvNet(channels=3, classes=classes, size=size, width=4 / 128).double().eval()
    state = network.state_dict()
    names = [*state]
    blocks, head = names[:-2], names[-2:]
    convs = [name for i, name in enumerate(blocks) if i % 4 < 2]
    norms = [name for i, name in enumerate(blocks) if i % 4 >= 2]
    parts = flat.double().split([state[name].numel() for name in (*convs, *norms, *head)])
    for name, part in zip((*convs, *norms, *head), parts, strict=True):
        state[name] = part.view(state[name].shape)
    network.load_state_dict(state)
    return network


def plan_of(draws):
    """The golden draws: of brightness, saturation and contrast, the crop's shift, the square's centre."""
    u, shift, centre = draws[:3], draws[4:6].long(), draws[6:8].long()
    return Plan(((Color(), u[None]), (Crop(), shift[None]), (Cutout(), centre[None])))


def real_of(pixels, labels, classes):
    names = tuple(map(str, range(classes)))
    return RealSet((pixels * 255).round().to(torch.uint8), labels, names, MEAN, STD, "golden", "test")


def stored(images, classes, ipc):
    real = real_of(images[:1], torch.zeros(1, dtype=torch.long), classes)
    provenance = provenance_of(
        real, method="tgdd", expert=0, ipc=ipc, space="raw", tiling=Tiling(2, fill=0.5)
    )
    return SyntheticSet(images.double(), provenance)


class Recorded:
    """The golden snapshots as trajectories."""

    def __init__(self):
        self.weights = {}

    def __len__(self):
        return 2

    def snapshot(self, teacher, epoch):
        network = network_of(array(f"step.snapshot.{teacher}.{epoch}"), 16, 3)
        return parameters_to_vector(network.parameters()).detach()
