"""The networks of conf/model, as the command line makes them."""

import functools
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from moe_distill.config.folders import conf_dir
from moe_distill.config.schema import register

NAMES = sorted(path.stem for path in (Path(conf_dir()) / "model").glob("*.yaml"))


@functools.cache
def settings_of(name, width=0.25, least_map=4):
    """Return what a file of conf/model says with all that it builds on."""
    register()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = compose("config", [f"model={name}", f"width={width}", f"least_map={least_map}"])
    return OmegaConf.to_container(cfg.model, resolve=True)


def loaded(name, width=0.25, **changes):
    """Return the builder of a file of conf/model with some of its settings changed."""
    return instantiate({**settings_of(name, width), **changes})


LIBRARY = [name for name in NAMES if settings_of(name)["_target_"].endswith(".LibraryNetwork")]
