"""What the JSON beside a set says: sealed by the fingerprint, and refused where no set can have it."""

import json

import pytest
import torch
from conftest_sets import a_set

from moe_distill.errors import InputError
from moe_distill.synthetic.files import write_set
from moe_distill.synthetic.synthetic_set import SyntheticSet

EDITS = {
    "space": "raw", "tiling": {"factor": 2, "by_column": True, "fill": 0.25}, "mean": [0.4, 0.6],
    "std": [0.2, 0.4], "classes": ["dog", "cat", "frög"], "whitening": None,
}  # fmt: skip


@pytest.mark.parametrize("field", EDITS)
def test_metadata_that_were_edited_are_refused(tmp_path, field):
    path = tmp_path / "expert_0.safetensors"
    a_set(whitening="gone").save(path)
    about = json.loads(path.with_suffix(".json").read_text())
    about["provenance"][field] = EDITS[field]
    path.with_suffix(".json").write_text(json.dumps(about))
    if field != "whitening":  # of which there is no file here
        about["provenance"]["whitening"] = None
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"^set=.*the metadata it was written with"):
        SyntheticSet.load(path)


def test_statistics_of_whole_numbers_keep_their_fingerprint(tmp_path):
    one = a_set(mean=(0, 1), std=(1, 1), tiling=2)
    one.save(tmp_path / "s.safetensors")
    assert SyntheticSet.read(tmp_path / "s.safetensors").fingerprint() == one.fingerprint()


def test_a_set_whose_fingerprint_is_of_its_tensors_alone_is_said_to_be_older_once(tmp_path, capsys):
    path = tmp_path / "expert_0.safetensors"
    one = a_set()
    one.save(path)
    about = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**about, "fingerprint": one.tensors_fingerprint()}))
    assert [SyntheticSet.read(p).fingerprint() for p in (path, path)] == [one.fingerprint()] * 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{tmp_path}: ") and "fingerprint does not cover its metadata" in line


BAD = {
    "ipc": ["2", 2.0, True, 0, -1, None, 10**30], "expert": ["<script>", -1, 0.5], "space": ["foo", 5],
    "mean": [[0.4], [float("nan"), 0.5], [float("inf"), 0.5], "ab", []],
    "std": [[0, 0.3], [-1, 0.3], [0.2], ["a", "b"]],
    "classes": [["cat", "cat", "dog"], [], ["", "a", "b"], "abc", [1, 2, 3]], "settings": [5, {"roster": 5}],
    "tiling": [
        5, {"factor": 0}, {"factor": -1}, {"factor": 1000}, {"factor": "x"}, {"fill": float("nan")}, {"a": 1},
    ],
    "whitening": [5, ""], "dataset": [None, ""], "more": [1],
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in BAD.items() for v in values])
def test_metadata_that_no_set_can_have_are_refused_by_name(tmp_path, field, value):
    path = tmp_path / "expert_0.safetensors"
    a_set().save(path)
    about = json.loads(path.with_suffix(".json").read_text())
    about["provenance"][field] = value
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(
        InputError, match=rf"^set=.*damaged \(.*({field}|two classes|mean|std|images)"
    ) as caught:
        SyntheticSet.load(path)
    assert "\n" not in str(caught.value)


def test_a_text_nested_too_deeply_is_refused(tmp_path):
    path = tmp_path / "expert_0.safetensors"
    a_set().save(path)
    path.with_suffix(".json").write_text('{"provenance": ' + '{"a": ' * 10**5)
    with pytest.raises(InputError, match=r"^set=.*expert_0\.json: .*recursion limit"):
        SyntheticSet.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["images", "soft_labels", "average", "learned_rate"])
def test_tensors_that_are_not_finite_or_no_floats_are_refused(tmp_path, name, value):
    own = a_set()
    shapes = {"images": (6, 2, 8, 8), "average": (6, 2, 8, 8), "soft_labels": (6, 3), "learned_rate": ()}
    for tensor, words in (
        (torch.full(shapes[name], value), "NaN or infinity"),
        (torch.ones(shapes[name]).int(), "int32"),
    ):
        given = {"images": own.images.detach(), name: tensor}
        write_set(tmp_path / "s.safetensors", given, own.provenance, own.fingerprint())
        with pytest.raises(InputError, match=rf"{name} .*{words}"):
            SyntheticSet.load(tmp_path / "s.safetensors")


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_a_step_size_that_trains_nothing_is_refused(tmp_path, rate):
    own = a_set()
    given = {"images": own.images.detach(), "learned_rate": torch.tensor(rate)}
    write_set(tmp_path / "s.safetensors", given, own.provenance, own.fingerprint())
    with pytest.raises(InputError, match=rf"learned_rate {rate:g} where a number above 0 belongs"):
        SyntheticSet.load(tmp_path / "s.safetensors")
