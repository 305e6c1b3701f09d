"""A path whose first part is the home of a user."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from moe_distill.data.sources.folder import Folder
from moe_distill.errors import InputError
from moe_distill.run import as_hydra_reads
from moe_distill.store.disk import explain_disk_errors
from moe_distill.store.store import Store


@pytest.mark.parametrize("key", ["paths.runs", "hydra.run.dir", "pipeline.path", "data.root"])
def test_a_home_is_expanded_whatever_key_it_is_typed_for(key):
    (read,) = as_hydra_reads([f"{key}=~/a b"])
    assert OverridesParser.create().parse_override(read).value() == str(Path("~/a b").expanduser())
    with pytest.raises(
        InputError, match=rf"^{key}=~nobody-here/x: a path; there is no user of the name after ~"
    ):
        as_hydra_reads([f"{key}=~nobody-here/x"])


@pytest.mark.parametrize(
    ("act", "key"),
    [
        (lambda: Store("~nobody-here"), "paths.store"),
        (lambda: Folder("~nobody-here").load(Path("unused")), "data.root"),
        (explain_disk_errors({"paths.runs": "~nobody-here"}).__enter__, "paths.runs"),
    ],
)
def test_a_home_of_nobody_is_one_line_where_a_yaml_says_it(act, key):
    with pytest.raises(InputError, match=f"^{key}=~nobody-here: a path; there is no user"):
        act()
