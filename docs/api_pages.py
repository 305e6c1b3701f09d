"""Pages of the Python API, from the names that stubs list; the site's generator fills in the docstrings."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "moe_distill"
_NOTE = "Generated from the docstrings.\n"
_NETWORK_NOTE = "On the command line: `model=` and `students=`; see [the options](options.md#model).\n"
_PAGES = {
    "api.md": ("Python API", "`import moe_distill as md` offers these names.\n", "__init__.pyi"),
    "methods.md": (
        "Methods",
        "`md.methods`; on the command line `method=`, see [the options](options.md#method). Published "
        "settings are filled in by data set and ipc: see [Recipes](../concepts/recipes.md).\n",
        "methods/__init__.pyi",
    ),
    "models.md": ("Networks", f"`md.models`. {_NETWORK_NOTE}", "models/__init__.pyi"),
    "measures.md": (
        "Measures",
        "`md.measures`: functions of two feature matrices; lower means more diverse. On the command line "
        "`diversity/measure=`, see [the options](options.md#diversitymeasure) and "
        "[Diversity](../concepts/diversity.md).\n",
        "measures.py",
    ),
}


def api_pages() -> dict[str, str]:
    """Return the text of each page by its name."""
    return {name: _page(*content) for name, content in _PAGES.items()}


def _page(title: str, words: str, stub: str) -> str:
    names = public_names(PACKAGE / stub)
    directives = "\n\n".join(f"::: {path}" for path in names.values())
    return f"# {title}\n\n{_NOTE}\n{words}\n{directives}\n"


def public_names(stub: Path) -> dict[str, str]:
    """Return the dotted path of each class and function that a stub, or a module of imports, offers.

    Modules are left out: they have pages of their own.
    """
    package = ".".join(stub.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    names = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            module = f"{package}.{node.module}" if node.level else node.module
            names.update({alias.name: f"{module}.{alias.name}" for alias in node.names})
    return dict(sorted(names.items(), key=lambda item: item[0].lower()))
