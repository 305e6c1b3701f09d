"""The laws of the source: sizes, and what no module may do. Each law is shown a source that breaks it."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "moe_distill").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
YAML = sorted((ROOT / "conf").rglob("*.yaml"))

FILE_LINES, FUNCTION_LINES, YAML_LINES = 300, 45, 40
NAMELESS = ("utils", "util", "helpers", "helper", "common", "misc")


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for names and attributes of names, what is known of its end for others."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported(node: ast.AST) -> list[str]:
    """Return the dotted names that an import statement names."""
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module or ''}.{alias.name}" for alias in node.names]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def calls(node: ast.AST) -> str:
    """Return the dotted name of what a call calls."""
    return dotted(node.func) if isinstance(node, ast.Call) else ""


def names_cuda(node: ast.AST) -> bool:
    """Say whether a node is the text of a CUDA device."""
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    return text == "cuda" or text.startswith("cuda:")


def seeds(node: ast.AST) -> bool:
    """Say whether a node touches randomness that is not a stream."""
    uses = f"{calls(node)}(" if isinstance(node, ast.Call) else ""
    named = dotted(node) if isinstance(node, ast.Attribute) else ""
    return (
        uses.endswith((".manual_seed(", ".manual_seed_all(", "seed_everything(", "random.seed("))
        or named.startswith(("np.random", "numpy.random"))
        or any(name == "random" or name.startswith(("random.", "numpy.random")) for name in imported(node))
    )


def compares(node: ast.AST, name: str) -> bool:
    """Say whether a node compares something called ``name`` with a text."""
    if not isinstance(node, ast.Compare):
        return False
    sides = [node.left, *node.comparators]
    named = any(dotted(side).split(".")[-1] in (name, f"{name}_name") for side in sides)
    texts = [inner for side in sides for inner in ast.walk(side) if isinstance(inner, ast.Constant)]
    return named and any(isinstance(text.value, str) for text in texts)


def synchronises(node: ast.AST) -> bool:
    """Say whether a call passes ``sync_dist``."""
    return isinstance(node, ast.Call) and any(keyword.arg == "sync_dist" for keyword in node.keywords)


# What is forbidden, how it is seen, a source that does it, and one that looks alike but may.
LAWS: dict[str, tuple[Callable[[ast.AST], bool], str, str]] = {
    ".cuda()": (lambda n: calls(n).endswith(".cuda"), "f(x).cuda()", "torch.cuda.empty_cache()"),
    "a literal cuda": (names_cuda, "x.to('cuda:0')", "print_ = 'cudagraphs'"),
    "a global statement": (lambda n: isinstance(n, ast.Global), "def f():\n    global x", "globals()"),
    "import *": (
        lambda n: any(i.endswith(".*") for i in imported(n)),
        "from torch import *",
        "from torch import nn",
    ),
    "print": (lambda n: calls(n) == "print", "def f():\n    print(1)", "console.print(1)"),
    "argparse": (
        lambda n: any(i.startswith("argparse") for i in imported(n)),
        "import argparse",
        "import ast",
    ),
    "trainer.global_step": (
        lambda n: isinstance(n, ast.Attribute) and n.attr == "global_step",
        "self.trainer.global_step",
        "self.iteration",
    ),
    "sync_dist": (synchronises, "self.log('x', x, sync_dist=True)", "self.log('x', x)"),
    "if method ==": (
        lambda n: compares(n, "method"),
        "if spec.method == 'idm': pass",
        "if method is None: pass",
    ),
    "if dataset ==": (
        lambda n: compares(n, "dataset"),
        "x = 1 if dataset in ('a', 'b') else 2",
        "dataset == other",
    ),
    "a seed of its own": (seeds, "torch.manual_seed(0)", "stream(seed, 'x')"),
}
MORE_SEEDS = (
    "import random",
    "from random import choice",
    "np.random.rand()",
    "torch.Generator().manual_seed(1)",
    "from numpy.random import rand",
    "pl.seed_everything(3)",
)


def offences(source: str, file: str) -> list[str]:
    """Return the laws that a source breaks, with file and line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for law, (breaks, _, _) in LAWS.items():
            if breaks(node) and not (law == "a seed of its own" and file.endswith("seeding.py")):
                found.append(f"{file}:{node.lineno}: {law}")
    return found


