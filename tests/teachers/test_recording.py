"""A recording that a bad disk left is told from one that a kill left."""

import json

import pytest
import torch

from moe_distill.errors import InputError
from moe_distill.teachers.recording import Recording
from moe_distill.teachers.trajectories import SNAPSHOTS

BROKEN = {
    "empty": ("snapshots.npy", lambda data: b""),
    "cut": ("snapshots.npy", lambda data: data[: len(data) // 2]),
    "a bit of a snapshot taken": (
        "snapshots.npy",
        lambda data: data[:140] + bytes([data[140] ^ 1]) + data[141:],
    ),
    "other content": ("snapshots.npy", lambda data: b"{}"),
    "no checksums": ("snapshots.json", lambda data: b""),
    "other checksums": ("snapshots.json", lambda data: b'{"0": "0"}'),
}


@pytest.mark.parametrize(("name", "damage"), BROKEN.values(), ids=BROKEN)
def test_a_damaged_recording_is_set_aside_and_begun_anew(tmp_path, capsys, name, damage):
    network = torch.nn.Linear(3, 2)
    Recording(tmp_path, 2, network).take(1, network.state_dict())
    assert not Recording(tmp_path, 2, network).fresh
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    assert Recording(tmp_path, 2, network).fresh
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"damaged: {tmp_path / SNAPSHOTS}: ") and "the stage starts anew" in line
    assert not Recording(tmp_path, 2, network).fresh


def test_a_recording_without_its_checksums_is_begun_anew_and_one_that_lost_some_is_never_finished(
    tmp_path, capsys
):
    network = torch.nn.Linear(3, 2)
    for epoch in (1, 2):
        Recording(tmp_path, 2, network).take(epoch, network.state_dict())
    assert Recording(tmp_path, 2, network).finished() == tmp_path / SNAPSHOTS
    sums = tmp_path / "snapshots.json"
    kept = json.loads(sums.read_text())
    sums.write_text(json.dumps({"0": kept["0"], "2": kept["2"]}))
    with pytest.raises(InputError, match="a whole recording: the same command starts it anew"):
        Recording(tmp_path, 2, network).finished()
    assert "snapshot 1 has no checksum" in capsys.readouterr().out
    assert Recording(tmp_path, 2, network).fresh
    sums.unlink()
    assert Recording(tmp_path, 2, network).fresh
    assert "snapshots.json beside it cannot be read" in capsys.readouterr().out


def test_a_kill_before_the_first_snapshot_is_no_damage(tmp_path, monkeypatch, capsys):
    network = torch.nn.Linear(3, 2)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(Recording, "take", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        Recording(tmp_path, 2, network)
    assert not Recording(tmp_path, 2, network).fresh and capsys.readouterr().out == ""
