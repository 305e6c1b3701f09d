"""What cannot be, shown by a configuration alone: refused in one line where it is composed, checked or
built."""

import pytest
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from moe_distill.config.refusals import one_line
from moe_distill.config.resolving import check_paths, errors_as_typed, input_error_of, resolve_and_check
from moe_distill.errors import InputError

USUAL = {"scale": "smoke", "logger": "none", "threads": "1", "trainer": "cpu", "data": "digits"}

COMPOSED = [
    (["model=foo"], "model=foo: one of alexnet, convnet2, convnet3"),
    (["data=cifar11"], "data=cifar11: did you mean data=cifar10?"),
    (["diversity/measure=foo"], "diversity/measure=foo: one of cka_linear"),
    (["+experiment=foo"], "experiment=foo: one of ablate_dcor, ablate_fuse_2to1"),
    (["pipeline=foo"], "pipeline=foo: one of distill, evaluate, export, full"),
    (["ipc=ten"], "ipc=ten: a whole number of at least 1"),
    (["seeds=null"], "seeds=null: a whole number of at least 1 and at most 1000"),
    (["seed=null"], "seed=null: a whole number"),
    (["mixup_pairing=null"], "mixup_pairing=null: any or same_class"),
    (["fusion={a:1}"], "fusion={a:1}: no such key; there are alone, alpha"),
    (["name=${nope}"], "name=${nope}: a value, or a reference that leads to one (Interpolation key 'nope'"),
    (["seed=${seed}"], "seed=${seed}: a value, or a reference that leads to one (Recursive"),
    (["width=${paper_of:a}"], "width=${paper_of:a}: a value, or a reference that leads to one (TypeError"),
    (["recipe.drops=[" + "9" * 300 + "]"], "recipe.drops=[999"),
    (["method=mtt", "method.batch_syn=full"], "method.batch_syn=full: a whole number of at least 1, or all"),
    (["method=ftd", "method.ema=1.5"], "method.ema=1.5: a number of at least 0 and below 1, or null"),
    (["+method.foo=1"], "method.foo=1: no such key; there are augment, ce_weight, factor"),
    (["+experimnet=table1"], "experimnet=table1: no such key; did you mean +experiment=table1?"),
    (
        ["experiment=table1"],
        "experiment=table1: nothing of that group is chosen yet; did you mean +experiment=table1?",
    ),
    (
        ["optimizer.momentum=0.5"],
        "optimizer.momentum=0.5: not in the yaml, which uses the default; type +optimizer",
    ),
    (["~fusion"], "fusion=null: one of additive, cross_expert"),
    (["~recipe"], "recipe=null: one of clom_teacher"),
    (["~stages"], "presets=null: "),
    (["experts=uneven", 'experts.ipcs="[7,3]"'], "experts.ipcs=[7,3]: a list in brackets, without quotes"),
    (["experts=uneven", "experts.ipcs=7"], "experts.ipcs=7: a list in brackets"),
    (
        ["experts=idm_rded"],
        "recipe=???: must be chosen, as these experts have no common default: clom_teacher",
    ),
    (["experts=listed"], "recipe=???: must be chosen"),
    (["experts=dm_idm", "recipe=dsa", "split=10x1"], "experts=2 members with 20 images per class: a roster"),
    (["perturbation=foo"], "perturbation=foo: one of gaussian, none"),
    (["perturbation.low=0.02"], "perturbation=null: one of gaussian, none"),
    (
        ["perturbation=gaussian", "perturbation.low=0.5"],
        "perturbation.low=0.5: at most high=0.09",
    ),
    (["real_sampling=random"], "real_sampling=random: one of kmeans, uniform"),
    (
        ["real_sampling=kmeans", "real_sampling.interval=0"],
        "real_sampling.interval=0: a whole number of at least 1",
    ),
    (["data=folder", "data.root=http://x"], "data.root=http://x: a folder of this machine, or null"),
]

# A value, typed into a configuration that is right; a number, a list or null as yaml reads it.
VALUES = [
    ("ipc=0", "ipc=0: a whole number of at least 1"),
    ("ipc=-1", "ipc=-1: a whole number of at least 1"),
    ("noe=0", "noe=0: a whole number of at least 1"),
    ("before_sweep=foo", "before_sweep=foo: the dotted name of a function that can be imported, or null"),
    (
        "after_sweep=moe_distill.sweeps.hooks.nope",
        "after_sweep=moe_distill.sweeps.hooks.nope: the dotted name",
    ),
    ("recipe.lr_factors={nobody: 2}", "recipe.lr_factors.nobody=2: no such key; there are alexnet"),
    ("seeds=0", "seeds=0: a whole number of at least 1 and at most 1000"),
    ("features.networks=0", "features.networks=0: a whole number of at least 1"),
    ("method.foo=1", "method.foo=1: no such key; there are augment, ce_weight, factor"),
    ("method.queue.foo=1", "method.queue.foo=1: no such key; there are batch_size, capacity"),
    ("recipe.foo=1", "recipe.foo=1: no such key; there are augment, batch_size"),
    ("shorten.idm.iterations=0", "shorten.idm.iterations=0: a whole number of at least 1"),
    ("method.queue.first=200", "method.queue.first=200: at most capacity=100"),
    ("trainer.max_epochs=3", "trainer.max_epochs=3: no such key; there are accelerator, devices"),
    ("trainer.limit_train_batches=2", "trainer.limit_train_batches=2: no such key; there are accelerator"),
    ("trainer._target_=pytorch_lightning.Trainer", "trainer._target_=pytorch_lightning.Trainer: moe_"),
    ("trainer.devices=auto", "trainer.devices=auto: a whole number of at least 1"),
    ("student_epochs.foo=3", "student_epochs.foo=3: no such key; there are clom_teacher"),
    ("name=../x", "name=../x: the name of one folder"),
    ("paths.runs=null", "paths.runs=None: "),
]


def usual(*given):
    """Return a command line: what is given, and the usual for what is not."""
    typed = {override.lstrip("+").split("=")[0] for override in given}
    return [*(f"{key}={value}" for key, value in USUAL.items() if key not in typed), *given]


def build(cfg):
    """Check a configuration and build what it names, as a run does before any work."""
    check_paths(cfg)
    with errors_as_typed(cfg):
        resolve_and_check(cfg)
        for name in ("runtime", "pipeline"):
            instantiate(cfg[name], _convert_="all")


@pytest.mark.parametrize(
    ("given", "said"), COMPOSED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_what_is_typed_is_refused_by_its_key_with_what_is_allowed(composed, given, said):
    with pytest.raises((InputError, HydraException, OmegaConfBaseException)) as refused:
        build(composed(*usual(*given)))
    line = str(input_error_of(refused.value) or one_line(refused.value))
    assert line.startswith(said) and "\n" not in line


@pytest.mark.parametrize(("typed", "said"), VALUES, ids=lambda value: value.split(":")[0])
def test_a_value_is_refused_by_its_key_with_what_is_allowed(composed, typed, said):
    cfg = composed(*usual())
    key, _, _ = typed.partition("=")
    OmegaConf.update(cfg, key, OmegaConf.from_dotlist([typed.replace(key, "value", 1)]).value, force_add=True)
    with pytest.raises(Exception) as refused:  # Hydra wraps what a class refuses
        build(cfg)
    line = str(input_error_of(refused.value))
    assert line.startswith(said) and "\n" not in line


def test_a_configuration_that_is_right_is_built(composed):
    build(composed(*usual()))
