"""``pipeline.push_to=`` uploads what ``pipeline=export`` writes, and refuses before anything is loaded."""

import sys
from types import SimpleNamespace

import pytest
import yaml

from moe_distill.errors import InputError
from moe_distill.pipelines.export import Export
from moe_distill.synthetic.synthetic_set import SyntheticSet


def test_an_export_is_uploaded_with_its_licence(suite, hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    suite("pipeline=distill", "method=random", "split=1x2")
    export = ("pipeline=export", "method=random", "split=1x2", "pipeline.layout=huggingface")
    suite(*export, "pipeline.push_to=me/digits-random", "pipeline.license=cc-by-4.0")
    assert hub.private == {"me/digits-random": True}
    folder = suite.out / "export-huggingface"
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert hub.files["me/digits-random"] == files and "expert_1.safetensors" in files
    assert yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])["license"] == "cc-by-4.0"
    assert "uploaded to https://hub.test/datasets/me/digits-random, private" in capsys.readouterr().out


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """What an export knows of a run; whoever loads a set fails the test."""
    monkeypatch.setattr(SyntheticSet, "load", lambda path: pytest.fail("a set was loaded"))
    return SimpleNamespace(output=tmp_path / "out")


def refusal(runtime, **settings):
    with pytest.raises(InputError) as caught:
        Export(None, None, "set", **{"layout": "huggingface", **settings}).run(runtime)
    assert not runtime.output.exists() and "\n" not in str(caught.value)
    return str(caught.value)


def test_what_an_upload_lacks_is_said_before_any_work(runtime, hub, monkeypatch):
    assert refusal(runtime, push_to="me/toys").startswith("pipeline.push_to=me/toys: with a token")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'moe_distill[hub]'" in refusal(runtime, push_to="me/toys")
    assert hub.private == {}


def test_settings_of_the_hub_are_refused_where_nothing_goes_there(runtime):
    for layout in ("folder", "safetensors", "ddranking"):
        expected = "license=mit: only with pipeline.layout=huggingface"
        assert refusal(runtime, layout=layout, license="mit") == expected
        assert refusal(runtime, layout=layout, push_to="me/toys").startswith("push_to=me/toys: only with")
    assert refusal(runtime, private=False) == "private=False: only with pipeline.push_to=<user>/<name>"


@pytest.mark.parametrize("name", ["MIT", "", "cc by", "© me"])
def test_a_licence_is_written_as_the_hub_does(runtime, name):
    assert refusal(runtime, license=name).startswith(f"license={name}: a licence as the Hugging Face Hub")


def test_a_failed_upload_leaves_the_folder(suite, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    hub.private["me/toys"] = False
    run = ("method=random", "split=1x2")
    suite("pipeline=distill", *run)
    with pytest.raises(InputError, match=r"pipeline\.push_to=me/toys: .*this one is public"):
        suite("pipeline=export", *run, "pipeline.layout=huggingface", "pipeline.push_to=me/toys")
    assert (suite.out / "export-huggingface" / "README.md").is_file() and hub.files == {}
