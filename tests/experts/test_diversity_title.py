"""What results call a diversity term: its name, and every setting that the name does not say."""

import pytest
from hydra.utils import instantiate


@pytest.mark.parametrize(
    ("given", "title"),
    [
        (["diversity=default"], "dcor_relu"),
        (["diversity=default", "diversity/measure=hsic"], "hsic"),
        (
            ["diversity=default", "diversity.every=3", "diversity.scope=per_class"],
            "dcor_relu-every3-scopeper_class",
        ),
        (
            ["diversity=default", "diversity.measure.l2norm=false", "diversity.max_rows=64"],
            "dcor_relu-l2normFalse-max_rows64",
        ),
        (["diversity=paper"], "paper"),
        (["diversity=paper", "diversity.weight=0.5", "diversity.pairs=null"], "paper-weight0.5-pairsNone"),
        (["diversity=paper", "diversity/measure=mmd"], "paper-mmd"),
    ],
)
def test_the_title_tells_all_that_was_changed(suite, given, title):
    assert instantiate(suite.compose(*given).diversity, _convert_="all").title == title
