"""What stands between a command line and Hydra: job names, the order of arguments, errors in one line."""

import hashlib
import re

import pytest
from hydra.errors import HydraException

from moe_distill.config import aside, job_name, named, set_aside
from moe_distill.run import one_line, reordered


@pytest.mark.parametrize("overrides", ["split=5x2,method=idm", "a.b='x y',c=[1,2]", "", "x=" + "long" * 99, "../up=1"])
def test_job_names_are_short_distinct_and_plain(overrides):
    name = job_name(overrides)
    assert re.fullmatch(r"[A-Za-z0-9._-]{9,89}", name) and not name.startswith("..")
    assert name.endswith("-" + hashlib.sha256(overrides.encode()).hexdigest()[:8])
    assert name != job_name(overrides + " ")


def test_a_job_name_shows_its_overrides():
    assert job_name("split=5x2,method=idm").startswith("split-5x2_method-idm-")


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_multirun_flag_may_stand_anywhere(flag, place):
    arguments = ["+experiment=table1", "scale=small"]
    arguments.insert(place, flag)
    assert reordered(arguments) == [flag, "+experiment=table1", "scale=small"]


def test_arguments_without_the_flag_keep_their_order_and_two_flags_become_one():
    assert reordered(["b=1", "--cfg", "job", "a=2"]) == ["b=1", "--cfg", "job", "a=2"]
    assert reordered(["a=1", "--multirun", "-m"]) == ["--multirun", "a=1"]


def test_one_line_says_the_cause_and_drops_where_hydra_searched():
    error = HydraException("Could not load 'x'.\n\nConfig search path:\n\tprovider=hydra, path=pkg\nSee https://x")
    assert one_line(error) == "Could not load 'x'."
    error.__cause__ = ValueError("inner")
    error.__cause__.__cause__ = KeyError("root")
    assert one_line(error) == "Could not load 'x'. (KeyError: 'root')"


def test_one_line_stays_one_where_the_cause_has_several():
    error = HydraException("Error merging override ipc=ten")
    error.__cause__ = ValueError("no Integer\n    full_key: ipc\n    object_type=Config")
    assert one_line(error) == "Error merging override ipc=ten (ValueError: no Integer full_key: ipc object_type=Config)"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("split=7", "split='7'"),
        ("+data@pipeline.onto=3", "+data@pipeline.onto='3'"),
        ("diversity/measure=null", "diversity/measure='null'"),
        *((o, o) for o in ("split=5x2", "split=5x2,7", "ipc=7", "~split", "experts.ipcs=[7,3]", "method.lr=1", "-m")),
    ],
)
def test_a_number_that_should_name_an_option_is_quoted_and_nothing_else_is(override, said):
    assert named(override) == said


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["+experiment=ddranking", "pipeline.lrs=[0.1]", "pipeline=status"], ["pipeline.lrs=[0.1]"]),
        (["pipeline=report", "++pipeline.w=1", "seed=1", "~pipeline.path"], ["++pipeline.w=1", "~pipeline.path"]),
        (["pipeline=score", "pipeline.lrs=[0.1]"], []),
        (["pipeline.lrs=[0.1]"], []),
        (["pipeline=nothing", "pipeline.lrs=[0.1]"], []),
        (["pipeline=workspace", "pipeline.entity=me"], []),  # which it has itself
    ],
)
def test_settings_of_the_pipeline_whose_runs_are_looked_at_are_set_aside(given, taken):
    assert set_aside(given) == [a for a in given if a not in taken] and aside() == taken
    set_aside([])
