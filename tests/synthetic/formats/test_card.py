"""A folder for Hugging Face is what its card says: read by its own programs, by ``datasets``, and by hand."""

import os
import re
import subprocess
import sys

import datasets
import numpy as np
import pytest
import torch
import yaml
from conftest_exported import CLASSES, a_set, logits, saved

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.card import CardFacts, card, write_hub_folder
from moe_distill.synthetic.formats.writing import PICTURES
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling

ODD = ("null", "=1+1, 'a': b\n# ---", 'ク "🙂" <b>\\')
SETS = {
    "real pixels": lambda: [a_set(seed, ipc=2, space="raw", pixels=True) for seed in (0, 1)],
    "tiled": lambda: [a_set(seed, ipc=2, method="idm", tiling=Tiling(2, by_column=True)) for seed in (0, 1)],
    "learned labels": lambda: [a_set(0, soft=logits(0)), a_set(1, soft=logits(1))],
    "learned by one": lambda: [a_set(0, soft=logits(0)), a_set(1)],
    "gray": lambda: [a_set(0, channels=1, soft=logits(0))],
    "odd classes": lambda: [a_set(0, classes=ODD)],
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep what ``datasets`` caches in the test's folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def exported(tmp_path, members, known=None, source=None):
    """Return the folder of an exported set, and the set."""
    together = saved(tmp_path / "source", members)
    folder = tmp_path / "hub"
    folder.mkdir()
    write_hub_folder(together, source or tmp_path / "source", folder, known or CardFacts())
    return folder, together


def front_matter(folder):
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def programs(folder):
    """Return the two programs of a card."""
    return re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("name", SETS)
def test_datasets_reads_images_labels_class_names_experts_and_learned_labels(name, tmp_path):
    folder, together = exported(tmp_path, SETS[name]())
    table = datasets.load_dataset(str(folder))
    assert list(table) == ["train"]
    table, decoded, classes = table["train"], together.raw(), together.provenance.classes
    assert table.features["label"] == datasets.ClassLabel(names=list(classes))
    assert table["label"] == decoded.labels_M.tolist() and table["expert"] == decoded.experts_M.tolist()
    assert table["class"] == [table.features["label"].int2str(label) for label in table["label"]]
    for image, picture in zip(decoded.images_MCHW.clamp(0, 1), table["image"], strict=True):
        assert picture.mode == ("L" if len(image) == 1 else "RGB")
        pixels = np.asarray(picture).reshape(8, 8, -1).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(pixels, image, atol=1e-6 if name == "real pixels" else 1 / 510 + 1e-7)
    assert ("soft_label" in table.features) == (decoded.targets_MC is not None)


@pytest.mark.parametrize("name", ["learned labels", "learned by one", "gray"])
def test_no_bit_of_a_learned_label_is_lost(name, tmp_path):
    folder, together = exported(tmp_path, SETS[name]())
    table = datasets.load_dataset(str(folder), split="train")
    assert table.features["soft_label"].feature == datasets.Value("float32")
    read = torch.tensor(table.with_format("numpy")["soft_label"][:])
    assert read.dtype == torch.float32 and torch.equal(read, together.raw().targets_MC)


@pytest.mark.parametrize("name", SETS)
def test_the_cards_programs_run_in_its_folder(name, tmp_path, monkeypatch):
    folder, together = exported(tmp_path, SETS[name]())
    monkeypatch.chdir(folder)
    exact, pictures = ({}, {})
    for program, names in zip(programs(folder), (exact, pictures), strict=True):
        exec(program, names)
    for read, stored in zip(exact["dataset"].tensors, together.dataset().tensors, strict=True):
        assert torch.equal(read, stored)
    assert torch.equal(exact["image"], together.dataset()[0][0])
    assert pictures["label"] == together.provenance.classes[0] and pictures["image"].size == (8, 8)


def test_the_set_is_read_without_hydra_lightning_or_datasets(tmp_path):
    folder, _ = exported(tmp_path, SETS["learned labels"]())
    unwanted = ["datasets", "hydra", "lightning", "omegaconf", "pytorch_lightning", "sklearn", "wandb"]
    code = f"{programs(folder)[0]}\nimport sys\nassert not {{*sys.modules}} & {{*{unwanted}}}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)


def test_the_program_of_one_experts_set_loads_its_file(tmp_path, monkeypatch):
    folder, together = exported(
        tmp_path, SETS["tiled"](), source=tmp_path / "source" / "expert_1.safetensors"
    )
    names = {}
    monkeypatch.chdir(folder)
    exec(programs(folder)[0], names)
    assert torch.equal(
        names["dataset"].tensors[0], SyntheticSet.union([together.members[1]]).dataset().tensors[0]
    )


def test_the_card_describes_the_set_for_the_hub(tmp_path):
    members = [a_set(0, ipc=2, rate=0.02), a_set(1, method="datm", soft=logits(1))]
    known = CardFacts({"name": "dsa", "epochs": 1000}, [("dsa", "convnet3", "51.0 ± 0.3")], "cc-by-4.0")
    folder, together = exported(tmp_path, members, known)
    assert SyntheticSet.load(folder).fingerprint() == together.fingerprint()
    front, body = front_matter(folder), (folder / "README.md").read_text(encoding="utf-8")
    described = front["distilled"]
    assert (front["tags"], front["size_categories"]) == (["dataset-distillation"], ["n<1K"])
    assert (front["license"], front["task_categories"]) == ("cc-by-4.0", ["image-classification"])
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "data/train/**"}]
    # Versions of ``datasets`` differ in which of the two they read.
    assert front["configs"][0]["features"] == front["dataset_info"]["features"]
    assert (described["classes"], described["methods"]) == (list(CLASSES), ["mtt", "datm"])
    assert (described["ipc"], described["config"]) == ([2, 1], [{"lr": 0.1}] * 2)
    assert described["recipe"] == {"name": "dsa", "epochs": 1000}
    assert described["set_fingerprint"] == together.fingerprint()
    assert described["learned_rate"] == pytest.approx(0.02)
    for row in (
        "| images | 9 in 3 classes |",
        "| method | mtt, datm |",
        "| experts | 2; stored images of each class: 2, 1 |",
        "| normalisation | mean 0.4, 0.5, 0.3; std 0.2, 0.25, 0.3 (each channel, of pixels from 0 to 1) |",
        "| learned labels | yes |",
        "| learned step size | 0.02 |",
        "| licence | cc-by-4.0 |",
        "| dsa | convnet3 | 51.0 ± 0.3 |",
    ):
        assert row in body
    assert "`soft_label`" in body
    share = described["clamped_share"]
    assert 0 < share < 1 and f"{100 * share:.2g} % of the values are clamped" in body and PICTURES in body


