"""Parts of a user's own, as a notebook or a script would define them."""

from dataclasses import dataclass

from torch import nn

import moe_distill as md


class TinyNet(nn.Module):
    """An ordinary module, which knows nothing of this package."""

    def __init__(self, in_channels, num_classes):
        super().__init__()
        pooled = (nn.Conv2d(in_channels, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.body = nn.Sequential(*pooled)
        self.head = nn.Linear(32, num_classes)

    def forward(self, x):
        return self.head(self.body(x))


def faded(real, c, n, rng):
    """Real images at half their contrast."""
    return real.class_batch(c, n, rng) * 0.5


class Shrinking(md.methods.Method):
    """A method that pulls the images to zero, which is gray."""

    def __init__(self, iterations, lr, init):
        self.iterations, self.lr, self.init = iterations, lr, init

    def prepare(self, context):
        ipc = context.syn.provenance.ipc
        md.methods.fill_by_class(context.syn, lambda c: self.init(context.real, c, ipc, context.rng))

    def iterate(self, context, apply):
        return {"loss": apply(context.syn.images.square().sum())}

    def parameter_groups(self, syn):
        return [{"params": [syn.images], "lr": self.lr}]


@dataclass(frozen=True)
class MeanGap(md.measures.Measure):
    """How close the means of two experts' features are."""

    def _value(self, f_ND, g_MD):
        return -(f_ND.mean(0) - g_MD.mean(0)).square().sum()
