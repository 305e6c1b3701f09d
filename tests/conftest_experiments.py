"""The index of experiments in experiments/README.md."""

import re
from pathlib import Path

from moe_distill.config.schema import experiments_dir

FOLDERS = Path(experiments_dir())


def listed():
    """Return (item, experiments) of the list in experiments/README.md."""
    lines = re.findall(r"^\| (\S+) \| .* \| (.*) \|$", (FOLDERS / "README.md").read_text(), re.MULTILINE)
    return [(item, re.findall(r"`(\w+)`", names)) for item, names in lines if "`" in names]


def listed_experiments():
    """Return the names of all experiments in that list."""
    return {name for _, names in listed() for name in names}
