"""A folder is uploaded whole and private, or nothing is; what is wrong is one line."""

import sys
from pathlib import Path

import pytest
from conftest_exported import a_set, saved

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.card import CardFacts, write_hub_folder
from moe_distill.synthetic.formats.hub import push_to_hub


@pytest.fixture
def folder(tmp_path):
    together = saved(tmp_path / "source", [a_set(0)])
    target = tmp_path / "export"
    target.mkdir()
    write_hub_folder(together, tmp_path / "source", target, CardFacts())
    return target


def refusal(*given, **more):
    with pytest.raises(InputError) as caught:
        push_to_hub(*given, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_whole_folder_is_uploaded_private_by_default(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_environment")
    assert push_to_hub(folder, "me/toys") == "https://hub.test/datasets/me/toys"
    assert hub.private == {"me/toys": True} and hub.tokens == ["hf_of_the_environment"]
    pictures = [f"data/train/{number:06d}.png" for number in range(3)]
    own = ["expert_0.json", "expert_0.safetensors"]
    assert hub.files["me/toys"] == ["README.md", *pictures, "data/train/metadata.jsonl", *own]


def test_a_public_set_and_a_token_of_ones_own(hub, folder):
    push_to_hub(str(folder), "me/toys", private=False, token="hf_mine")
    assert hub.private == {"me/toys": False} and hub.tokens == ["hf_mine"]


def test_the_token_of_a_login_is_taken(hub, folder, monkeypatch, tmp_path):
    import huggingface_hub

    (tmp_path / "token").write_text("hf_of_a_login\n")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    push_to_hub(folder, "me/toys")
    assert hub.tokens == ["hf_of_a_login"]


def test_without_a_token_nothing_is_created(hub, folder):
    assert refusal(folder, "me/toys").startswith("repo=me/toys: with a token that may write, in HF_TOKEN or")
    assert hub.tokens == [] and hub.private == {}


def test_without_the_package_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    expected = "repo=me/toys: with the package huggingface_hub: pip install 'moe_distill[hub]'"
    assert refusal(folder, "me/toys", token="hf_mine") == expected


def test_what_is_no_export_is_not_uploaded(hub, tmp_path):
    assert refusal(tmp_path, "me/toys", token="hf_mine").startswith(f"folder={tmp_path}: a folder that")
    assert hub.private == {}


@pytest.mark.parametrize("private", [True, False])
def test_a_data_set_of_the_other_visibility_is_not_written(
    private,
    hub,
    folder,
):
    hub.private["me/toys"] = not private
    words = "is private, or a new one; this one is public" if private else "is public, or a new one; this"
    assert words in refusal(folder, "me/toys", private, "hf_mine")
    assert hub.files == {}


def test_a_later_upload_leaves_no_file_of_an_earlier_one(hub, folder):
    push_to_hub(folder, "me/toys", token="hf_mine")
    (folder / "data" / "train" / "000002.png").unlink()
    push_to_hub(folder, "me/toys", token="hf_mine")
    assert "data/train/000002.png" not in hub.files["me/toys"]


def test_what_the_hub_refuses_is_one_line(hub, folder, monkeypatch):
    def refused(*_, **__):
        raise RuntimeError("403 Forbidden:\n you may not\n write here")

    monkeypatch.setattr(hub, "_create", refused)
    said = refusal(folder, "me/toys", token="hf_mine")
    assert "(403 Forbidden: you may not write here)" in said and said.endswith(f"{folder} is complete")


@pytest.mark.parametrize(
    "name", ["toys", "me/toys/1", "/toys", "me/", "me/a--b", "me/.toys", "mé/toys", "me/a.git"]
)
def test_a_name_that_the_hub_does_not_allow_is_refused(name):
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    assert refusal(Path(), name, token="hf_mine").startswith(f"repo={name}: <user>/<name> as the Hugging")
    if name != "toys":  # which the Hub takes for one of the token's owner
        with pytest.raises(HFValidationError):
            validate_repo_id(name)


@pytest.mark.parametrize("name", ["a/b", "me_2/cifar10.idm-5x2", f"me/{'x' * 96}"])
def test_a_name_that_the_hub_allows_is_taken(name, hub, folder):
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(name)
    assert push_to_hub(folder, name, token="hf_mine").endswith(name)
