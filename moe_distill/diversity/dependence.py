"""How much the sets of several experts depend on one another, measured on features of frozen networks."""

import itertools
from collections.abc import Mapping, Sequence

import torch

from moe_distill.diversity.features import features_of
from moe_distill.diversity.measures import Measure
from moe_distill.diversity.pairing import Features, matched_rows
from moe_distill.models.base import Network
from moe_distill.seeding import stream

MAX_ROWS = 1024  # per expert: a measure takes memory and time of the order of its square

Part = tuple[torch.Tensor, torch.Tensor]
"""One expert's decoded, standardised images (N, C, H, W) and their labels (N,)."""


@torch.no_grad()
def dependence(f: Features, g: Features, measure: Measure) -> float:
    """Return a measure of two sets' features, paired by index within classes; NaN if rows are too few."""
    # A constant seed: the same sets must always give the same number.
    rows_f, rows_g = matched_rows(f, g, measure.paired, "index", MAX_ROWS, stream(0, "dependence"))
    if min(len(rows_f), len(rows_g)) < measure.least_rows:
        return float("nan")
    return float(measure(f.take(rows_f).features_ND, g.take(rows_g).features_ND))


def mean_dependences(
    parts: Sequence[Part], networks: Sequence[Network], measures: Mapping[str, Measure]
) -> dict[str, float]:
    """Return each measure of the experts' features, averaged over all pairs of experts and over the networks.

    Args:
        parts: The experts' images, on the device of the networks.
        networks: Feature networks, frozen, in evaluation mode.
        measures: Measures by name.

    Returns:
        The means by name of the measure; NaN without pairs or networks.
    """
    values: dict[str, list[float]] = {name: [] for name in measures}
    for network in networks:
        features = [Features(features_of(network, images_NCHW), labels_N) for images_NCHW, labels_N in parts]
        for f, g in itertools.combinations(features, 2):
            for name, measure in measures.items():
                values[name].append(dependence(f, g, measure))
    return {name: sum(v) / len(v) if v else float("nan") for name, v in values.items()}
