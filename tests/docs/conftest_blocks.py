"""The code blocks of the README and of docs/.

A comment on the line above a block says how it is tested. Without one, Python is executed, and each line of
bash is a command line of ours that is composed and checked but not run:

* ``run``: the command line is run as well;
* ``fails: words``: it is refused with these words;
* ``shell``: its lines are commands of other programs;
* ``compile``: Python that would leave this machine is compiled only;
* ``file: name``: the block is also written to that file, for the blocks after it.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Its blocks are the files of a package, which tests/test_wheel.py installs and runs.
PACKAGED = ROOT / "docs" / "tutorials" / "package.md"
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").rglob("*.md")} - {PACKAGED})]
_FENCE = re.compile(
    r"^(?:<!-- (?P<mark>.*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        page: Its page, relative to the repository.
        line: The line of the page where its text begins.
        language: The fence's.
        mark: How it is tested, or empty.
        text: The code.
    """

    page: str
    line: int
    language: str
    mark: str
    text: str

    @property
    def file(self):
        """The file that it is written to, or None."""
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else None


def blocks_of(text, page):
    """Return the blocks of a page's text."""
    return [
        Block(page, text[: m.start("text")].count("\n") + 1, m["language"], m["mark"] or "", m["text"])
        for m in _FENCE.finditer(text)
    ]


BLOCKS = [b for page in PAGES for b in blocks_of(page.read_text(), page.relative_to(ROOT).as_posix())]


def commands(marks):
    """Return (page:line, words) of each line of bash in blocks with one of the marks, comments left out."""
    return [
        (f"{block.page}:{block.line + number}", shlex.split(line, comments=True))
        for block in BLOCKS
        if block.language == "bash" and block.mark.partition(":")[0] in marks
        for number, line in enumerate(block.text.splitlines())
        if shlex.split(line, comments=True)
    ]
