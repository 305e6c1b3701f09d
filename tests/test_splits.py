"""A split is one word for ipc and noe: any pair of them, wherever it is set."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate

from moe_distill.config.resolving import resolve_and_check
from moe_distill.errors import InputError


@pytest.mark.parametrize(
    ("typed", "split"),
    [
        ([], (5, 2)),
        (["split=7x3"], (7, 3)),
        (["ipc=7", "noe=3"], (7, 3)),
        (["noe=3"], (5, 3)),
        (["+experiment=noe"], (6, 2)),
        (["+experiment=noe", "split=1x12"], (1, 12)),
        (["+experiment=noe", "ipc=4", "noe=3"], (4, 3)),
        (["split=2147483647x1000"], (2147483647, 1000)),
    ],
)
def test_any_split_says_both_numbers_and_the_settled_one_says_what_was_set(composed, typed, split):
    cfg = composed(*typed)
    assert (cfg.ipc, cfg.noe) == split
    roster = instantiate(cfg.experts, _convert_="all")
    assert ([m.ipc for m in roster.members], roster.num_experts) == ([split[0]] * split[1], split[1])
    assert resolve_and_check(cfg)["split"] == "x".join(map(str, split))


@pytest.mark.parametrize(
    "split", ["5", "x2", "5x", "0x2", "5x0", "05x2", "5x2x1", "axb", "5X2", "5 x 2", "5x1001"]
)
def test_what_is_no_split_is_named_as_it_was_typed(composed, split):
    with pytest.raises(InputError, match=rf"^split={split}: images per class and experts, such as 5x2"):
        resolve_and_check(composed(f"split='{split}'"))


def test_the_split_of_a_users_own_experiment_and_of_a_sweep_are_plain_settings(composed):
    (swept,) = OverridesParser.create().parse_overrides(["split=5x2,10x1,7x3"])
    assert [*swept.sweep_string_iterator()] == ["5x2", "10x1", "7x3"]
    cfg = composed("+experiment=table1", "split=7x3")
    assert cfg.split == "7x3" and composed("+experiment=table1").split == "5x2"
