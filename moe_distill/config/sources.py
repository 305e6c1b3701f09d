"""Options of groups that no yaml file holds: networks of libraries by name, and objects of a Python program.

Hydra reads them from more sources of configurations, as it reads yaml files from a folder; the yamls of
plug-ins are another one:
``model=timm/convnext_atto`` is a network of timm, ``students=[vgg11,timm/convnext_atto]`` trains any network
by its name, ``diversity=hsic`` is the default term with another measure, and ``method=my_method`` is an
object that a program passed to :func:`~moe_distill.config.objects.offering`.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from moe_distill.config.folders import conf_dir, options, require_one
from moe_distill.config.objects import node_of, offered
from moe_distill.config.plugins import plugins, problems
from moe_distill.terminal import warn

_LIBRARIES = ("timm", "torchvision")


class NamedSource(ConfigSource):
    """What sources without files share: their configurations are made when they are asked for."""

    def available(self) -> bool:
        """Return True: it needs no folder."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return True if there are options of a group."""
        return bool(self.options(config_path.rstrip("/")))

    def is_config(self, config_path: str) -> bool:
        """Return True if a path, such as ``model/timm/convnext_atto``, is an option's."""
        return self._option_at(config_path) is not None

    def load_config(self, config_path: str) -> ConfigResult:
        """Return an option's configuration."""
        group, node = self._option_at(config_path) or ("", {})
        # Students stand side by side in one mapping, whatever their names.
        header = {"package": "students" if group == "students" else None}
        config = OmegaConf.create(node)
        return ConfigResult(config=config, path=self.full_path(), provider=self.provider, header=header)

    def _option_at(self, config_path: str) -> tuple[str, dict[str, Any]] | None:
        """Return the group and the node of a path's option, or None: both may have slashes in their names."""
        parts = config_path.removesuffix(".yaml").split("/")
        for cut in range(1, len(parts)):
            group, option = "/".join(parts[:cut]), "/".join(parts[cut:])
            if (node := self.node(group, option)) is not None:
                return group, node
        return None

    def options(self, group: str) -> Sequence[str]:
        """Return the names of a group's options."""
        raise NotImplementedError

    def node(self, group: str, option: str) -> dict[str, Any] | None:
        """Return an option's configuration in plain containers, or None if there is no such option."""
        raise NotImplementedError

    # Last, as the class would take this method for the type in annotations below it.
    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return the options of a group; those without an end, such as timm's networks, are not listed."""
        return [] if results_filter == ObjectType.GROUP else sorted(self.options(config_path.rstrip("/")))


class OfferedSource(NamedSource):
    """The objects of a Python program; they go before yaml files of the same name."""

    @staticmethod
    def scheme() -> str:
        """Return what its place in the search path begins with."""
        return "offered"

    def options(self, group: str) -> Sequence[str]:
        """Return the names of a group's objects."""
        return [*offered.get().get(group, {})]

    def node(self, group: str, option: str) -> dict[str, Any] | None:
        """Return the node that builds an object again, or None if there is no such object."""
        objects = offered.get().get(group, {})
        if option not in objects:
            return None
        node = node_of(objects[option], group)
        # Students stand side by side in one mapping.
        return {option: node} if group == "students" else node


class LibrarySource(NamedSource):
    """Networks of torchvision and timm by name, and any network as a student."""

    @staticmethod
    def scheme() -> str:
        """Return what its place in the search path begins with."""
        return "library"

    def options(self, group: str) -> Sequence[str]:
        """Return nothing: there are hundreds, and each library lists its own."""
        return []

    def node(self, group: str, option: str) -> dict[str, Any] | None:
        """Return the configuration of a library's network, of a network as a student, or of a measure."""
        library, _, name = option.partition("/")
        if group == "model" and library in _LIBRARIES and re.fullmatch(r"[\w.]+", name):
            return network_of(library, name)
        if group == "students" and (library in _LIBRARIES or option in options("model")):
            # With the library in front: both have a resnet18, and so have we.
            return {"defaults": [{f"/model@{re.sub(r'[/.]', '_', option)}": option}]}
        if group == "diversity" and option in options("diversity/measure"):
            return {"defaults": ["default", {"override measure": option}]}
        return None


def network_of(library: str, name: str) -> dict[str, Any]:
    """Return the node of a library's network.

    Args:
        library: ``timm`` or ``torchvision``.
        name: The network's name there.
    """
    return {
        "_target_": f"moe_distill.models.{library}_network.{library.capitalize()}Network",
        "_partial_": True,
        "name": name,
        "numerics": "${numerics_here:}",
        "least_map": "${least_map}",
        "weights": {"_target_": "moe_distill.models.weights.weights_file", "path": None},
    }


class PluginSource(FileConfigSource):
    """The yamls of a plug-in, behind ours."""

    @staticmethod
    def scheme() -> str:
        """Return what its place in the search path begins with."""
        return "plugin"

    def load_config(self, config_path: str) -> ConfigResult:
        """Return an option's configuration.

        Raises:
            InputError: Another plug-in has an option of the same name.
        """
        require_one(config_path.removesuffix(".yaml"))
        return super().load_config(config_path)


class NamedOptions(SearchPathPlugin):
    """Adds all these sources to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put objects before our yaml files, plug-ins and then libraries behind them."""
        for problem in problems(Path(conf_dir())):
            _warn(problem)
        search_path.prepend("moe_distill-objects", "offered://")
        for plugin in plugins():
            if plugin.conf is not None:
                search_path.append(plugin.package, f"plugin://{plugin.conf}")
        search_path.append("moe_distill-libraries", "library://")


@functools.cache
def _warn(problem: str) -> None:
    """Warn of a problem, once in a process, which may compose many configurations."""
    warn(problem)
