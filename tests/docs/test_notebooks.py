"""The notebooks run from their first cell to their last, and are committed without outputs."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
# Before the first cell: every call works at the smallest scale, whatever the notebook says.
SMOKE = """
from moe_distill.api import session
plain = session.call_of
session.call_of = lambda keywords: plain({**keywords, "scale": "smoke"})
"""


def texts(notebook):
    """Return what the cells of a notebook show and print, as one text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [*(output.get("text", "") for output in outputs)]
    kinds = ("text/plain", "text/html")
    return "\n".join(
        [*shown, *(str(o["data"].get(kind, "")) for o in outputs if "data" in o for kind in kinds)]
    )


def run(notebook, folder, monkeypatch):
    monkeypatch.setenv("MOE_DISTILL_HOME", str(folder / "store"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "moe_distill" / "sweeps"))))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    return client.execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_is_committed_without_outputs(path):
    cells = nbformat.read(path, 4).cells
    assert len(cells) > 5
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_to_its_end_with_readable_progress(path, tmp_path, monkeypatch):
    notebook = nbformat.read(path, 4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SMOKE))
    text = texts(run(notebook, tmp_path, monkeypatch))
    assert "points, 95 % interval" in text
    assert "Warning" not in text and "\x1b[" not in text
    assert re.search(r"distill \w+: +\d+%\|", text)  # a bar, where there are no widgets


@pytest.mark.slow
def test_a_cell_that_fails_is_seen(tmp_path, monkeypatch):
    broken = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("import moe_distill as md\nmd.nothing")]
    )
    with pytest.raises(Exception, match="nothing"):
        run(broken, tmp_path, monkeypatch)
