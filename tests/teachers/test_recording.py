"""A recording that a bad disk left is told from one that a kill left."""

import pytest
import torch

from moe_distill.teachers.recording import Recording
from moe_distill.teachers.trajectories import SNAPSHOTS

BROKEN = {
    "empty": ("snapshots.npy", lambda data: b""),
    "cut": ("snapshots.npy", lambda data: data[: len(data) // 2]),
    "a bit of a snapshot taken": ("snapshots.npy", lambda data: data[:140] + bytes([data[140] ^ 1]) + data[141:]),
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
