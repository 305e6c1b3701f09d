"""Checkpoints that a crash or a bad disk left: set aside in one line, and their stage starts anew."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from test_fit import TRAINER, Clock, attempt, killed

from moe_distill.errors import InputError
from moe_distill.store.damage import checksums
from moe_distill.training.checkpoints import usable_checkpoint
from moe_distill.training.trainer import fit


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def flip_a_number(path):
    with zipfile.ZipFile(path) as archive:
        part = archive.getinfo(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    flip(path, path.read_bytes().index(b"data.pkl", part.header_offset) + 300)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut by 200 bytes": lambda path: path.write_bytes(path.read_bytes()[:-200]),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a bit": flip_a_number,
    "other content": lambda path: path.write_text("checkpoint"),
    "another program's": lambda path: torch.save({"weights": torch.zeros(3)}, path),
    "another stage's": lambda path: torch.save({"cost": {}, "stage": "set-0"}, path),
    "curves changed": lambda path: flip(path.with_name("curves.csv"), 30),
    "curves lost": lambda path: path.with_name("curves.csv").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_set_aside_and_its_stage_starts_anew(tmp_path, capsys, damage):
    work, calm = tmp_path / "work", tmp_path / "calm"
    work.mkdir(), calm.mkdir()
    attempt(calm, Clock())
    killed(work, at=15)
    damage(work / "last.ckpt")
    attempt(work, clock := Clock())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"damaged: {work / 'last.ckpt'}: ")
    assert line.endswith("; the stage starts anew; set aside as last.ckpt.damaged-1")
    assert clock.images_seen == 75 and checksums(work)["curves.csv"] == checksums(calm)["curves.csv"]


def test_a_whole_checkpoint_is_gone_on_from_also_where_more_was_written_since_or_its_folder_was_moved(
    tmp_path,
):
    (tmp_path / "here").mkdir()
    killed(tmp_path / "here", at=15)
    assert torch.load(tmp_path / "here" / "last.ckpt", weights_only=True)["clock"] == (10, 30)
    assert (tmp_path / "here" / "curves.csv").read_text().count("\n") > 1 + 2 * 10
    (tmp_path / "there").mkdir()
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert usable_checkpoint(tmp_path / "there" / "here") == tmp_path / "there" / "here" / "last.ckpt"
    killed(tmp_path / "there" / "here", at=19)  # which wrote its curves anew up to there, and no checkpoint
    assert usable_checkpoint(tmp_path / "there" / "here") is not None
    assert usable_checkpoint(tmp_path) is None


def test_a_checkpoint_from_before_it_named_its_stage_is_gone_on_from(tmp_path):
    torch.save({"cost": {}}, tmp_path / "last.ckpt")
    assert usable_checkpoint(tmp_path) == tmp_path / "last.ckpt"


def test_a_checkpoint_is_on_the_disk_before_it_takes_the_place_of_the_last(tmp_path, monkeypatch):
    synced, inner = [], os.fsync

    def sync(number):
        name = Path(f"/proc/self/fd/{number}").readlink().name
        synced.append((name, (tmp_path / "last.ckpt").exists()))
        inner(number)

    monkeypatch.setattr(os, "fsync", sync)
    killed(tmp_path, at=15)
    assert synced[:2] == [("next.ckpt", False), (tmp_path.name, True)]


@pytest.mark.parametrize(
    "options", [{"limit_train_batches": 5}, {"max_epochs": 2}, {"max_steps": 3}, {"fast_dev_run": 3}]
)
def test_a_trainer_that_cuts_or_repeats_the_work_keeps_nothing(tmp_path, options):
    class Ticks(Clock):
        def training_step(self, step, _):
            self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_completed()
            super().training_step(step, _)

    def trainer(**given):
        return TRAINER(**{**given, **options})

    with pytest.raises(InputError, match=r"^trainer=\d+ iterations: .*each of the 25 iterations once"):
        fit(Ticks(), trainer, tmp_path, "clock")
    assert not (tmp_path / "cost.json").exists()
