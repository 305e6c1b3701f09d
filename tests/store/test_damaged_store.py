"""Every kind of file that a run leaves in its store, damaged in each way: one line, the bits of an undamaged
run."""

import shutil

import numpy as np
import pytest
from conftest_suite import Suite
from PIL import Image

from moe_distill.errors import InputError
from moe_distill.store.damage import checksum
from moe_distill.store.store import Store
from moe_distill.store.tensor_files import digest, load_whole

pytestmark = pytest.mark.slow

RUN = (
    *(
        "data=folder",
        "normalisation=zca",
        "method=mtt",
        "split=1x2",
        "students=convnet3",
        "seeds=2",
        "width=0.0625",
    ),
    *("model@features.model=convnet3", "paths.tables=null", "baselines=none"),
)
COSTS = ("distill_seconds", "teacher_seconds", "train_seconds", "peak_memory_mb")
DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "a bit": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "other content": lambda data: b'{"quite": "another"}',
}


@pytest.fixture(scope="module")
def calm(tmp_path_factory, composing):
    """A suite that ran the whole road once: φ, trajectories, a set read whitened, students; images of its
    own."""
    home, rng = tmp_path_factory.mktemp("calm"), np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 2)):
        for name in "abcd":
            folder = home / "tree" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    suite = Suite(home)
    suite(*RUN, f"data.root={home / 'tree'}")
    return suite


def units(store):
    """Return the artifacts of a store, and its files that are each one of their own."""
    return [*store.glob("[!dl]*/*"), *store.glob("data/*.safetensors")]


def files_of(unit):
    return [unit] if unit.is_file() else sorted(path for path in unit.rglob("*") if path.is_file())


def spoil(path, damage):
    path.write_bytes(damage(path.read_bytes()))


def numbers(suite):
    """Return what must come out alike: tensors, curves and the like, and the rows but for what they cost."""
    files = [path for unit in units(suite.store) for path in files_of(unit) if ".damaged-" not in str(path)]
    tensors = [
        path for path in files if path.suffix == ".safetensors"
    ]  # two texts in a head have no fixed order
    held = {path: digest(load_whole(path), "") for path in tensors}
    held |= {path: checksum(path) for path in files if path.suffix in (".csv", ".npy")}
    rows = [{c: v for c, v in row.items() if c not in COSTS} for row in suite.rows()]
    return {path.relative_to(suite.store): sum_ for path, sum_ in held.items()}, rows


def test_a_run_leaves_every_kind_of_file_here(calm):
    kinds = {unit.parent.name for unit in units(calm.store)}
    assert kinds == {"data", "result", "set", "students", "teacher", "trajectory"}
    assert {path.name.split("-")[0] for unit in units(calm.store) for path in files_of(unit)} >= {
        *(
            "curves.csv",
            "expert_0.json",
            "expert_1.safetensors",
            "features_2d.csv",
            "manifest.json",
            "parts.safetensors",
        ),
        *(
            "row.json",
            "rows.json",
            "snapshots.npy",
            "tree",
            "weights.safetensors",
            "whitening.safetensors",
            "zca",
        ),
    }


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_any_one_damaged_file_makes_its_artifact_a_missing_one(calm, tmp_path, capsys, damage):
    for unit in (unit for unit in units(calm.store) if unit.is_dir()):
        copy = tmp_path / unit.relative_to(calm.store)
        for name in [path.relative_to(unit) for path in files_of(unit)]:
            shutil.copytree(unit, copy)
            spoil(copy / name, damage)
            assert Store(tmp_path).at(unit.parent.name, unit.name) is None, name
            (line,) = capsys.readouterr().out.splitlines()
            assert line.startswith(f"damaged: {copy}: {name}")
            shutil.rmtree(tmp_path)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_store_of_which_every_file_is_damaged_ends_in_the_bits_of_an_undamaged_run(
    calm, tmp_path, capsys, damage
):
    suite = Suite(tmp_path)
    shutil.copytree(calm.store, suite.store)
    spoiled = units(suite.store)
    for path in (path for unit in spoiled for path in files_of(unit)):
        spoil(path, damage)
    suite(*RUN, f"data.root={calm.home / 'tree'}")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("damaged: ")]
    assert sorted(line.split(": ")[1] for line in told) == sorted(map(str, spoiled))
    assert numbers(suite) == numbers(calm)


def test_a_damaged_set_that_only_an_earlier_stage_can_make_is_one_line(calm, tmp_path):
    suite = Suite(tmp_path)
    shutil.copytree(calm.store, suite.store)
    (images,) = suite.store.glob("set/*/expert_1.safetensors")
    spoil(images, DAMAGE["a bit"])
    with pytest.raises(InputError, match=r"pipeline=distill \(or pipeline=full\) first"):
        suite(*RUN, "pipeline=evaluate", "seeds=3", f"data.root={calm.home / 'tree'}")