def long_functions(source: str) -> Iterator[str]:
    """Yield the functions of a source that have too many lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{node.name}: {lines} lines"


def early_ends(source: str) -> Iterator[str]:
    """Yield the tests of a source that return, or go on to the next turn, before their end, as if they had
    tested."""
    for test in ast.walk(ast.parse(source)):
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            inner = {
                n
                for f in ast.walk(test)
                if f is not test and isinstance(f, ast.FunctionDef)
                for n in ast.walk(f)
            }
            if any(isinstance(node, ast.Return | ast.Continue) for node in {*ast.walk(test)} - inner):
                yield test.name


def too_long(text: str, most: int) -> bool:
    """Say whether a text has more lines than it may."""
    return len(text.splitlines()) > most


def nameless(paths: list[Path]) -> list[Path]:
    """Return the modules whose name says nothing of what they hold."""
    return [path for path in paths if {path.stem, path.parent.name} & {*NAMELESS}]


def test_there_is_something_to_judge():
    assert len(PACKAGE) > 50 and len(TESTS) > 10 and len(YAML) > 80


def test_no_file_is_too_long():
    assert [path for path in PACKAGE + TESTS if too_long(path.read_text(), FILE_LINES)] == []
    assert [path for path in YAML if too_long(path.read_text(), YAML_LINES)] == []


def test_no_function_is_too_long():
    assert [
        f"{path}: {found}" for path in PACKAGE + TESTS for found in long_functions(path.read_text())
    ] == []


def test_the_package_breaks_no_law():
    assert [line for path in PACKAGE for line in offences(path.read_text(), str(path))] == []


def test_every_module_has_a_name_that_says_what_it_holds():
    assert nameless([path.relative_to(ROOT) for path in PACKAGE]) == []
    assert nameless([Path("moe_distill/utils.py"), Path("moe_distill/common/x.py"), Path("a/zca.py")]) == [
        Path("moe_distill/utils.py"),
        Path("moe_distill/common/x.py"),
    ]


def test_no_test_ends_early_as_if_it_had_tested():
    suites = [path for path in PACKAGE if path.parent.name == "testing"]
    assert [f"{path}: {name}" for path in TESTS + suites for name in early_ends(path.read_text())] == []


@pytest.mark.parametrize(
    ("body", "early"),
    [
        ("if x:\n        return\n    assert y", True),
        ("for x in y:\n        if x: continue\n        assert x", True),
        ("def inner(x):\n        return x\n    assert inner(y)", False),
        ("if x: pytest.skip('there is none')\n    assert y", False),
    ],
)
def test_an_early_end_is_seen_in_a_test_and_not_in_what_it_defines(body, early):
    assert list(early_ends(f"class A:\n  def test_x():\n    {body}\n")) == ["test_x"] * early
    assert list(early_ends(f"def helper():\n    {body}\n")) == []


@pytest.mark.parametrize("law", LAWS)
def test_each_law_sees_its_breach_and_nothing_else(law):
    _, breach, lawful = LAWS[law]
    assert {line.split(": ")[1] for line in offences(breach, "planted.py")} == {law}
    assert offences(lawful, "planted.py") == []


@pytest.mark.parametrize("breach", MORE_SEEDS)
def test_randomness_comes_from_streams_outside_the_module_that_makes_them(breach):
    assert offences(breach, "moe_distill/data/planted.py") != []
    assert offences(breach, "moe_distill/seeding.py") == []


@pytest.mark.parametrize("lines", [FUNCTION_LINES, FUNCTION_LINES + 1])
def test_a_function_is_measured_from_its_first_line_to_its_last(lines):
    source = "class A:\n    @property\n    def f(self):\n" + "        x = 1\n" * (lines - 1)
    assert len(list(long_functions(source))) == (lines > FUNCTION_LINES)


def test_a_file_may_have_exactly_as_many_lines_as_allowed():
    assert not too_long("x\n" * FILE_LINES, FILE_LINES)
    assert too_long("x\n" * (FILE_LINES + 1), FILE_LINES)