def test_a_card_of_which_little_is_known_says_so(tmp_path):
    folder, _ = exported(tmp_path, SETS["tiled"]())
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert front_matter(folder)["license"] == "unknown"
    for row in ("| recipe | not known |", "| learned labels | no |", "| learned step size | none |"):
        assert row in text
    assert "| licence | not stated; that of toys may apply |" in text
    assert "| images | 48 in 3 classes, decoded from 12 stored ones |" in text
    assert "## Scores" not in text and "soft_label" not in text


def test_what_is_reported_of_pictures_is_what_clamping_changed(tmp_path):
    for name, words in (("real pixels", "no value is clamped"), ("tiled", "% of the values are clamped")):
        (tmp_path / name).mkdir()
        together = saved(tmp_path / name / "source", SETS[name]())
        (tmp_path / name / "hub").mkdir()
        report = write_hub_folder(together, tmp_path / name / "source", tmp_path / name / "hub", CardFacts())
        assert words in report.exact and "labels" not in report.exact


@pytest.mark.parametrize("path", ['a"b\\.safetensors', "```\n<b>.safetensors", "'é🙂.safetensors"])
def test_a_files_name_is_only_a_text_in_the_cards_program(path):
    text = card(SyntheticSet.union([a_set(0)]), 3, CardFacts(), path)
    (line,) = re.findall(r"^dataset = SyntheticSet\.load\((.*)\)\.dataset\(\)$", text, re.MULTILINE)
    assert eval(line) == path and "<b>" not in text


def test_images_of_two_channels_have_no_card(tmp_path):
    with pytest.raises(InputError, match="1 or 3 channels"):
        exported(tmp_path, [a_set(0, channels=2)])
