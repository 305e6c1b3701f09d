"""Cached tensors: built once, compared with their digest, built again where they are damaged."""

import os

import pytest
import torch
from safetensors.torch import save_file

from moe_distill.store.tensor_cache import cached

DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-10],
    "a bit": lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
    "other content": lambda data: b"{}",
}
TENSORS = {"images": torch.arange(60, dtype=torch.uint8).view(5, 3, 2, 2), "labels": torch.arange(5)}


def never():
    raise AssertionError("built twice")


def same(one):
    return one.keys() == TENSORS.keys() and all(torch.equal(one[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_set_aside_and_built_again(tmp_path, capsys, damage):
    path = tmp_path / "tree-1.safetensors"
    assert same(cached(path, lambda: dict(TENSORS))) and same(cached(path, never))
    spoiled = damage(path.read_bytes())
    path.write_bytes(spoiled)
    assert same(cached(path, lambda: dict(TENSORS))) and same(cached(path, never))
    (line,) = capsys.readouterr().out.splitlines()
    assert (
        line.startswith(f"damaged: {path}: ")
        and (tmp_path / "tree-1.safetensors.damaged-1").read_bytes() == spoiled
    )


STRANGE = {
    "a folder": lambda path: (path / "full").mkdir(parents=True),
    "a pipe": os.mkfifo,
    "a link in a ring": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("put", STRANGE.values(), ids=STRANGE)
def test_what_is_no_file_is_set_aside_like_a_damaged_one(tmp_path, capsys, put):
    path = tmp_path / "tree-1.safetensors"
    put(path)
    assert same(cached(path, lambda: dict(TENSORS))) and same(cached(path, never))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"damaged: {path}: ") and os.path.lexists(
        tmp_path / "tree-1.safetensors.damaged-1"
    )


def test_a_link_to_nothing_gives_way(tmp_path):
    path = tmp_path / "tree-1.safetensors"
    path.symlink_to("nowhere")
    assert same(cached(path, lambda: dict(TENSORS))) and same(cached(path, never))


def test_a_file_that_may_not_be_read_is_no_damaged_one(tmp_path, unreadable):
    path = tmp_path / "tree-1.safetensors"
    cached(path, lambda: dict(TENSORS))
    unreadable(path)
    with pytest.raises(PermissionError, match=str(path)):
        cached(path, never)


def test_the_file_of_other_tensors_is_not_taken_for_these(tmp_path):
    one, other = tmp_path / "tree-1.safetensors", tmp_path / "tree-2.safetensors"
    cached(one, lambda: {name: t + 1 for name, t in TENSORS.items()})
    one.rename(other)
    assert same(cached(other, lambda: dict(TENSORS)))


def test_a_file_from_before_digests_is_read(tmp_path):
    save_file(TENSORS, tmp_path / "tree-1.safetensors")
    assert same(cached(tmp_path / "tree-1.safetensors", never))
