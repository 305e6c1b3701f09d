"""What results call a diversity term: its name, and every setting that the name does not say."""

import pytest
from hydra.utils import instantiate


@pytest.mark.parametrize(
    ("given", "title"),
    [
        (["diversity=default"], "distancecorrelation-u-relu"),
        (["diversity=default", "diversity/measure=hsic"], "hsic-double-rbf"),
        (
            ["diversity=default", "diversity.every=3", "diversity.scope=per_class"],
            "distancecorrelation-u-relu-every3-scopeper_class",
        ),
        (["diversity=paper"], "paper"),
        (["diversity=paper", "diversity.weight=0.5", "diversity.pairs=null"], "paper-weight0.5-pairsNone"),
        (["diversity=paper", "diversity/measure=mmd"], "paper-negativemmd"),
    ],
)
def test_the_title_tells_all_that_was_changed(suite, given, title):
    assert instantiate(suite.compose(*given).diversity, _convert_="all").title == title
