"""Sets that come and go: public files become sets that are evaluated; sets become files that come back."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from moe_distill.data.sources.public_sets import Digits
from moe_distill.data.zca import ZCA
from moe_distill.errors import InputError
from moe_distill.experts.distillation import KIND
from moe_distill.pipelines.export import Export
from moe_distill.pipelines.import_set import ImportSet
from moe_distill.results.known_rows import FinishedRows
from moe_distill.results.row_files import write_csv
from moe_distill.results.rows import COLUMNS
from moe_distill.store.store import Store
from moe_distill.synthetic.formats.writing import EXACT
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling

ONE = ("students=convnet3", "seeds=1", "recipe.epochs=1", "recipe=dc", "method=dm", "diversity=none", "ipc=1")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def runtime(tmp_path, cache):
    """What import and export know of a run."""
    return SimpleNamespace(
        cache=cache, output=tmp_path / "out", results=FinishedRows(Store(tmp_path / "store"))
    )


@pytest.fixture(scope="module")
def digits(cache):
    """The training digits."""
    return Digits().load(cache)[0]


@pytest.fixture(scope="module")
def real(digits):
    """Two raw digits of each class, shuffled, with their labels."""
    rows = torch.cat([digits.class_indices(c)[:2] for c in range(10)])
    rows = rows[torch.randperm(20, generator=torch.Generator().manual_seed(0))]
    return digits.images_NCHW[rows].float() / 255, digits.labels_N[rows]


def stored(folder, **tensors):
    """Write tensors as files of these names."""
    folder.mkdir(exist_ok=True)
    for name, value in tensors.items():
        torch.save(value, folder / f"{name}.pt")
    return folder


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def in_order(real):
    images, labels = real
    return images[labels.argsort(stable=True)]


def refusal(runtime, pipeline, *given, **more):
    with pytest.raises(InputError) as caught:
        pipeline(*given, **more).run(runtime)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_public_set_is_imported_and_evaluated(suite, real, digits, capsys):
    images, labels = real
    path = suite.home / "res_DSA_digits_ConvNet_2ipc.pt"
    accuracies = {"ConvNet": [np.float64(0.5)]}
    torch.save(
        {"data": [[digits.normalisation.standardised(images), labels]], "accs_all_exps": accuracies}, path
    )
    suite("pipeline=import", f"pipeline.path={path}")
    target = suite.out / "imported"
    assert files(target) == ["expert_0.json", "expert_0.safetensors"]
    told = " ".join(capsys.readouterr().out.split())
    assert "dsa: 20 images, 2 a class, read as dc and standardised; labels class numbers" in told
    assert f"pipeline=evaluate pipeline.path={target}" in told
    p = SyntheticSet.load(target).members[0].provenance
    assert (p.method, p.ipc, p.space, p.dataset, p.tiling) == ("dsa", 2, "standardised", "digits", Tiling())
    source = p.settings["imported"]
    assert source["sha256"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert (source["from"], source["layout"]) == (str(path), "dc")
    accuracy = suite("pipeline=evaluate", f"pipeline.path={target}", *ONE)
    (row,) = suite.rows()
    assert (row["roster"], row["images_decoded"]) == ("dsa2x1", "20") and float(
        row["accuracy_last"]
    ) == accuracy


def test_a_distilled_set_goes_out_comes_back_and_is_evaluated_alike(suite):
    there = suite("pipeline=full", *ONE, "noe=1")
    (folder,), (row,) = suite.artifacts(KIND), suite.rows()
    suite("pipeline=export", "pipeline.layout=huggingface", *ONE, "noe=1")
    _, front, body = (suite.out / "export-huggingface" / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(front)["distilled"]
    assert (told["set_fingerprint"], told["recipe"]["name"]) == (row["set_fingerprint"], "dc")
    assert f"| dc | convnet3 | {100 * there:.1f} |" in body
    runtime = SimpleNamespace(cache=suite.store / "data", output=suite.out)
    assert Export(None, None, str(folder), layout="ddranking").run(runtime)["exact"] == EXACT
    ImportSet(Digits(), str(suite.out / "export-ddranking"), space="standardised", name="mine").run(runtime)
    (kept,), (back,) = (SyntheticSet.load(place).members for place in (folder, suite.out / "imported"))
    assert torch.equal(kept.images, back.images) and back.provenance.ipc == 1
    assert suite("pipeline=evaluate", f"pipeline.path={suite.out}/imported", *ONE) == there
    assert suite.rows()[0]["roster"] == "mine1x1"


def test_raw_and_standardised_files_of_the_same_images_give_the_same_set(runtime, tmp_path, real, digits):
    images, labels = real
    made = []
    for name, values in (("raw", images), ("standardised", digits.normalisation.standardised(images))):
        folder = stored(tmp_path / name, images=values, labels=labels)
        ImportSet(Digits(), str(folder), str(tmp_path / "sets" / name)).run(runtime)
        made.append(SyntheticSet.load(tmp_path / "sets" / name))
        assert (made[-1].provenance.space, made[-1].provenance.method) == (name, "tensors")
    assert torch.equal(made[0].raw().images_MCHW, in_order(real))
    np.testing.assert_allclose(made[1].raw().images_MCHW, in_order(real), atol=1e-6)


def test_idc_must_say_its_factor_and_is_decoded_by_it(runtime, tmp_path, real):
    path = stored(tmp_path, data=list(real)) / "data.pt"
    assert refusal(runtime, ImportSet, Digits(), str(path)).startswith("pipeline.factor=None: 1 for IDC-I")
    ImportSet(Digits(), str(path), factor=2).run(runtime)
    (one,) = SyntheticSet.load(runtime.output / "imported").members
    assert one.tiling == Tiling(2, fill=0.5) and len(one.raw()) == 80 and one.provenance.method == "idc"


def test_whitened_numbers_need_the_whitening_and_take_it_along(runtime, tmp_path, real):
    images, labels = real
    white = ZCA(Digits(), 0.1)
    numbers = white.load(runtime.cache)[0].whitening.white(images)
    path = str(stored(tmp_path / "mtt", images_best=numbers, labels_best=labels, lr_best=0.02))
    for data, space in ((Digits(), "zca"), (white, "auto"), (white, "standardised")):
        assert refusal(runtime, ImportSet, data, path, space=space).startswith(f"pipeline.space={space}: ")
    assert not runtime.output.exists()
    ImportSet(white, path, space="zca").run(runtime)
    (one,) = SyntheticSet.load(runtime.output / "imported").members
    np.testing.assert_allclose(one.raw().detach(), in_order(real), atol=1e-4)
    assert one.provenance.space == "zca" and one.learned_rate.item() == pytest.approx(0.02)


def test_pictures_that_left_come_back_within_half_a_step(runtime, tmp_path, real, digits):
    images, labels = real
    folder = stored(tmp_path / "tensors", images=images * 1.2 - 0.1, labels=labels)
    ImportSet(Digits(), str(folder), space="raw").run(runtime)
    exact = Export(None, None, str(runtime.output / "imported"), layout="folder").run(runtime)["exact"]
    assert exact.startswith("not exact") and "1/510" in exact
    ImportSet(Digits(), str(runtime.output / "export-folder"), str(tmp_path / "back")).run(runtime)
    (back,) = SyntheticSet.load(tmp_path / "back").members
    apart = back.images.detach().double() - (in_order(real) * 1.2 - 0.1).double().clamp(0, 1)
    assert back.provenance.space == "raw" and 1 / 1020 < float(apart.abs().max()) <= 1 / 510 + 1e-7


def test_bad_input_is_one_line_and_writes_nothing(runtime, tmp_path, real):
    images, labels = real
    folder = stored(tmp_path / "foreign", images=images)

    def said(path=str(folder), **more):
        before = files(tmp_path)
        line = refusal(runtime, ImportSet, Digits(), path, **more)
        assert files(tmp_path) == before and not runtime.output.exists()
        return line

    assert said(None).startswith("pipeline.path=None: ")
    assert said(largest_gib=1e-6).startswith(f"pipeline.path={folder}/images.pt: at most 9.99e-07 GiB")
    for size in (0.0, -1.0, float("nan"), float("inf")):
        assert said(largest_gib=size).startswith(f"largest_gib={size}: ")
    assert said(to=str(folder)).startswith(f"pipeline.to={folder}: ")
    assert said(to=f"{folder}/images.pt/below").startswith("pipeline.to=")
    assert said(layout="dcc").startswith("pipeline.layout=dcc: ") and said(space="linear").startswith(
        "space=linear: auto or raw"
    )
    for factor in (0, -1, 9):
        assert f"factor={factor}: " in said(factor=factor)
    stored(folder, labels=labels.clamp_max(8))
    assert "every class equally often; found 0 to 4" in said()
    stored(folder, labels=labels, images=255 * images)
    assert said().startswith("pipeline.space=auto: raw or standardised, set explicitly: the values, 0 to 255")
    assert "near raw pixels" in said(space="raw")
    stored(folder, images=images[:, :, :7])
    assert "shape (N, 1, 8, 8)" in said()


def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(runtime, tmp_path, real, monkeypatch):
    ImportSet(Digits(), str(stored(tmp_path / "t", images=in_order(real))), str(tmp_path / "set")).run(
        runtime
    )
    path = str(tmp_path / "set")
    assert refusal(runtime, Export, None, None, path, layout="zip").startswith(
        "layout=zip: safetensors or folder"
    )
    assert refusal(runtime, Export, None, None, "gone").startswith("pipeline.path=gone: ")
    assert "nothing is overwritten" in refusal(runtime, Export, None, None, path, path)
    monkeypatch.setattr(
        Image.Image, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    for layout in ("folder", "huggingface"):
        assert "No space left" in refusal(runtime, Export, None, None, path, layout=layout)
    assert list(runtime.output.iterdir()) == []
    assert files(tmp_path) == ["set/expert_0.json", "set/expert_0.safetensors", "t/images.pt"]


def test_the_card_keeps_scores_of_different_trainings_apart(suite):
    one = ("method=random", "split=1x2", "students=convnet3", "recipe.epochs=1")
    suite(*one)
    rows = suite.rows()
    other = [{**row, "fusion": "none", "accuracy_last": "0.5", "accuracy_best": "0.5"} for row in rows]
    third = [
        {**row, "recipe_key": "00000000", "accuracy_last": "0.25", "accuracy_best": "0.25"} for row in rows
    ]
    write_csv(
        suite.out / "results.csv",
        [{**r, "config_hash": i} for i, r in enumerate(rows + other + third)],
        COLUMNS,
    )
    suite(*one, "pipeline=export", "pipeline.layout=huggingface")
    card = (suite.out / "export-huggingface" / "README.md").read_text()
    found = [line.split(" | ") for line in card.splitlines() if " | convnet3 | " in line]
    own = rows[0]["recipe_key"]
    assert [cells[0] for cells in found] == [
        f"| dsa {own} cross_expert",
        f"| dsa {own}",
        "| dsa 00000000 cross_expert",
    ]
    assert [cells[2] for cells in found][1:] == ["50.0 ± 0.0 |", "25.0 ± 0.0 |"]


def test_one_experts_file_is_exported_as_a_file(suite):
    suite("pipeline=distill", "method=random", "split=1x2")
    (folder,) = suite.artifacts("set")
    one = f"pipeline.path={folder}/expert_1.safetensors"
    suite("pipeline=export", "pipeline.layout=huggingface", one)
    target = suite.out / "export-huggingface"
    assert 'SyntheticSet.load("expert_1.safetensors").dataset()' in (target / "README.md").read_text()
    assert SyntheticSet.read(target / "expert_1.safetensors").provenance.expert == 1
