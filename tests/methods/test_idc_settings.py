"""IDC's settings: the published protocol, the rate rule, what is refused."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from conftest_methods import Stepper, new_network
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from test_idc import MATCH, idc, prepared, source
from torch import nn

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.data.initialization import first_real, noise
from moe_distill.errors import InputError
from moe_distill.methods.matching.distances import sum_squares
from moe_distill.seeding import global_seed, stream
from moe_distill.synthetic.tiling import Tiling


def test_one_rate_moves_the_whole_set_by_the_experts_ipc_and_the_image_size(round_of):
    for ipc, expected in ((1, 5e-4), (5, 2.5e-3), (10, 5e-3), (50, 2.5e-2)):
        method = idc(base_size=8)
        syn = round_of(method, ipc).syn
        (group,) = method.parameter_groups(syn)
        assert (group["lr"], group["momentum"]) == (pytest.approx(expected), 0.5)
        assert [p is syn.images for p in group["params"]] == [True]
    method = idc(base_size=16)
    assert method.parameter_groups(round_of(method, 10).syn)[0]["lr"] == pytest.approx(5e-3 / 4)


def test_another_start_fills_the_pixel_range(round_of):
    _, context = prepared(round_of, init=noise)
    images = context.syn.images.detach()
    assert images.min() >= 0 and images.max() <= 1
    assert float(images.mean()) == pytest.approx(0.5, abs=0.05) and float(images.std()) == pytest.approx(
        0.25, abs=0.05
    )


@pytest.mark.parametrize(("n_data", "batch", "steps"), [(2000, 64, 34), (40, 16, 3), (48, 16, 3), (0, 16, 0)])
def test_a_network_trains_on_at_least_as_many_images_as_told(real, n_data, batch, steps):
    """The set has 60 images: batches of 64 hold 60."""
    network = source(n_data=n_data, batch_size=batch)
    network.renew(lambda rng: new_network(rng).float(), stream(0, "n"))
    seen = []
    network.network.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    network.train(real, stream(0, "t"))
    assert seen == [min(batch, 60)] * steps


def test_wrong_settings_are_named(real):
    with pytest.raises(InputError, match=r"factor=3: 1 to 2,"):
        idc(factor=3).check(real)
    idc(factor=2).check(real)
    with pytest.raises(InputError, match=r"factor=0"):
        idc(factor=0)
    with pytest.raises(InputError, match=r"formation=.*single or multi or bound"):
        idc(formation="double")
    with pytest.raises(InputError, match=r"source\.renew_every=0"):
        idc(source=partial(source, renew_every=0))


@pytest.mark.parametrize(("data", "ipc", "noe"), [("cifar10", 1, 2), ("cifar10", 50, 1), ("cifar100", 10, 2)])
def test_the_configured_protocol_is_the_published_one(data, ipc, noe):
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        given = [
            "method=idc",
            "scale=paper",
            f"data={data}",
            f"ipc={ipc}",
            f"noe={noe}",
            "paths.output=/nowhere",
        ]
        cfg = compose("config", given)
        method = instantiate(cfg.plan).roster.members[0].method()
    assert cfg.recipe.name == "idc"
    assert (method.iterations, method.lr, method.base_size, method.momentum) == (200_000, 5e-3, 32, 0.5)
    assert (method.real_batch, method.synthetic_batch, method.formation) == (64, 128, "single")
    assert method.tiling == Tiling(2, fill=0.5)
    assert (method.distance.func, method.init.func, method.augment) == (sum_squares, first_real, MATCH)
    settings, expected = (
        vars(s) for s in (method.source, source(renew_every=100, n_data=2000, batch_size=64))
    )
    del settings["epochs"], expected["epochs"]
    assert settings == expected


def test_dropout_draws_from_the_experts_stream_alone(round_of):
    def dropping(rng):
        network = new_network(rng)
        network.body.append(nn.Dropout(0.5))
        return network

    moved = []
    for unrelated in range(2):
        method, context = prepared(round_of)
        with global_seed(stream(unrelated, "of no concern")):
            method.iterate(replace(context, new_network=dropping), Stepper(context.syn, lr=1e-3))
        moved.append(context.syn.images.detach())
    plain, context = prepared(round_of)
    plain.iterate(context, Stepper(context.syn, lr=1e-3))
    assert torch.equal(*moved) and not torch.equal(moved[0], context.syn.images)
