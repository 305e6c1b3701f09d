"""What a user does wrong ends in exactly one line on stderr, exit code 2, and nothing in the store.

Here are whole command lines, some of each kind; ``config/test_refused.py`` has what a configuration alone
shows.
"""

import os
import socket
import subprocess
import sys

import pytest
import torch
from conftest_called import refused
from PIL import Image

from moe_distill.errors import LostRank

CASES = [
    (["method=foo"], "method=foo: one of aum, aum_tiled, ccs, ccs_tiled, datm, dc, dm, dsa, el2n"),
    *(
        ([f"split={s}"], f"split={s}: images per class and experts, such as 5x2")
        for s in ("5", "0x2", "axb", "5x")
    ),
    (
        ["-m", "split=5x2,5x1001"],
        "split=5x1001: images per class and experts, such as 5x2, of at most 1000",
    ),
    (["split=null"], "split=null: images per class and experts, such as 5x2"),
    (["split=5x2", "ipc=7"], "ipc=7: leave it out beside split=5x2, which"),
    (["~split"], "split=null: a value: nothing sets it"),
    (["data=cifar11"], "data=cifar11: did you mean data=cifar10?"),
    (["ipc=0"], "ipc=0: a whole number of at least 1"),
    (["ipc=59"], "ipc=59: at most 58, the images an expert sees of the smallest class"),
    (["ipc=1", "noe=117"], "noe=117: at most 116, the images of the smallest class"),
    (["seed=null"], "seed=null: a whole number"),
    (["data=[digits]"], "data=[digits]: did you mean data=digits?"),
    (["method=[dm,idm]"], "method=[dm,idm]: one of aum, aum_tiled, ccs, ccs_tiled, datm"),
    (
        ["seed=${nope}"],
        "seed=${nope}: a value, or a reference that leads to one (Interpolation key 'nope'",
    ),
    (
        ["-m", "split=1x2,5x2", "seed=${oc.env:NO_PE}"],
        "seed=${oc.env:NO_PE}: a value, or a reference that leads",
    ),
    (
        ["width=${from_row:3,{}}"],
        "width=${from_row:3,{}}: a value, or a reference that leads to one (ValueError",
    ),
    (["recipe.batch_size=" + "9" * 300], "recipe.batch_size=999"),
    (
        ["pipeline=measure", "pipeline.measures={}"],
        "pipeline.measures={}: not {}, which removes nothing",
    ),
    (["pipeline=measure", "pipeline.judges={}"], "pipeline.judges={}: not {}, which removes nothing"),
    (
        ["-m", "split=1x2,5x2", "before_sweep=foo"],
        "before_sweep=foo: the dotted name of a function that can be",
    ),
    (["+question.axis=foo"], "question.axis=foo: columns among experiment"),
    (["+question.lines=[foo]"], "question.lines=foo: columns among experiment"),
    (["hydra.searchpath=[file:///nope]"], "hydra.searchpath=file:///nope: folders of yamls"),
    (["hydra.run.dir="], "hydra.run.dir=: a folder"),
    (["hydra.output_subdir=../x"], "hydra.output_subdir=../x: the name of one folder, or null"),
    (["runtime.output=x"], "runtime.output=x: not set here; set hydra.run.dir"),
    (
        ["-m", "split=1x2,5x2", "pipeline=status", "hydra/launcher=basic"],
        "hydra/launcher=basic: process or",
    ),
    (
        ["method=idc", "method.factor=3"],
        "method.factor=3: 1 to 2, so that cells of 8-pixel images have 4 pixels",
    ),
    (["method=mtt", "model=efficientnet_b0"], "model="),
    (["partition=random", "ipc=10", "noe=10"], "ipc=10: at most "),
    (["foo=1"], "foo=1: no such key; there are after_sweep, augment, baselines"),
    (["+experimnet=table1"], "experimnet=table1: no such key; did you mean +experiment=table1?"),
    (["experimnet=table1"], "experimnet=table1: no such key; did you mean +experiment=table1?"),
    (["-m", "+a.b.c=3", "split=1x2,5x2"], "a.b.c=3: no such key; there are after_sweep"),
    (
        ["method=dm", "+shorten.dm.real_batch=16"],
        "shorten.dm.real_batch=16: not set here: the method has a value already",
    ),
    (["length=0.5", "method.iterations=3"], "length=0.5: not set here: method.iterations is set already"),
    (["length=0"], "length=0.0: a number above 0"),
    (["method.factor=100"], "method.factor=100: at most 8, the side of an image in pixels"),
    (
        ["+optimizer.momentum=-1"],
        "optimizer.momentum=-1: what the optimiser takes: Invalid momentum value",
    ),
    (
        ["recipe.batch_size=99", "students=large"],
        "students.resnet50=LibraryNetwork: one that can be built",
    ),
    (["trainer.max_epochs=3"], "trainer.max_epochs=3: no such key; there are accelerator, devices"),
    (["paths.output=/proc/x"], "paths.output=/proc/x: a folder that can be"),
    (["hydra.run.dir=/proc/x"], "hydra.run.dir=/proc/x: a folder that can be"),
    (["hydra.job.chdir=true"], "hydra.job.chdir=True: false: relative paths refer to"),
    (["students={}"], "students={}: one of convnet3"),
    (["split=7"], "split=7: images per class and experts, such as 5x2"),
    (["-m", "split=5x2,7"], "split=7: images per class and experts, such as 5x2"),
    (["+experiment=table1", "method=1"], "method=1: one of aum, aum_tiled, ccs, ccs_tiled, datm"),
    (["-m", "hydra.sweeper.cells=['seed=1 partition=2']"], "partition=2: one of difficulty, gated, kmeans"),
    (["+experiment=1"], "experiment=1: one of ablate_dcor"),
    (["fusion=null"], "fusion=null: one of additive, cross_expert"),
    (["split=5x2", "ipc=7"], "ipc=7: leave it out beside split=5x2, which sets ipc and noe"),
    (
        ["+experiment=table1", "noe=2"],
        "noe=2: leave it out beside split=5x2, which sets ipc and noe",
    ),
    (["-m", "experts=uneven", 'experts.ipcs="[7,3]","[5,5]"'], "experts.ipcs=[7,3]: a list in brackets"),
    (["experts=uneven", "experts.ipcs=7"], "experts.ipcs=7: a list in brackets"),
    (["ipc"], "argument=ipc: did you mean ipc=…?"),
    (["pipeline=evaluate"], "set=idm5x2: a set distilled before; "),
    (["pipeline=report"], "name=single: an experiment of which a job has ended"),
    (["pipeline=workspace"], "pipeline=workspace: with a Weights & Biases key: run `wandb login` once"),
    (
        ["logger=wandb", "logger.mode=online"],
        "logger.mode=online: offline, or with a Weights & Biases key",
    ),
    (["pipeline=evaluate", "pipeline.path=gone"], "pipeline.path=gone: a set written by this package"),
    (
        ["pipeline=probe", "+data@pipeline.onto=folder", "pipeline.onto.root=gone"],
        "pipeline.onto.root=gone: a fol",
    ),
    (["data=folder"], "data.root=None: a folder with train/<class>/*"),
    (["data=folder", "data.root=gone"], "data.root=gone: a folder with train/<class>/*"),
]
EVERY_DAY = 8  # the others are slow: each is a command line of its own


