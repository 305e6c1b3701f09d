"""Students in stages on the whole road: their rows, costs and keys."""

import dataclasses

from conftest_pretraining import NETWORK, SGD
from test_sequence_road import dm, sequence_of

from moe_distill.context.hardware import Hardware
from moe_distill.context.run_context import Runtime
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.experts.sequence import WARM
from moe_distill.pipelines.full import Full
from moe_distill.results.rows import variant_names
from moe_distill.store.store import Store
from moe_distill.tracking.wandb_tracker import NoTracker
from moe_distill.training.mixing import NoFusion


def test_staged_students_have_rows_of_their_own_and_share_the_set(tmp_path):
    given = sequence_of(dm(), dm(), dm())
    plain = dataclasses.replace(SGD, epochs=5, batch_size=4)
    staged = dataclasses.replace(plain, stages="cumulative")
    rows, costs = [], []
    for recipe in (plain, staged):
        runtime = Runtime(Store(tmp_path / "store"), tmp_path, Hardware("cpu"), NoTracker(), threads=1)
        run = Full({"it": given}, {}, EvaluationProtocol({"small": NETWORK}, recipe, NoFusion(), 1))
        forecast = run.expected_rows(runtime.results, "small", "")
        rows += run.run(runtime)["rows"]
        costs.append(runtime.costs[-1])
        assert all(forecast[0][column] == rows[-1][column] for column in ("recipe", "config_hash"))
    assert (runtime.store.count_made("set"), runtime.store.count_made(WARM)) == (0, 0)
    assert [row["recipe"] for row in rows] == ["trajectory", "trajectory-cumulative"]
    # 6 images from each expert; 2, 3 and 5 steps an epoch; stages of 1, 2 and 2 epochs.
    assert [(row["epochs"], row["steps"], row["images_decoded"]) for row in rows] == [
        *((5, 5 * 5, 18), (5, 1 * 2 + 2 * 3 + 2 * 5, 18)),
    ]
    assert [cost.images for cost in costs] == [5 * 18, 1 * 6 + 2 * 12 + 2 * 18]
    assert variant_names([{**row} for row in rows]) == [f"dm2x3-sequence {row['recipe']}" for row in rows]
    assert rows[0]["config_hash"] != rows[1]["config_hash"]
