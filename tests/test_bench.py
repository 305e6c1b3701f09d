"""The benchmark on tiny cases, where its naive references are oracles of the methods."""

import dataclasses
import functools
import io
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from rich.console import Console

from experiments.speed import bench
from experiments.speed.cases import CASES
from experiments.speed.sides import BUILDERS
from experiments.speed.start import Collected
from moe_distill.errors import InputError

KEYS = {"name", "dtype", "reference_seconds", "seconds", "ratio_median", "ratio_low", "ratio_high"}
KEYS |= {"reference_peak_mb", "peak_mb", "gradient_error"}
NESTED = {"queue": {"batch_size": 8, "steps": 1, "renew_every": 2}, "source": {"n_data": 16, "batch_size": 8}}
FEWER = {"real_batch": 8, "synthetic_steps": 3, "synthetic_batch": 2}


def tiny(case):
    """Return the case at width 8, one image per class and few draws of everything."""
    given = case.method.keywords
    smaller = {name: value for name, value in FEWER.items() if name in given}
    smaller |= {
        name: functools.partial(given[name], **less) for name, less in NESTED.items() if name in given
    }
    method = functools.partial(case.method, **smaller)
    return dataclasses.replace(case, method=method, width=0.0625, ipc=1, images=60, side=8, classes=3)


TINY = {case.name: tiny(case) for case in CASES}


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.mark.parametrize("name", TINY)
def test_a_record_says_times_memory_and_errors(name):
    record = bench.measure(TINY[name], rounds=1, peak=bench.peak_mb)
    assert set(record) >= KEYS
    json.dumps(record)
    for of in ("", "cpu_"):
        assert 0 < record[f"{of}ratio_low"] <= record[f"{of}ratio_median"] <= record[f"{of}ratio_high"]
    assert record["reference_gflop"] > 0
    assert 0 < record["gradient_error"] < 1e-4
    assert 0 < record["reference_gradient_error"] < 1e-4


@pytest.mark.parametrize("name", TINY)
def test_three_iterations_of_a_method_are_those_of_the_naive_program(name):
    ours, reference = (build(TINY[name], torch.float64) for build in BUILDERS.values())
    start = ours.images.detach().clone()
    collected = [Collected(side) for side in (ours, reference)]
    for iteration in range(3):
        ours.iterate(iteration)
        reference.iterate(iteration)
    torch.testing.assert_close(collected[0].gradient, collected[1].gradient, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(ours.images, reference.images, rtol=1e-7, atol=1e-9)
    assert (ours.images - start).abs().max() > 1e-6


def test_the_error_sees_a_gradient_that_is_off():
    exact = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert bench.relative_error(torch.tensor([3.0, 4.5]), exact) == pytest.approx(0.1)


def test_the_median_error_is_that_of_an_ordinary_image():
    exact = torch.ones(5, 3, 4, 4, dtype=torch.float64)
    found = exact.clone()
    found[:, 0] += 1e-6
    found[2] = 9.0
    assert bench.median_error(found, exact) == pytest.approx(1e-6 / 3**0.5)
    assert bench.relative_error(found, exact) > 1


def test_rounds_are_ours_reference_reference_ours():
    class Side:
        def __init__(self, name, log):
            self.name, self.log = name, log

        def iterate(self, iteration):
            self.log.append((self.name, iteration))

    log = []
    bench.play(Side("ours", log), Side("reference", log), 2)
    assert log == [
        (name, 2 * k + i)
        for k in (0, 1)
        for name, i in (("ours", 1), ("reference", 1), ("reference", 2), ("ours", 2))
    ]


class Hungry:
    """Holds 64 MiB, and 32 more while it iterates."""

    def __init__(self, case, dtype):
        self.held = torch.ones(16 * 2**20)

    def iterate(self, iteration):
        torch.ones(8 * 2**20).sum()


def hungry_peak():
    BUILDERS["ours"] = Hungry
    return bench.peak_mb(TINY["dm"], "ours")


def test_the_peak_is_what_an_iteration_takes_above_what_was_held_before():
    """In a process of its own: a peak of some test before would hide it."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(hungry_peak).result() == pytest.approx(32, abs=4)


def test_one_case_is_named_and_an_unknown_one_refused():
    assert bench.chosen("") == list(CASES)
    assert [case.name for case in bench.chosen("mtt,dm")] == ["mtt", "dm"]
    with pytest.raises(InputError, match="ONLY=dn: dm, idm, dc"):
        bench.chosen("dn")


@pytest.mark.parametrize("given", ["0", "x", "-1", "1.5"])
def test_numbers_are_whole_and_positive(monkeypatch, given):
    monkeypatch.delenv("ROUNDS", raising=False)
    assert bench.count("ROUNDS", 7) == 7
    monkeypatch.setenv("ROUNDS", "3")
    assert bench.count("ROUNDS", 7) == 3
    monkeypatch.setenv("ROUNDS", given)
    with pytest.raises(InputError, match=r"ROUNDS=.*: a whole number of at least 1"):
        bench.count("ROUNDS", 7)


def test_a_record_takes_the_place_of_the_one_of_its_name(tmp_path):
    path = tmp_path / "runs" / "bench.json"
    for name, rounds in (("idm", 1), ("dm", 1), ("idm", 2)):
        bench.keep({"name": name, "rounds": rounds}, path)
    assert json.loads(path.read_text()) == [{"name": "dm", "rounds": 1}, {"name": "idm", "rounds": 2}]


def test_the_table_has_a_line_for_each_record():
    record = bench.measure(
        TINY["dm"], rounds=1, peak=lambda case, which: {"ours": 1234.0, "reference": 5678.0}[which]
    )
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(bench.table([record, {**record, "name": "other"}]))
    text = console.export_text()
    assert text.count("1234") == text.count("5678") == 2
    assert "other" in text