@pytest.mark.parametrize(
    ("given", "said"),
    [*CASES[:EVERY_DAY], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES[EVERY_DAY:])],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(called, tmp_path, given, said):
    assert refused(called, tmp_path / "store", *given).startswith(said)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_missed_before_any_work(called, tmp_path):
    said = refused(called, tmp_path / "store", "trainer=gpu")
    assert said == "trainer.accelerator=gpu: cpu or auto: no GPU is visible here"


def tree(root, classes=("ant", "bee"), images=2, size=12):
    """Write a tree of gray images."""
    for part in ("train", "test"):
        for c, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(images):
                Image.new("L", (size, size), 40 * c + i).save(root / part / name / f"{i}.png")
    return root


def no_image(root):
    for path in (root / "train" / "bee").iterdir():
        path.unlink()
    return root / "train" / "bee", "at least one image in each class folder"


def a_text(root):
    (root / "train" / "bee" / "notes.txt").write_text("bees")
    return root / "train" / "bee" / "notes.txt", "nothing but images in class folders"


def half_a_jpeg(root):
    path = root / "train" / "bee" / "7.jpg"
    Image.effect_noise((12, 12), 60).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:-200])
    return path, "whole images; this file is broken or truncated"


def other_test_classes(root):
    (root / "test" / "bee").rename(root / "test" / "cat")
    return root, "class folders named as the classes of train/ in test/: lacking bee; unexpected cat"


