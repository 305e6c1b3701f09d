"""The digest of what a script or a notebook defines: its code, and whatever it uses of the same program."""

import sys
import types

import pytest

from moe_distill.store.code_digest import code_digest

BEFORE = """
SCALE = 2

def helper(x):
    return x * SCALE

class Base:
    def shared(self):
        return 1

class Mine(Base):
    names = frozenset({"a", "b", "c"})
    def run(self, x, add=1):
        # a comment
        return [helper(y) + add for y in x]
"""


def digest(source, monkeypatch):
    """Return the digest of ``Mine`` in a program that consists of a source."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(compile(source, "<cell>", "exec"), vars(main))
    return code_digest(main.Mine)


def test_comments_and_lines_do_not_count(monkeypatch):
    moved = "\n\n" + BEFORE.replace("# a comment", "# another one")
    assert digest(BEFORE, monkeypatch) == digest(moved, monkeypatch)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+ add for", "- add for"),
        ("add=1", "add=2"),
        ("SCALE = 2", "SCALE = 3"),
        ("return x * SCALE", "return x + SCALE"),
        ("return 1", "return 2"),
        ('"c"', '"d"'),
        ("def run", "def go"),
        ("class Mine(Base)", "class Mine(dict)"),
    ],
)
def test_whatever_decides_what_it_does_counts(monkeypatch, old, new):
    assert old in BEFORE
    assert digest(BEFORE, monkeypatch) != digest(BEFORE.replace(old, new), monkeypatch)
