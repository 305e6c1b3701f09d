"""Pickles of tensors: what is read, and that nothing else is, whatever a file tries."""

import io
import os
import pickle
import struct
import time
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from moe_distill.errors import InputError
from moe_distill.synthetic.formats.foreign import TargetData
from moe_distill.synthetic.formats.layouts import layout_of
from moe_distill.synthetic.formats.loading import load_pt
from moe_distill.synthetic.formats.pickled import load_tensors

WANTED = TargetData(("cat", "dog", "emu"), (3, 8, 8), 1 << 20)
HARD = torch.arange(3).repeat_interleave(2)


def pixels():
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def written(folder, value, protocol=4):
    path = folder / "acc_0.5.pkl"
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickled_pair_of_tensors_is_read_bit_for_bit(tmp_path, protocol):
    base = pixels()
    value = (
        base.transpose(2, 3),
        HARD.int(),
        [base.half(), base[2:4].requires_grad_(), torch.nn.Parameter(base[:3])],
    )
    found = load_tensors(written(tmp_path, value, protocol))
    for one, other in zip((*value[:2], *value[2]), (*found[:2], *found[2]), strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other) and not other.requires_grad


def call(name, *given):
    """Return a pickle that calls a function with texts and bytes."""
    module, function = name.rsplit(".", 1)
    return b"\x80\x04c" + f"{module}\n{function}\n(".encode() + b"".join(map(one, given)) + b"tR."


def one(value):
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


class Runs:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def storage(value):
    """Return the file of a tensor's numbers, as torch pickles it."""
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def zipped(value):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", value)
    return buffer.getvalue()


def repeated(stored, times):
    """Return a pickle that opens one stored tensor again and again."""
    load = b"ctorch.storage\n_load_from_bytes\nq\x010" + one(stored) + b"q\x020"
    return b"\x80\x04" + load + b"](" + b"h\x01h\x02\x85R" * times + b"e."


ATTACKS = {
    "code": lambda mark: pickle.dumps(Runs(mark)),
    "code in the second part": lambda mark: pickle.dumps((pixels(), Runs(mark))),
    "code in a stored tensor": lambda mark: call("torch.storage._load_from_bytes", storage(Runs(mark))),
    "code in a zipped tensor": lambda mark: call(
        "torch.storage._load_from_bytes", zipped(pickle.dumps(Runs(mark)))
    ),
    "a shell": lambda mark: call("os.system", f"mkdir {mark}"),
    "eval": lambda mark: call("builtins.eval", f"__import__('os').mkdir('{mark}')"),
    "a name below a known one": lambda mark: call("torch._utils._rebuild_tensor_v2.__globals__", str(mark)),
    "torch.load": lambda mark: call("torch.load", str(mark)),
    "attributes of a function": lambda mark: (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb."
    ),
    "a huge number in the memo": lambda mark: b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a text of 16 exabytes": lambda mark: b"\x80\x04\x8d" + b"\xff" * 7 + b"\x7f.",
    "a tensor of other storage": lambda mark: call("torch._utils._rebuild_tensor_v2", "a", "b", "c", "d"),
    "one tensor opened 200 times": lambda mark: repeated(storage(torch.zeros(1000)), 200),
    "endless": lambda mark: b"\x80\x02" + b"N0" * 200_000 + b"N.",
    "deep": lambda mark: b"\x80\x02" + b"(" * 200_000,
    "cut": lambda mark: pickle.dumps((pixels(), HARD))[:-500],
    "empty": lambda mark: b"",
    "of numpy": lambda mark: pickle.dumps((np.zeros((6, 3, 8, 8), np.float32), np.arange(6))),
    "of a dict": lambda mark: pickle.dumps(OrderedDict(a=1)),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_pickle_of_anything_else_is_refused_at_once_and_not_run(tmp_path, attack):
    mark = tmp_path / "ran"
    path = written(tmp_path, attack(mark))
    began = time.process_time()
    with pytest.raises(InputError, match="holds something else, such as code") as caught:
        layout_of(path).read(path, WANTED)
    assert "\n" not in str(caught.value) and not mark.exists() and time.process_time() - began < 5


def test_the_attacks_are_attacks(tmp_path):
    for number, name in enumerate(
        ("code", "code in the second part", "a shell", "eval", "code in a stored tensor")
    ):
        pickle.loads(ATTACKS[name](tmp_path / str(number)))
        assert (tmp_path / str(number)).exists()


def test_a_pickle_larger_than_allowed_is_not_read(tmp_path):
    path = written(tmp_path, (torch.zeros(60, 3, 8, 8), HARD))
    with pytest.raises(InputError, match="largest_gib"):
        layout_of(path).read(path, TargetData(WANTED.classes, WANTED.shape, 10_000))
    path = written(tmp_path, (torch.zeros(1).expand(6, 3, 8, 8), HARD))
    with pytest.raises(InputError, match="largest_gib"):
        layout_of(path).read(path, TargetData(WANTED.classes, WANTED.shape, 4000))


@pytest.mark.parametrize(
    ("folder", "factor"), [("C_ipc_1_aug_True_model_N", 2), ("x", 2), ("a_aug_False_b", 1)]
)
def test_idms_tiles_are_known_by_its_folder(tmp_path, folder, factor):
    (tmp_path / folder).mkdir()
    path = written(tmp_path / folder, (pixels(), HARD))
    found = layout_of(path).read(path, WANTED)
    assert (found.factor, found.by_column, found.convention) == (factor, factor == 2, "mtt")
    assert (found.method, found.spaces) == ("idm", ("standardised",))


def test_a_saved_network_is_refused_by_what_it_names_without_the_advice_to_run_it(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "images.pt")
    with pytest.raises(InputError, match=r"it names torch\.nn\.modules\.linear\.Linear\)$") as caught:
        load_pt(tmp_path / "images.pt", WANTED)
    assert "still be loaded" not in str(caught.value)
