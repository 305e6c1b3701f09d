"""What stands at the top of a configuration and nothing reads is refused; what an interpolation refers to is
read."""

import pytest
from conftest_called import refused

from moe_distill.config.choices import at_top
from moe_distill.config.overrides import check_top
from moe_distill.errors import InputError
from moe_distill.validation.wording import no_such

SPINE = ("name", "width", "mixup_alpha")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("experimnet", "table1", "experimnet=table1: no such key; did you mean +experiment=table1?"),
        ("mixup_alfa", 0.1, "mixup_alfa=0.1: no such key; did you mean mixup_alpha=0.1?"),
        ("splt", "5x2", "splt=5x2: no such key; did you mean split=5x2?"),
        ("zzz", 3, "zzz=3: no such key; there are after_sweep, augment, baselines"),
        ("zzz", {"b": {"c": 3}}, "zzz.b.c=3: no such key; there are after_sweep, augment, baselines"),
    ],
)
def test_a_key_that_nothing_reads_is_refused_and_what_it_resembles_named(key, value, said):
    with pytest.raises(InputError) as caught:
        check_top({"name": "a", key: value}, "", SPINE, at_top())
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "${mine}",
        "${mine.of}",
        "${..mine}",
        "${oc.select:mine,3}",
        "${from_row:${ipc},${mine}}",
        "${[mine]}",
        "${mine }",
    ],
)
def test_a_key_that_an_interpolation_refers_to_is_read_wherever_that_stands(text):
    check_top({"name": "a", "mine": 3, "width": text}, "", SPINE, at_top())
    check_top({"mine": 3}, text, SPINE, at_top())
    for other in (text.replace("mine", "miner"), text.replace("mine", "oc.env:mine")):
        with pytest.raises(InputError, match="mine=3: no such key"):
            check_top({"mine": 3, "width": other}, "", SPINE, at_top())


def test_names_are_suggested_only_where_one_is_close():
    assert no_such("sed", ["seed", "width"]) == "no such key; did you mean seed?"
    assert no_such("sed", ["width", "_target_"]) == "no such key; there are width"


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("# @package _global_", "widht: in experiment/own.yaml: no such key; did you mean width?"),
        (
            "",
            "experiment: in experiment/own.yaml: no such key; a yaml that sets other keys than its group's",
        ),
    ],
)
def test_a_key_of_a_users_own_yaml_that_nothing_reads_is_named_with_the_file(called, tmp_path, first, said):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/own.yaml").write_text(f"{first}\nwidht: 0.1\n")
    line = ("--config-dir", str(tmp_path / "mine"), "+experiment=own")
    assert refused(called, tmp_path / "store", *line).startswith(said)


def test_a_key_of_ones_own_serves_on_the_command_line(called):
    line = ("+mine=0.0625", "width=${mine}", "+there=here", "hydra.run.dir=${there}", "pipeline=distill")
    assert called("method=random", "split=1x2", *line) == (0, "")
