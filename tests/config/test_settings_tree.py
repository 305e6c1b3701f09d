"""What --tree prints: resolved settings, and where those come from that are filled in; it starts nothing."""

import re
from pathlib import Path

import pytest

from moe_distill.config.arguments import as_hydra_reads
from moe_distill.config.schema import register
from moe_distill.config.tree import tree_of
from moe_distill.terminal import rendered


def lines_of(*arguments):
    """Return the tree's lines below each top key, without its branches."""
    register()
    parts, top = {}, ""
    for line in rendered(tree_of(as_hydra_reads([*arguments]))).splitlines()[1:]:
        text = re.sub(r"^[│├└─ ]+", "", line)
        if line[0] in "├└":
            top = text.partition(":")[0]
        parts.setdefault(top, []).append(text.rstrip())
    return parts


def test_values_are_resolved_and_what_is_filled_in_names_its_source():
    tree = lines_of("method=idm", "scale=small", "data=cifar10", "split=5x2", "threads=1")
    assert (
        tree["ipc"] == ["ipc: 5"]
        and tree["threads"] == ["threads: 1"]
        and tree["profile"] == ["profile: false"]
    )
    assert {"iterations: 300  scale small", "factor: 2  row of ipc 10", "momentum: 0.5"} <= {*tree["method"]}
    assert "data: ${normalisation.data}" in tree["plan"] and "output: runs/single" in tree["paths"]
    assert not any("???" in line for lines in tree.values() for line in lines)


def test_experts_of_several_methods_each_show_their_row():
    tree = lines_of("experts=dm_idm", "recipe=dsa", "split=5x2", "data=cifar10")
    assert [line for line in tree["experts"] if line.startswith("iterations")] == [
        "iterations: 20001  row of ipc 1",  # DM's rows are those of an expert's ipc
        "iterations: 20001  row of ipc 10",
    ]


def test_of_a_sweep_the_first_job_is_shown():
    assert lines_of("-m", "method=dm,idm", "seed=3,4", "width=interval(0.1,1)")["method"][0] == "method: DM"
    assert lines_of("-m", "method=dm,idm", "seed=3,4")["seed"] == ["seed: 3"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_flag_may_stand_anywhere_and_nothing_starts(called, place):
    line = ["method=dm", "+experiment=table1"]
    line.insert(place, "--tree")
    assert called(*line) == (0, "") and not [*Path().iterdir()]


def test_a_tree_of_a_wrong_command_line_is_refused_as_its_run_would_be(called):
    assert called("--tree", "metod=dm") == (2, "error: metod=dm: no such key; did you mean method=dm?\n")
    assert called("--tree", "ipc=0") == (2, "error: ipc=0: a whole number of at least 1\n")
