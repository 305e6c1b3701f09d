"""What a mixture leaves of how its images came about."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file

from moe_distill.experts.callbacks import snapshot_iterations
from moe_distill.synthetic.synthetic_set import SyntheticSet


@pytest.mark.parametrize(
    ("total", "wanted"), [(1, {1}), (3, {1, 3}), (300, {300, 150, 75, 37, 18, 9, 4, 2}), (0, set())]
)
def test_snapshots_are_due_each_time_the_iterations_have_doubled(total, wanted):
    assert snapshot_iterations(total) == wanted


def test_a_distilled_set_keeps_its_way_and_where_its_features_lie(suite):
    suite("pipeline=distill", "method=dm", "diversity=none", "method.lr=100.0")
    (plain,) = suite.artifacts("set")
    assert not (plain / "features_2d.csv").exists()  # no φ was needed
    names = sorted(p.name for p in (plain / "snapshots").iterdir())
    assert names == sorted(f"expert_{e}-{i}.safetensors" for e in (0, 1) for i in (0, 1, 3))
    shots = {i: load_file(plain / "snapshots" / f"expert_0-{i}.safetensors")["pixels"] for i in (0, 1, 3)}
    last = SyntheticSet.read(plain / "expert_0.safetensors")
    seen = (last.as_raw(last.images.detach()).clamp(0, 1) * 255).round().to(torch.uint8)
    assert torch.equal(shots[3], seen) and shots[0].dtype == torch.uint8
    assert not torch.equal(shots[0], shots[1]) and not torch.equal(shots[1], shots[3])

    suite("pipeline=pretrain", "method=dm")
    suite("pipeline=distill", "method=dm")
    (kept,) = (f for f in suite.artifacts("set") if f != plain)
    with (kept / "features_2d.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5 * 10 and {r["expert"] for r in rows} == {"0", "1"}
    assert {r["label"] for r in rows} == set(map(str, range(10))) and 0 < float(rows[0]["share"]) <= 1
    assert abs(sum(float(r["x"]) for r in rows)) < 1e-3 * sum(abs(float(r["x"])) for r in rows)
    assert json.loads((kept / "manifest.json").read_text())["iterations"] == 3
