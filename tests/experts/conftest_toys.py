"""Two methods whose settings are published, for tests of what fills them."""

import pytest

from moe_distill.methods.base import Method
from moe_distill.methods.presets.rows import DEFAULT, Published


class Toy(Method):
    """A method whose settings are looked up, by the ipc of each expert."""

    def __init__(self, lr, iterations=1, queue=None, recipe=None):
        self.lr, self.iterations, self.queue, self.recipe = lr, iterations, queue, recipe

    def prepare(self, context):
        pass


class Greedy(Toy):
    """The same by the ipc of the whole budget."""

    row_by = "budget"


ROWS = {1: {"lr": 1.0, "iterations": 7}, 10: {"lr": 10.0, "iterations": 70}}
PUBLISHED = {DEFAULT: Published("A paper.", ROWS)}


@pytest.fixture
def published(monkeypatch):
    """Gives a function that publishes rows of the two methods, by place."""

    def publish(**more):
        rows = {place: Published("Another paper.", one) for place, one in more.items()}
        for kind in (Toy, Greedy):
            monkeypatch.setattr(kind, "presets", {**PUBLISHED, **rows})

    publish()
    return publish
