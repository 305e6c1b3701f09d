"""Data that plans share: loaded once for those that follow one another, and never two sets at a time."""

import gc
import weakref
from dataclasses import dataclass

import torch

from moe_distill.data.real_set import RealSet
from moe_distill.data.sources.shared import DataCache, Shared

LOADED = []


@dataclass(frozen=True)
class Noise:
    """Makes a new set each time it loads."""

    name: str

    def load(self, cache):
        images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
        LOADED.append(weakref.ref(images))
        sets = [RealSet(images, torch.arange(2), ("a", "b"), (0.5,), (0.5,), self.name, "") for _ in range(2)]
        return tuple(sets)


def test_equal_sources_are_loaded_once_and_others_take_their_place(tmp_path):
    LOADED.clear()
    data_cache = DataCache()
    one, again, other = (Shared(Noise(name), data_cache) for name in ("one", "one", "other"))
    assert one.load(tmp_path)[0] is again.load(tmp_path)[0] and one.name == "one"
    assert [part.name for part in other.load(tmp_path)] == ["other", "other"]
    gc.collect()
    assert [held() is None for held in LOADED] == [True, False]
    one.load(tmp_path)
    one.load(tmp_path / "elsewhere")
    assert len(LOADED) == 4


def test_shelves_do_not_know_of_one_another(tmp_path):
    sets = [Shared(Noise("one"), DataCache()).load(tmp_path)[0] for _ in range(2)]
    assert sets[0] is not sets[1]
