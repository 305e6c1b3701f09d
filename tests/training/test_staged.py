"""Students that train on one expert's images after another's, against plain trainings chained by hand."""

import dataclasses

import pytest
import torch
from test_classifier import CONVNET, RECIPE, KillAt, Killed, assert_same_student, pool, real, run
from torch import nn

from moe_distill.errors import InputError
from moe_distill.evaluation.protocol import EvaluationProtocol
from moe_distill.experts.sequence import WarmStart
from moe_distill.models.base import Network, build
from moe_distill.seeding import stream
from moe_distill.store.identity import identity
from moe_distill.training.batches import tensor_pool
from moe_distill.training.classifier import Classifier
from moe_distill.training.fusion import Offline
from moe_distill.training.mixing import CrossExpert, NoFusion
from moe_distill.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")
STAGED = dataclasses.replace(RECIPE, stages="cumulative")
# Three experts of unequal size, in no order, with soft labels: 2, 5 and 5 images.
EXPERTS = torch.tensor([2, 0, 1, 1, 2, 2, 0, 1, 2, 1, 1, 2])


class Normed(Network):
    """A network that cannot be trained on a single image."""

    def __init__(self, channels, classes, size):
        flat = channels * size**2
        super().__init__(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(flat)), nn.Linear(flat, classes))


def three(keep=None):
    images = torch.randn(12, 1, 8, 8, generator=stream(0, "pool"))
    targets = torch.rand(12, 3, generator=stream(0, "soft")).softmax(1)
    rows = torch.arange(12) if keep is None else keep
    labels = torch.arange(12) // 2 % 3
    return tensor_pool(images[rows], labels[rows], EXPERTS[rows], 3, targets[rows])


def made_for(images, recipe, seeds=(0, 1), fusion=None):
    networks = [build(CONVNET, channels=1, classes=3, size=8, rng=stream(s, "student")) for s in seeds]
    streams = [stream(s, "training") for s in seeds]
    return Classifier(networks, images, real(), recipe, streams, fusion or CrossExpert())


@pytest.mark.parametrize("fusion", [CrossExpert(), NoFusion(), Offline()])
def test_stages_are_plain_trainings_one_after_another(tmp_path, fusion):
    staged = run(made_for(three(), STAGED, fusion=fusion), tmp_path / "staged")
    begun = made_for(three(), STAGED, fusion=fusion)
    networks, streams, steps, epochs = begun.students, begun.streams, 0, 0
    for number, share in enumerate((2, 2, 3)):
        images = three((number >= EXPERTS).nonzero().squeeze(1))
        recipe = dataclasses.replace(RECIPE, epochs=share)
        # The networks go on; the optimiser, the rates and the numbers of epochs are new.
        stage = Classifier(networks, images, real(), recipe, streams, fusion)
        run(stage, tmp_path / f"stage {number}")
        steps, epochs = steps + stage.total, epochs + share + 1
    for i in range(2):
        for name, weight in stage.cohort.weights_of(i).items():
            assert torch.equal(staged.cohort.weights_of(i)[name], weight), name
        assert torch.equal(staged.streams[i].get_state(), streams[i].get_state())
    assert (staged.total, staged.epochs) == (steps, epochs)
    assert list(staged.accuracies.values()) == list(stage.accuracies.values())
    assert list(staged.accuracies) == [epochs - 4 + epoch for epoch in stage.accuracies]


def test_the_images_of_one_expert_are_trained_on_as_without_stages(tmp_path):
    alone = dataclasses.replace(pool(), experts_M=torch.zeros(10, dtype=torch.int64))
    plain = run(made_for(alone, RECIPE), tmp_path / "plain")
    staged = run(made_for(alone, STAGED), tmp_path / "staged")
    for i in range(2):
        assert_same_student(plain, i, staged, i)


# Stages of 3, 3 and 4 epochs; 1, 2 and 3 steps an epoch; so their ends are at steps 3, 9 and 21.
@pytest.mark.parametrize("last", [2, 3, 7, 9, 14])
def test_killed_within_or_between_stages_it_goes_on_bit_for_bit(tmp_path, last):
    straight = run(made_for(three(), STAGED), tmp_path / "straight")
    with pytest.raises(Killed):
        run(made_for(three(), STAGED), tmp_path / "killed", [KillAt(last)])
    resumed = run(made_for(three(), STAGED), tmp_path / "killed")
    for i in range(2):
        assert_same_student(straight, i, resumed, i)
    assert resumed.total == resumed.iteration == 21
    assert resumed.images_seen == straight.images_seen == 2 * (3 * 2 + 3 * 7 + 4 * 12)


def test_a_staged_student_is_the_same_alone_and_in_company(tmp_path):
    together = run(made_for(three(), STAGED, [0, 1, 2]), tmp_path / "all")
    assert_same_student(run(made_for(three(), STAGED, [1]), tmp_path / "one"), 0, together, 1)


def test_work_is_counted_stage_by_stage():
    recipe = Recipe("r", epochs=6, extra_epochs=1, stages="cumulative", test_points=(0.5,))
    # Three epochs for each stage, of 10, 10 + 20 and 10 + 20 + 30 images; two tests, both in the last one.
    assert recipe.forward_passes([10, 20, 30], 100, 2) == 2 * (3 * 3 * (10 + 30 + 60) + 1 * 100 + 100)
    assert recipe.forward_passes([60], 100, 2) == dataclasses.replace(recipe, stages=None).forward_passes(
        [10, 20, 30], 100, 2
    )


def test_a_recipe_with_fewer_epochs_than_stages_is_refused():
    recipe = Recipe("r", epochs=2, stages="cumulative")
    line = r"^recipe.epochs=2: at least 3, one for each stage \(recipe.stages=cumulative\)$"
    protocol = EvaluationProtocol({"a": CONVNET}, recipe, NoFusion(), 1)
    protocol.check(real(), [3, 3])
    with pytest.raises(InputError, match=line):
        protocol.check(real(), [3, 3, 3])
    with pytest.raises(InputError, match=r"^epochs=2"):
        made_for(three(), recipe)
    with pytest.raises(InputError, match=r"^stages=all: "):
        Recipe("r", epochs=2, stages="all")


def test_the_smallest_batch_of_any_stage_is_tried():
    recipe = Recipe("r", epochs=4, batch_size=8, stages="cumulative")
    protocol = EvaluationProtocol({"a": Normed}, recipe, NoFusion(), 1)
    protocol.check(real(), [10, 8])
    with pytest.raises(InputError, match=r"students\.a"):  # a last batch of one image in the first stage
        protocol.check(real(), [9, 9])


def test_only_a_staged_recipe_says_so_in_its_key():
    assert "stages" not in identity(RECIPE) and identity(STAGED)["stages"] == "cumulative"
    rows = [EvaluationProtocol({"a": CONVNET}, r, NoFusion(), 1).columns("a", 2) for r in (RECIPE, STAGED)]
    assert [row["recipe"] for row in rows] == ["r", "r-cumulative"]
    assert rows[0]["recipe_key"] != rows[1]["recipe_key"]


def test_warm_networks_go_through_the_experts_anyway():
    assert WarmStart(2, STAGED) == WarmStart(2, RECIPE)
