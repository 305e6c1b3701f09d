"""``numerics`` reaches every network of a run, and runs as exact on a machine without such instructions."""

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from moe_distill.config import resolvers
from moe_distill.config.resolving import resolve_and_check
from moe_distill.errors import InputError
from moe_distill.models import numerics
from moe_distill.models.numerics import dtype_of

JOB = ("scale=smoke", "method=tgdd", "experts=convnet_vgg", "students=modern", "regulariser=clom")


def every_value(tree, name):
    """Return the values under a name anywhere in plain containers."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    values = [value for key, value in entries if key == name]
    return values + [v for _, entry in entries for v in every_value(entry, name)]


@pytest.fixture(params=[True, False], ids=["with instructions", "without"])
def here(request, monkeypatch):
    monkeypatch.setattr(numerics, "computes_bf16", lambda accelerator: request.param)
    resolvers._computed_here.cache_clear()
    yield "bf16" if request.param else "exact"
    resolvers._computed_here.cache_clear()


def test_every_network_of_a_run_gets_the_arithmetic_of_the_machine(composed, here, capsys):
    cfg = composed(*JOB, "numerics=bf16")
    resolved = OmegaConf.to_container(cfg, resolve=True)
    del resolved["numerics"]
    values = every_value(resolved, "numerics")
    # At least: the network, that of the features, two experts', three students'.
    assert len(values) >= 7 and {*values} == {here}
    warned = capsys.readouterr().err
    warning = "numerics=bf16 runs as exact: this machine has no instructions for bf16"
    assert warned.count(warning) == (here == "exact")
    dtype = {"bf16": "bfloat16", "exact": "float32"}[here]
    assert {dtype_of(instantiate(node)) for node in cfg.students.values()} == {dtype}


def test_exact_is_the_default_of_the_published_protocol(composed):
    assert composed("scale=paper").numerics == "exact"


def test_a_wrong_word_is_named(composed):
    with pytest.raises(InputError, match=r"^numerics=fp8: exact or bf16$"):
        resolve_and_check(composed("numerics=fp8"))


def test_a_network_that_would_ignore_it_is_refused(composed, here):
    cfg = composed("scale=smoke", "data=digits", "numerics=bf16", "~model.numerics")
    with pytest.raises(InputError, match="numerics=bf16: exact with ConvNet, which does not take numerics"):
        resolve_and_check(cfg)