@pytest.mark.parametrize("spoil", [no_image, a_text, half_a_jpeg, other_test_classes])
def test_a_bad_class_folder_is_named_by_its_file(called, tmp_path, spoil):
    root = tree(tmp_path / "images")
    where, allowed = spoil(root)
    said = refused(
        called, tmp_path / "store", "data=folder", f"data.root={root}", "method=first", "ipc=1", "noe=1"
    )
    assert said.startswith(f"data.root={where}: {allowed}")


@pytest.fixture
def distilled(called, tmp_path):
    """The folder of a set of real digits."""
    assert called("pipeline=distill", "method=first", "ipc=1", "noe=1")[0] == 0
    (manifest,) = (tmp_path / "store" / "set").glob("*/manifest.json")
    return manifest.parent


@pytest.mark.parametrize(
    ("classes", "size", "what"), [(2, 8, "classes"), (10, 12, "image shape"), (10, 8, "mean")]
)
def test_a_set_is_not_evaluated_against_other_data(called, tmp_path, distilled, classes, size, what):
    root = tree(tmp_path / "images", [str(c) for c in range(classes)], size=size)
    other = ("data=folder", f"data.root={root}", "ipc=1", "noe=1")
    said = refused(called, tmp_path / "store", "pipeline=evaluate", f"pipeline.path={distilled}", *other)
    assert said.startswith(f"data=({what} ") and f"the set was distilled from digits with {what} " in said


def test_a_truncated_set_is_not_evaluated(called, tmp_path, distilled):
    file = distilled / "expert_0.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    said = refused(called, tmp_path / "store", "pipeline=evaluate", f"pipeline.path={distilled}")
    assert said.startswith(f"pipeline.path={file}: a whole set file; this one is truncated or damaged")


def test_a_download_without_a_network_says_what_to_set_instead(called, tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket, "socket", unreachable)
    onto = refused(called, tmp_path / "store", "pipeline=probe", "split=1x2", "+data@pipeline.onto=cifar10")
    assert (
        onto.startswith("pipeline.onto.root=None: cifar10 cannot be loaded")
        and "set it to a folder with" in onto
    )
    said = refused(called, tmp_path / "store", "data=cifar10", "augment=dsa")
    assert said.startswith("data.root=None: cifar10 cannot be loaded") and "set it to a folder with" in said


def test_a_process_says_one_line_and_exits_with_2(tmp_path):
    env = {**os.environ, "MOE_DISTILL_HOME": str(tmp_path / "store")}
    env.pop("HYDRA_FULL_ERROR", None)
    command = [sys.executable, "-m", "moe_distill.run", "scale=smoke", "logger=none", "trainer=cpu", "ipc=0"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (2, "error: ipc=0: a whole number of at least 1\n")
    assert not (tmp_path / "store").exists()


def test_a_lost_rank_is_one_line_and_a_failure_of_no_input(called, monkeypatch):
    def lose(_):
        raise LostRank("rank 1 has not moved")

    monkeypatch.setattr("moe_distill.run.run", lose)
    assert called("method=dm") == (1, "error: rank 1 has not moved\n")
