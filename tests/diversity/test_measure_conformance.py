"""Every measure, as conf/diversity/measure has it and in every other variant, keeps what measures promise."""

from itertools import product
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from moe_distill.diversity import measures, unpaired
from moe_distill.diversity.measures import CKA, HSIC, DistanceCorrelation, DistanceCovariance, PairedCosine
from moe_distill.testing import MeasureConformance

CONFIGS = sorted((Path(__file__).parents[2] / "conf/diversity/measure").glob("*.yaml"))
CENTRINGS = ("double", "u")
VARIANTS = [
    *(kind(kernel=k, centring=c) for kind, k, c in product((CKA, HSIC), ("linear", "rbf"), CENTRINGS)),
    *(DistanceCovariance(centring=c) for c in CENTRINGS),
    *(DistanceCorrelation(l2norm=l2norm, centring=c) for l2norm, c in product((False, True), CENTRINGS)),
    PairedCosine(),
]
EVERY = {
    measure.title: measure for measure in [*VARIANTS, *(instantiate(OmegaConf.load(p)) for p in CONFIGS)]
}


class TestMeasures(MeasureConformance):
    @pytest.fixture(params=EVERY.values(), ids=EVERY)
    def tried(self, request):
        return request.param


def test_all_measures_are_configured():
    assert len(CONFIGS) >= 12
    targets = {OmegaConf.load(path)["_target_"].rpartition(".")[2] for path in CONFIGS}
    classes = {
        name
        for module in (measures, unpaired)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, measures.Measure) and not name.startswith("_")
    }
    assert targets == classes - {"Measure"}


@pytest.mark.parametrize("measure", EVERY.values(), ids=EVERY)
def test_the_least_rows_are_those_that_the_estimator_needs(measure):
    centring = vars(measure).get("centring")
    assert measure.least_rows == {"u": 4, "double": 2, None: 1}[centring]
