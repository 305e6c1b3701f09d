"""Parts of a user's own that cannot serve are named before any work; their bugs show their own lines."""

import pytest
from conftest_called import refused

OWN = """
from dataclasses import dataclass
from moe_distill.diversity.measures import Measure

class NoMeasure:
    def __call__(self, f, g):
        return 0

class Unfinished(Measure):
    pass

class Late(Measure):
    def _value(self, f_ND, g_ND):
        return f_ND.no_such()

class Fails(Late):
    def __init__(self):
        raise RuntimeError("not today")

def makes_none(scale=1.0):
    return NoMeasure()

def returns(f, g):
    return 0
"""


@pytest.fixture
def own_measure(called, tmp_path, monkeypatch):
    """Gives a function that runs with a measure of the user's own, by its name in a module beside the run."""
    (tmp_path / "own_measures.py").write_text(OWN)
    (tmp_path / "conf/diversity/measure").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)

    def call(name):
        (tmp_path / "conf/diversity/measure/own.yaml").write_text(f"_target_: own_measures.{name}\n")
        return ("--config-dir", "conf", "diversity=paper", "diversity/measure=own", "split=1x2", "method=dm")

    return call


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "NoMeasure",
            "._target_=own_measures.NoMeasure: moe_distill.diversity.measures.Measure, or a class derived",
        ),
        (
            "Unfinished",
            "._target_=own_measures.Unfinished: a class that defines _value, which Unfinished lacks",
        ),
        ("Fails", "._target_=own_measures.Fails: RuntimeError: not today (own_measures.py, line "),
        ("makes_none", "=<own_measures.NoMeasure object at 0x"),
        ("returns", ".f=: a value: it has no default"),
        ("Gone", "._target_=own_measures.Gone: a class or function that can be imported"),
    ],
)
def test_an_own_measure_that_cannot_serve_is_named_before_any_work(called, tmp_path, own_measure, name, said):
    assert refused(called, tmp_path / "store", *own_measure(name)).startswith(f"diversity.measure{said}")


def test_a_bug_of_the_users_own_shows_their_line_without_the_frames_of_hydra_and_lightning(
    called, own_measure
):
    code, err = called(*own_measure("Late"))
    assert code == 1 and err.endswith("AttributeError: 'Tensor' object has no attribute 'no_such'\n")
    assert "own_measures.py" in err and "coordinator.py" in err
    assert "site-packages/hydra" not in err and "site-packages/pytorch_lightning" not in err
