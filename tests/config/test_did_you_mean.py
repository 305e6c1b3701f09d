"""A key, a choice or a word with a slip is answered by what was meant, in one line, without a list."""

import functools

import pytest
from conftest_called import refused
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from test_refused import build, usual

from moe_distill.config.refusals import one_line
from moe_distill.config.resolving import input_error_of
from moe_distill.errors import InputError
from moe_distill.experts.filling import Presets
from moe_distill.methods.dm import DM

TYPED = {
    # keys at the top
    "metod=idm": "method=idm",
    "sed=3": "seed=3",
    "Seeds=3": "seeds=3",
    "splti=5x2": "split=5x2",
    "metod.lr=3": "method.lr=3",
    "mixup_alfa=0.1": "mixup_alpha=0.1",
    "+experimnet=table1": "+experiment=table1",
    "experiment=table1": "+experiment=table1",
    "experimnet=table1": "+experiment=table1",
    "diversity/mesure=dcor": "diversity/measure=dcor",
    "~fusoin": "~fusion",
    # keys below
    "method.lrr=3": "method.lr=3",
    "data=cifar10 data.rooot=x": "data.root=x",
    "method.queue.stepz=3": "method.queue.steps=3",
    "recipe.epoch=3": "recipe.epochs=3",
    "trainer.device=2": "trainer.devices=2",
    "paths.stor=x": "paths.store=x",
    "features.netwroks=2": "features.networks=2",
    "diversity.mesure.l2nrm=true": "diversity.measure.l2nrm=true",
    "optimizer.momentun=0.5": "+optimizer.momentum=0.5",
    "shorten.idmm.iterations=3": "shorten.idm.iterations=3",
    "student_epochs.idcc=3": "+student_epochs.idc=3",
    "hydra.launcher.n_job=2": "hydra.launcher.n_jobs=2",
    "hydra.swep.dir=x": "hydra.sweep.dir=x",
    "+method.queue.stepz=3": "method.queue.steps",
    "+student_epochs.idcc=3 ": "student_epochs.idc",
    "+recipe.lr_factors.convnet33=2": "recipe.lr_factors.convnet3",
    # choices
    "method=imd": "method=idm",
    "method=IDM": "method=idm",
    "data=cifra10": "data=cifar10",
    "+experiment=tabel1": "+experiment=table1",
    "diversity/measure=dcro": "diversity/measure=dcor",
    "scale=smal": "scale=small",
    "students=foor": "students=four",
    "pipeline=distil": "pipeline=distill",
    "hydra/launcher=proces": "hydra/launcher=process",
}


@pytest.mark.parametrize("typed", TYPED)
def test_a_slip_is_answered_by_what_was_meant(composed, typed):
    with pytest.raises((InputError, HydraException, OmegaConfBaseException)) as caught:
        build(composed(*usual(*typed.split())))
    line = str(input_error_of(caught.value) or one_line(caught.value))
    assert line.endswith(f"did you mean {TYPED[typed]}?") and "\n" not in line
    assert line.count(",") == 0  # no list


@pytest.mark.parametrize(
    "typed",
    [
        "zzz=3",
        "method=zzz",
        "data=zzz",
        "method.zzz=3",
        "recipe.zzz=3",
        "+experiment=zzz",
        "hydra.launcher.zzz=3",
    ],
)
def test_where_nothing_is_near_what_there_is_is_listed(composed, typed):
    with pytest.raises((InputError, HydraException, OmegaConfBaseException)) as caught:
        build(composed(*usual(typed)))
    line = str(input_error_of(caught.value) or one_line(caught.value))
    assert "did you mean" not in line and line.count(",") >= 2


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("-m method=imd,dm", "method=imd: did you mean method=idm?"),
        ("-m metod=idm,dm", "metod=idm: no such key; did you mean method=idm?"),
        ("-m +experiment=tabel1", "experiment=tabel1: did you mean +experiment=table1?"),
        ("debug=fats", "debug=fats: did you mean +debug=fast?"),
        ("dbug=fast", "dbug=fast: no such key; did you mean +debug=fast?"),
        ("staus +experiment=table1", "argument=staus: did you mean status?"),
        ("--confg-dir=x", "confg-dir=x: "),
    ],
)
def test_a_command_line_with_a_slip_starts_nothing(called, tmp_path, typed, meant):
    assert refused(called, tmp_path / "store", *typed.split()).startswith(meant)


def test_a_choice_of_a_users_own_folder_is_suggested_too(called, tmp_path):
    (tmp_path / "mine/method").mkdir(parents=True)
    (tmp_path / "mine/method/sharpened.yaml").write_text("_target_: mine.Sharpened\n")
    (tmp_path / "mine/flavour").mkdir()
    (tmp_path / "mine/flavour/sweet.yaml").write_text("")
    line = ("--config-dir", str(tmp_path / "mine"))
    assert refused(called, tmp_path / "store", *line, "method=sharpend").endswith(
        "did you mean method=sharpened?"
    )
    assert refused(called, tmp_path / "store", *line, "flavor=sweet").endswith("did you mean +flavour=sweet?")


def test_a_row_of_settings_with_a_slip_is_answered_alike():
    rows = {"dm": {"default": {10: {"iteratoins": 3}}}}
    with pytest.raises(InputError, match=r"did you mean presets\.rows\.dm\.default\.10\.iterations\?$"):
        Presets("cifar10", rows=rows).fill(functools.partial(DM), 10)
