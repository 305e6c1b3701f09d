"""The page of a sweep in headless Chromium: it fits its window, and the slider goes through the
iterations."""

import html
import json
import re
import shutil
import subprocess

import pytest

from moe_distill.results.known_rows import FinishedRows
from moe_distill.store.store import Store
from moe_distill.sweeps.jobs import Cell, Sweep
from moe_distill.sweeps.report import report_sweep

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]
# A frame of the wanted width, since the browser has a least width of its own; the page in it has the same
# origin.
FRAME = """<body style="margin:0"><iframe width="{width}" height="900" srcdoc="{page}"></iframe><script>
document.querySelector('iframe').onload = event => {{
  const page = event.target.contentDocument, slider = page.querySelector('.way input');
  const images = [...page.querySelectorAll('img[data-step]')];
  const shown = () => images.filter(i => i.offsetHeight).map(i => i.dataset.step);
  const told = {{width: page.documentElement.scrollWidth, last: shown(), steps: slider.dataset.steps}};
  slider.value = 0;
  slider.dispatchEvent(new Event('input'));
  told.first = shown();
  told.says = page.querySelector('.way output').textContent;
  told.sections = [...page.querySelectorAll('h2')].map(h => h.textContent);
  document.body.textContent = 'TOLD' + JSON.stringify(told) + 'END';
}};
</script></body>"""


@pytest.fixture(scope="module")
def page(shared_suite):
    """The page of a sweep of one cell."""
    sweep = shared_suite.home / "sweep"
    sweep.mkdir()
    (sweep / "multirun.yaml").touch()
    short = ("method=dm", "students=convnet3", "seeds=1", "recipe.epochs=1", "baselines=random")
    shared_suite(*short, f"paths.output={sweep}/job")
    Sweep("python -m moe_distill.run", {"claim": "It fits."}, (Cell("x=1", "job", "python", ()),)).write(
        sweep
    )
    report_sweep(sweep, FinishedRows(Store(shared_suite.store)))
    return (sweep / "report.html").read_text()


@pytest.mark.parametrize("width", [1400, 400])
def test_the_page_fits_its_window_and_its_slider_works(page, width, tmp_path):
    (tmp_path / "frame.html").write_text(FRAME.format(width=width, page=html.escape(page)))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom"]
    command = [BROWSER, *flags, f"--user-data-dir={tmp_path}/profile", f"file://{tmp_path}/frame.html"]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    told = json.loads(html.unescape(re.search("TOLD(.*)END", dumped)[1]))
    assert told["width"] <= width
    assert told["steps"] == "0 1 3" and told["last"] == ["2", "2"]  # of both experts
    assert told["first"] == ["0", "0"] and told["says"] == "0"
    wanted = [
        "Accuracy",
        "Accuracy by network",
        "Distilled images",
        "Features of the experts",
        "Cost",
        "Cells",
    ]
    assert [s for s in wanted if s not in told["sections"]] == []
