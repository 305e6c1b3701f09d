"""Our parts do what moe_distill asks of every part."""

from functools import partial

from mylab.data import Shapes
from mylab.measure import SecondMoments
from mylab.method import Moments
from mylab.network import PatchNet

from moe_distill.data.initialization import random_real
from moe_distill.testing import (
    DataConformance,
    ExperimentConformance,
    MeasureConformance,
    MethodConformance,
    NetworkConformance,
    RecipeConformance,
)


class TestMoments(MethodConformance):
    method = partial(Moments, iterations=4, lr=0.1, real_batch=8, init=random_real)


class TestPatchNet(NetworkConformance):
    network = PatchNet


class TestShapes(DataConformance):
    source = Shapes(per_class=20)


class TestSecondMoments(MeasureConformance):
    measure = SecondMoments()


class TestBrief(RecipeConformance):
    recipe = "brief"


class TestFirstLook(ExperimentConformance):
    experiment = "first_look"
    runs = True
    overrides = ("seeds=1", "students=[patchnet,convnet3]")
