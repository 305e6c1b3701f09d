"""Stage the site: written pages, and pages generated from the configuration, docstrings and committed rows.

``python docs/generate.py DIR`` fills DIR; ``zensical build --strict -f DIR/zensical.toml`` builds the site.
"""

import shutil
import sys
from pathlib import Path

from api_pages import api_pages
from gallery import gallery, with_rows
from option_pages import option_pages

DOCS = Path(__file__).parent
COPIED = {".md", ".css", ".svg", ".png", ".ipynb"}


def stage(folder: Path, experiments: list[str]) -> None:
    """Fill a folder with all that the site is built from.

    Args:
        folder: Where; what was there is deleted.
        experiments: Those whose committed rows the gallery shows.
    """
    shutil.rmtree(folder, ignore_errors=True)
    pages = folder / "pages"
    for source in sorted(path for path in DOCS.rglob("*") if path.suffix in COPIED):
        target = pages / source.relative_to(DOCS)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    for name in ("zensical.toml", "docstrings.py"):
        shutil.copyfile(DOCS / name, folder / name)
    for name, text in {**option_pages(experiments), **api_pages()}.items():
        target = pages / "reference" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    gallery(pages / "gallery", experiments)


if __name__ == "__main__":
    stage(Path(sys.argv[1]), with_rows())
