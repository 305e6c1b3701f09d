"""Options of a run that its methods would ignore are refused; where they mean nothing they are in no key."""

import functools
from pathlib import Path

import pytest
from conftest_mixture import dm, idm, random
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register
from moe_distill.errors import InputError
from moe_distill.experts.feasibility import check_options
from moe_distill.experts.forecast import forward_passes
from moe_distill.experts.roster import ExpertSpec, Roster
from moe_distill.methods.base import Method
from moe_distill.store.identity import key
from moe_distill.teachers.perturbation import Perturbation
from moe_distill.teachers.real_batches import RepresentativeSampling


class Alone(Method):
    """A method of somebody's own, which has never heard of the options."""

    iterations = 3

    def prepare(self, context):
        pass


ALONE = ExpertSpec(functools.partial(Alone), 2)


@pytest.fixture(scope="module")
def plan_of():
    """Gives the plan of a command line on digits, and the digits."""
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):

        def plan(*overrides):
            usual = ["scale=smoke", "data=digits", "split=2x2", "paths.output=/nowhere"]
            built = instantiate(compose("config", [*usual, *overrides]).plan, _convert_="all")
            return built, built.data.load(Path())[0]

        yield plan


@pytest.mark.parametrize("others", [(), (dm(), random())])
def test_a_method_that_does_not_know_an_option_is_named(others):
    roster = Roster((*others, ALONE))
    with pytest.raises(InputError, match=r"^perturbation=gaussian: none with method=alone, which does not"):
        check_options(roster, Perturbation(), None)
    with pytest.raises(InputError, match=r"^real_sampling=kmeans: uniform with method=alone, whose"):
        check_options(roster, None, RepresentativeSampling())
    check_options(roster, None, None)


def test_methods_that_know_them_and_selections_are_welcome():
    check_options(Roster((dm(), idm(), random())), Perturbation(), RepresentativeSampling())


@pytest.mark.parametrize("method", ["mtt", "ftd", "datm"])
def test_trajectories_see_no_real_images(plan_of, method):
    plan, real = plan_of(f"method={method}", "real_sampling=kmeans")
    with pytest.raises(InputError, match=rf"^real_sampling=kmeans: uniform with method={method}"):
        plan.check(real)


def test_the_first_images_of_a_class_are_no_choice(plan_of):
    for choice in ("random", "first"):
        plan, real = plan_of("method=ncfm", "real_sampling=kmeans", f"method.real_choice={choice}")
        if choice == "random":
            plan.check(real)
        else:
            with pytest.raises(InputError, match=r"^real_sampling=kmeans: uniform with method=ncfm"):
                plan.check(real)


@pytest.mark.parametrize("method", ["dm", "mtt", "random"])
@pytest.mark.parametrize("option", ["perturbation=gaussian", "real_sampling=kmeans"])
def test_an_option_is_in_the_key_of_what_learns(plan_of, method, option):
    keys = []
    for line in ((), (option,)):
        plan, real = plan_of(f"method={method}", *line)
        keys.append(key(plan.settings(real, Path())))
    assert (keys[0] != keys[1]) == (method != "random")


def test_defaults_of_the_command_line_are_off(plan_of):
    plan, _ = plan_of("method=dm", "perturbation=none", "real_sampling=uniform")
    assert plan.perturbation is None and plan.real_sampling is None
    plan, _ = plan_of("method=dm", "perturbation=gaussian", "perturbation.high=0.05")
    assert plan.perturbation == Perturbation(0.01, 0.05)


def test_choosing_batches_is_forecast(plan_of):
    (plain, real), (chosen, _) = (plan_of("method=dm", *line) for line in ((), ("real_sampling=kmeans",)))
    # Two experts that see half of the images each, all of them once in ten iterations.
    iterations, seen = plain.roster.members[0].method().iterations, 10 * (len(real) // 10 // 2)
    added = forward_passes(chosen, real) - forward_passes(plain, real)
    assert added == pytest.approx(2 * iterations * seen / 10)
