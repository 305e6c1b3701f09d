"""Files of synthetic sets: what is saved comes back, what is damaged is refused."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest_sets import a_set
from safetensors import safe_open
from safetensors.torch import save_file

import moe_distill
from moe_distill.data.normalization import Whitening
from moe_distill.errors import InputError
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling


@pytest.mark.parametrize("rate", [None, 0.0371])
@pytest.mark.parametrize("tiling", [1, 2])
def test_a_saved_set_comes_back_exactly(tmp_path, rate, tiling):
    one = a_set(rate=rate, tiling=tiling, space="raw")
    one.save(tmp_path / "expert_0.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["expert_0.json", "expert_0.safetensors"]
    back = SyntheticSet.read(tmp_path / "expert_0.safetensors")
    assert torch.equal(back.images, one.images) and back.images.dtype == torch.float32
    assert back.provenance == one.provenance and back.tiling == Tiling(tiling, True, 0.25)
    assert (back.learned_rate is None) if rate is None else torch.equal(back.learned_rate, one.learned_rate)
    assert back.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert back.images.requires_grad


def test_saving_again_replaces_the_older_set(tmp_path):
    path = tmp_path / "expert_0.safetensors"
    a_set(0).save(path)
    a_set(1).save(str(path))
    assert (
        torch.equal(SyntheticSet.load(str(path)).members[0].images, a_set(1).images)
        and len(list(tmp_path.iterdir())) == 2
    )


def test_the_tensors_file_can_be_read_without_this_package(tmp_path):
    a_set(rate=0.5).save(tmp_path / "s.safetensors")
    with safe_open(tmp_path / "s.safetensors", "np") as file:
        assert set(file.keys()) == {"images", "learned_rate"} and file.get_tensor("images").shape == (
            6,
            2,
            8,
            8,
        )


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("soft_labels", (6, 2)), ("soft_labels", (6, 1)), ("soft_labels", (3, 3)), ("average", (5, 2, 8, 8)),
        ("learned_rate", (1,)), ("images", (9, 2, 8, 8)),
    ],
)  # fmt: skip
def test_tensors_of_another_shape_are_refused(tmp_path, name, shape):
    own = a_set()
    given = {"images": own.images.detach(), name: torch.rand(shape)}
    SyntheticSet(given.pop("images"), own.provenance, **given).save(tmp_path / "s.safetensors")
    with pytest.raises(
        InputError, match=rf"^set=.*s\.safetensors: .*{name} of shape {re.escape(str(shape))}"
    ):
        SyntheticSet.load(tmp_path / "s.safetensors")


def saved(folder, numbers):
    sets = [a_set(number) for number in numbers]
    for number, one in zip(numbers, sets, strict=True):
        one.save(folder / f"expert_{number}.safetensors")
    return sets


def shorten(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(len(path.read_bytes()) * share)])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)


def edit(**changes):
    def change(path):
        about = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in {**about, **changes}.items() if v is not None}))

    return change


DAMAGE = {
    "tensors cut": ("safetensors", shorten(0.5)),
    "tensors cut in the header": ("safetensors", shorten(0.02)),
    "tensors empty": ("safetensors", shorten(0)),
    "tensors missing": ("safetensors", Path.unlink),
    "a bit changed": ("safetensors", flip_a_bit),
    "other tensors": ("safetensors", lambda path: save_file({"x": torch.zeros(1)}, path)),
    "text cut": ("json", shorten(0.5)),
    "text empty": ("json", shorten(0)),
    "text missing": ("json", Path.unlink),
    "text not UTF-8": ("json", lambda path: path.write_bytes(b"\xff" + path.read_bytes())),
    "text of another program": ("json", lambda path: path.write_text("[1, 2]")),
    "no provenance": ("json", edit(provenance=None)),
    "no fingerprint": ("json", edit(fingerprint=None)),
    "a provenance of another version": ("json", edit(provenance={"dataset": "toys", "tiling": {}})),
}


@pytest.mark.parametrize("suffix, damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("folder", [False, True])
def test_a_damaged_set_is_one_line_that_names_the_file(tmp_path, suffix, damage, folder):
    path = tmp_path / "expert_0.safetensors"
    a_set().save(path)
    damage(path.with_suffix(f".{suffix}"))
    with pytest.raises(InputError) as caught:
        SyntheticSet.load(tmp_path if folder else path)
    named = tmp_path if folder and not path.exists() else path
    assert (
        caught.value.key == "set" and f"set={named}: " in str(caught.value) and "\n" not in str(caught.value)
    )


STRANGE = {
    "a folder": lambda p: p.mkdir(),
    "a pipe": os.mkfifo,
    "a link in a ring": lambda p: p.symlink_to(p),
}


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
@pytest.mark.parametrize("put", STRANGE.values(), ids=STRANGE)
def test_what_is_no_file_is_named_in_one_line_at_once(tmp_path, put, suffix):
    saved(tmp_path, range(2))
    strange = tmp_path / f"expert_1.{suffix}"
    strange.unlink()
    put(strange)
    with pytest.raises(
        InputError, match=rf"^set={strange}: a file that can be read \((no regular file|.*links)\)$"
    ):
        SyntheticSet.load(tmp_path)


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_a_link_to_nothing_is_a_missing_file(tmp_path, suffix):
    saved(tmp_path, range(2))
    link = tmp_path / f"expert_1.{suffix}"
    link.unlink()
    link.symlink_to("nowhere")
    with pytest.raises(InputError, match=rf"^set=.*expert_1\.safetensors: .*; {link} is missing$"):
        SyntheticSet.load(tmp_path)


@pytest.mark.parametrize("name", ["expert_0.json", "expert_0.safetensors", "whitening.safetensors"])
def test_a_file_that_may_not_be_read_is_told_as_that(tmp_path, unreadable, name):
    white = Whitening(torch.zeros(128), torch.eye(128), torch.eye(128), "w" * 64)
    about = replace(a_set().provenance, whitening=white.source)
    SyntheticSet(a_set().images.detach(), about, whitening=white).save(tmp_path / "expert_0.safetensors")
    unreadable(tmp_path / name)
    with pytest.raises(
        InputError, match=rf"^set={tmp_path / name}: a file that can be read \(Permission denied\)$"
    ):
        SyntheticSet.load(tmp_path)


def test_a_folder_without_sets_is_refused(tmp_path):
    with pytest.raises(InputError, match="expert_<number>"):
        SyntheticSet.load(tmp_path)


def test_fingerprints_know_all_that_a_student_sees_but_no_path(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        a_set(3, rate=0.1).save(tmp_path / name)
    first, second = (SyntheticSet.read(tmp_path / f"{name}.safetensors").fingerprint() for name in "ab")
    assert first == second == a_set(3, rate=0.1, method="idm", expert=7).fingerprint()
    changed = a_set(3, rate=0.1)
    with torch.no_grad():
        changed.images[0, 0, 0, 0] += 1e-6
    others = [changed, a_set(3), a_set(3, rate=0.2)]
    read = {
        "space": "raw",
        "mean": (0.4, 0.6),
        "std": (0.2, 0.4),
        "classes": ("dog", "cat", "frög"),
        "whitening": "w",
    }
    others += [a_set(3, rate=0.1, **{name: value}) for name, value in read.items()]
    others += [a_set(3, rate=0.1, tiling=2)]
    assert len({first, *(one.fingerprint() for one in others)}) == 10 and re.fullmatch(
        "[0-9a-f]{64}-[0-9a-f]{16}", first
    )


def test_a_fingerprint_follows_values_not_strides():
    one = a_set()
    laid_out = SyntheticSet(one.images.detach().to(memory_format=torch.channels_last), one.provenance)
    assert laid_out.fingerprint() == one.fingerprint()


def test_a_folder_is_read_as_the_union_in_the_order_of_the_numbers(tmp_path):
    sets = saved(tmp_path, range(11))
    (tmp_path / "manifest.json").write_text("{}")
    back = SyntheticSet.load(tmp_path)
    assert [m.provenance.expert for m in back.members] == list(range(11))
    assert back.fingerprint() == SyntheticSet.union(sets).fingerprint()
    assert back.fingerprint() != SyntheticSet.union([*sets[:2], sets[10], *sets[2:10]]).fingerprint()
    assert back.provenance == sets[0].provenance


@pytest.mark.parametrize(
    ("sources", "named", "said"),
    [
        ({"expert_1_old": 1}, "expert_1_old", "without a gap"),
        ({"expert_copy": 0}, "expert_copy", "without a gap"),
        ({"expert_01": 1}, "expert_01", "without a gap"),
        ({"expert_²": 1}, "expert_²", "without a gap"),
        ({"expert_7": 0}, "expert_7", "without a gap"),
        ({"expert_3": 3}, "expert_3", "the 3 of a folder are numbered from 0 without a gap"),
        ({"expert_1": 0}, "expert_1", "the set of expert 1; this one is that of expert 0"),
        ({"expert_2": 0}, "expert_2", "the set of expert 2; this one is that of expert 0"),
    ],
)
def test_a_folder_holds_each_expert_once_under_its_number(tmp_path, sources, named, said):
    saved(tmp_path, range(2))
    for name, number in sources.items():
        a_set(number).save(tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match=rf"^set={tmp_path / named}\.safetensors: .*{said}$") as caught:
        SyntheticSet.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_with_more_experts_than_its_roster_is_refused(tmp_path):
    for number in range(2):
        a_set(number, settings={"roster": [{}]}).save(tmp_path / f"expert_{number}.safetensors")
    with pytest.raises(InputError, match="all 1 experts; there are 2"):
        SyntheticSet.load(tmp_path)


def test_reading_a_set_needs_neither_hydra_nor_lightning(tmp_path):
    a_set().save(tmp_path / "s.safetensors")
    code = (
        "import sys; from moe_distill.synthetic.synthetic_set import SyntheticSet;"
        "SyntheticSet.load(sys.argv[1]).dataset();"
        "print([m for m in ('hydra', 'omegaconf', 'pytorch_lightning', 'lightning') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(moe_distill.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(tmp_path / "s.safetensors")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_processes_that_save_the_same_set_do_not_share_their_temporary_files(tmp_path, monkeypatch):
    seen, plain = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: (seen.append(self.name), plain(self, target)))
    for pid in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        for number in (0, 1):
            a_set(number).save(tmp_path / f"expert_{number}.safetensors")
    assert len(set(seen)) == len(seen) == 8
