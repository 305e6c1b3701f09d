"""Parts of somebody else's, outside the package, are held to what ours promise: right ones pass, wrong ones
fail."""

import pytest

import moe_distill.testing

RIGHT = """
from dataclasses import dataclass
from functools import partial

import torch
from moe_distill.data.initialization import random_real
from moe_distill.data.real_set import RealSet
from moe_distill.diversity.measures import Measure
from moe_distill.methods.base import Method, fill_by_class, squared_distance_of_means
from moe_distill.models.base import Network, check_size
from moe_distill.seeding import stream


class Pixels(Method):
    '''Moves the mean image of each class to that of a real batch.'''

    def __init__(self, iterations, batch=8, init=random_real):
        self.iterations, self.batch, self.init = iterations, batch, init

    def prepare(self, context):
        ipc = context.syn.provenance.ipc
        fill_by_class(context.syn, lambda c: self.init(context.real, c, ipc, context.rng))

    def iterate(self, context, apply):
        loss = 0
        for c in range(len(context.real.classes)):
            real = context.real.class_batch(c, self.batch, context.rng)
            loss = loss + squared_distance_of_means(real.flatten(1), context.syn.of_class(c).flatten(1))
        return {"loss": apply(loss)}

    def parameter_groups(self, syn):
        return [{"params": [syn.images], "lr": 0.1}]

    def forward_passes(self, classes, ipc, per_class):
        return classes * (3.0 * ipc + self.batch)


class Linear(Network):
    def __init__(self, *, channels, classes, size):
        check_size(size)
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(channels * size * size, classes))


class Means(Measure):
    paired = False

    def _value(self, f_ND, g_MD):
        return -(f_ND.mean(0) - g_MD.mean(0)).square().sum()


@dataclass(frozen=True)
class Noise:
    name: str = "noise"

    def load(self, cache):
        return tuple(self.part(part) for part in ("train", "test"))

    def part(self, name):
        pixels = torch.randint(0, 256, (30, 1, 8, 8), generator=stream(0, name), dtype=torch.uint8)
        return RealSet(pixels, torch.arange(30) % 3, ("a", "b", "c"), (0.5,), (0.3,), self.name, "drawn")
"""
TESTS = """
from functools import partial

from mine import Linear, Means, Noise, Pixels
from moe_distill.testing import DataConformance, MeasureConformance, MethodConformance, NetworkConformance


class TestPixels(MethodConformance):
    method = partial(Pixels, iterations=4)


class TestLinear(NetworkConformance):
    network = Linear


class TestMeans(MeasureConformance):
    measure = Means()


class TestNoise(DataConformance):
    source = Noise()
"""
# Parts that are yamls, beside the tests.
OF_YAMLS = """
from pathlib import Path

import pytest
from moe_distill.testing import ExperimentConformance, RecipeConformance

CONF = Path(__file__).with_name("conf")


class TestCalm(RecipeConformance):
    recipe, config_dir = "calm", CONF


class TestTwoSizes(ExperimentConformance):
    experiment, config_dir, runs = "two_sizes", CONF, True
"""
RECIPE = """
_target_: calm.Calm
name: calm
epochs: 5
lr: 0.01
momentum: 0.9
"""
CALM = """
from dataclasses import dataclass
from moe_distill.training.recipe import Recipe


@dataclass(frozen=True)
class Calm(Recipe):
    momentum: float = 0.5

    def lr_at(self, epoch, first=None):
        return super().lr_at(epoch, first)
"""
EXPERIMENT = """# @package _global_
defaults:
  - override /method: random
  - override /students: convnet3
  - override /baselines: none
name: two_sizes
seeds: 1
recipe: {epochs: 1}
noe: 1
question: {claim: More images are better., axis: ipc}
hydra: {mode: MULTIRUN, sweeper: {params: {ipc: "1,2"}}}
"""
WRONG_YAMLS = {
    # has another name in rows
    "test_rows_call_it_by_its_word": ("name: calm", "name: quiet"),
    # has a setting that no recipe has
    "test_students_are_trained_by_it": ("lr: 0.01", "lrs: 0.01"),
    # has a rate that is no number late in a long training
    "test_its_learning_rate_stays_finite": (
        "lr_at(epoch, first)",
        "lr_at(epoch, first) / (epoch < 50 or 0.0)",
    ),
    # is made anew by a class that a pickle cannot find
    "test_it_has_a_key_and_reaches_other_processes": (
        "momentum: float = 0.5",
        "momentum: float = 0.5\n    def __reduce__(self): raise TypeError('not mine')",
    ),
    # plots over a column that no row has
    "test_every_job_is_valid_and_the_question_names_what_rows_have": ("axis: ipc", "axis: ipcs"),
    # asks nothing
    "test_it_asks_in_a_sentence": ("More images are better.", "more"),
    # sweeps more images than a class has
    "test_it_leaves_its_table_and_page": ('"1,2"', '"1,2000"'),
}
# By the test that sees it: what a part says, and what a wrong one says in its place.
WRONG = {
    # draws from the global generator
    "test_the_seed_alone_decides_the_images": (
        "context.rng)\n            loss",
        "torch.Generator().manual_seed(torch.seed()))\n            loss",
    ),
    # looks at all of the data
    "test_it_reads_its_part_alone": ("context.real.class_batch", "context.whole.class_batch"),
    # moves images itself
    "test_images_move_by_apply_alone": (
        'return {"loss"',
        'context.syn.images.data.add_(1.0); return {"loss"',
    ),
    # keeps a count that is in no state
    "test_an_interrupted_expert_goes_on_bit_for_bit": (
        "loss = 0",
        "self.n = getattr(self, 'n', 0) + 1; loss = self.n",
    ),
    # ignores an option that it says it has
    "test_options_that_it_says_it_has_decide_the_images": (
        "    def __init__(self, iterations,",
        "    perturbs = True\n\n    def __init__(self, iterations,",
    ),
    # costs less for more images
    "test_costs_and_parameter_groups_agree_with_what_moves": ("3.0 * ipc", "-3.0 * ipc"),
    # fills every class with images of the first
    "test_initial_images_have_the_label_of_their_class": ("context.real, c, ipc", "context.real, 0, ipc"),
    # takes images of any size
    "test_size_outside_the_range_is_named": ("        check_size(size)\n", ""),
    # prefers one of its arguments
    "test_it_is_a_finite_symmetric_scalar": ("(f_ND.mean(0) -", "(2 * f_ND.mean(0) -"),
    # takes what is no number for nothing
    "test_a_diverged_set_is_not_hidden": ("return -(f_ND.mean(0)", "return -(f_ND.nan_to_num().mean(0)"),
    # is higher for more diverse sets
    "test_it_is_lower_for_independent_than_for_identical_features": ("return -(f_ND", "return (f_ND"),
    # tests on what it trains on
    "test_training_and_test_images_differ": ("stream(0, name)", "stream(0)"),
    # changes from load to load
    "test_loading_it_again_gives_the_same": ("generator=stream(0, name), ", ""),
    # reads its test part otherwise
    "test_both_parts_are_read_alike": ("(0.3,), self.name", "(0.3 + (name == 'test') / 10,), self.name"),
}


