import sys

import pytest

from moe_distill.errors import InputError
from moe_distill.sweeps.launchers.composing import check_folders, module_name
from moe_distill.sweeps.launchers.processes import Job


@pytest.mark.parametrize(
    ("spec", "given", "name"), [("a.run", None, "a.run"), ("a.run", "b", "b"), (None, None, "c")]
)
def test_module_name(monkeypatch, spec, given, name):
    def task(config):
        """A task of a module."""

    task.__module__ = "c"
    main = type(sys)("__main__")
    main.__spec__ = spec and type("Spec", (), {"name": spec})
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert module_name(given, task) == name


def test_a_script_has_no_module_name(monkeypatch):
    def task(config):
        """A task of a script."""

    task.__module__ = "__main__"
    monkeypatch.setitem(sys.modules, "__main__", type(sys)("__main__"))
    with pytest.raises(InputError, match=r"hydra\.launcher\.module=None: name the module"):
        module_name(None, task)


def test_folders_are_compared_by_path(tmp_path):
    check_folders([Job("a", tmp_path / "a", []), Job("a", tmp_path / "b", [])])