@pytest.fixture
def tried(pytester):
    """Gives a function that runs the tests of a plug-in in a folder of its own."""

    def run(source, *options):
        pytester.syspathinsert()
        pytester.makepyfile(mine=source, test_mine=TESTS)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)

    return run


@pytest.fixture
def tried_yamls(pytester):
    """Gives a function that runs the tests of yamls in a folder of its own, with one text in place of
    another."""

    def run(right="", wrong="", *options):
        pytester.syspathinsert()
        sources = [CALM, RECIPE, EXPERIMENT]
        assert sum(source.count(right) for source in sources if right) == bool(right)
        calm, recipe, experiment = (source.replace(right, wrong) if right else source for source in sources)
        pytester.makepyfile(calm=calm, test_mine=OF_YAMLS)
        for file, text in (("recipe/calm", recipe), ("experiment/two_sizes", experiment)):
            (pytester.path / "conf" / file).parent.mkdir(parents=True)
            (pytester.path / "conf" / f"{file}.yaml").write_text(text)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options).parseoutcomes()

    return run


def test_all_kinds_are_here():
    assert len(moe_distill.testing.__all__) == TESTS.count("\nclass ") + OF_YAMLS.count("\nclass ") == 6


def test_right_parts_pass(tried):
    outcomes = tried(RIGHT).parseoutcomes()
    assert outcomes["passed"] > 40 and "failed" not in outcomes and "errors" not in outcomes, outcomes


@pytest.mark.parametrize("promise", WRONG)
def test_a_part_that_breaks_a_promise_fails_its_test(tried, promise):
    right, wrong = WRONG[promise]
    assert RIGHT.count(right) == 1
    assert tried(RIGHT.replace(right, wrong), "-k", promise).parseoutcomes().get("failed", 0) > 0


@pytest.mark.slow
def test_right_yamls_pass(tried_yamls):
    outcomes = tried_yamls()
    assert outcomes["passed"] == 9 and not outcomes.keys() & {"failed", "errors"}, outcomes


@pytest.mark.parametrize("promise", WRONG_YAMLS)
def test_a_yaml_that_breaks_a_promise_fails_its_test(tried_yamls, promise):
    outcomes = tried_yamls(*WRONG_YAMLS[promise], "-k", promise)
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) > 0, outcomes
