"""Sets of other programs whose classes, statistics or tiles are not as the data's here: mapped, told, or
refused."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from moe_distill.data.normalization import Normalisation
from moe_distill.data.real_set import RealSet
from moe_distill.data.sources.public_sets import Digits
from moe_distill.data.zca import ZCA
from moe_distill.errors import InputError
from moe_distill.pipelines.import_set import ImportSet
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling

WOOF = (
    *("Australian terrier", "Border terrier", "Samoyed", "beagle", "Shih-Tzu", "English foxhound"),
    *("Rhodesian ridgeback", "dingo", "golden retriever", "Old English sheepdog"),
)


@pytest.fixture
def runtime(tmp_path):
    """What import and export know of a run."""
    return SimpleNamespace(cache=tmp_path / "cache", output=tmp_path / "out")


def stored(folder, **tensors):
    folder.mkdir()
    for name, value in tensors.items():
        torch.save(value, folder / f"{name}.pt")
    return folder


def refusal(runtime, pipeline, *given, **more):
    with pytest.raises(InputError) as caught:
        pipeline(*given, **more).run(runtime)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Made:
    """Real images made up under a data set's name, whose classes differ in their grey."""

    def __init__(self, name, classes, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2)):
        self.name, self.about = name, (tuple(classes), mean, std, name, "made")

    def load(self, cache):
        greys = torch.linspace(20, 230, len(self.about[0])).repeat_interleave(3).view(-1, 1, 1, 1)
        noise = torch.randn(len(greys), 3, 8, 8, generator=torch.Generator().manual_seed(0))
        pixels = (greys + 10 * noise).clamp(0, 255).to(torch.uint8)
        labels = torch.arange(len(self.about[0])).repeat_interleave(3)
        return (RealSet(pixels, labels, *self.about),) * 2


def woof():
    """ImageWoof's classes as they are numbered here, sorted by WordNet id."""
    return Made("imagewoof", [WOOF[i] for i in (4, 6, 3, 5, 1, 0, 8, 9, 2, 7)])


def test_mtts_imagewoof_is_relabelled_and_said(runtime, tmp_path, capsys):
    train, _ = woof().load(None)
    images = train.normalisation.standardised(train.images_NCHW / 255)
    two = [images[train.class_indices(c)[:2]] for c in range(10)]
    theirs = torch.cat([two[train.classes.index(name)] for name in WOOF])  # MTT's class 0 is class 5 here
    labels = torch.arange(10).repeat_interleave(2)
    plain = stored(tmp_path / "plain", images=theirs, labels=labels)
    mtt = stored(tmp_path / "mtt", images_best=theirs, labels_best=labels)

    def imported(path, **more):
        target = tmp_path / f"set{len(list(tmp_path.iterdir()))}"
        ImportSet(woof(), str(path), str(target), space="standardised", **more).run(runtime)
        return SyntheticSet.load(target).members[0], capsys.readouterr().out

    by_ours = {"mean": (0.4,) * 3, "std": (0.2,) * 3}
    for path, more in ((mtt, {}), (plain, {"classes": WOOF}), (plain, {"convention": "ddranking"})):
        one, told = imported(path, **more)
        assert "labels of the files: 0 Australian terrier, 1 Border terrier, 2 Samoyed," in told
        assert "warning" not in told
        assert one.provenance.settings["imported"]["label_order"] == list(WOOF)
        if "classes" in more:  # the statistics are the data's own then
            assert torch.equal(one.images, torch.cat(two))
        assert {"mean": one.provenance.mean, "std": one.provenance.std} == by_ours
    line = refusal(runtime, ImportSet, woof(), str(plain), str(tmp_path / "p"), space="standardised")
    assert line.startswith(
        "pipeline.convention=auto: ours or mtt or ddranking, set explicitly, or pipeline.classes="
    )
    _, told = imported(plain, convention="ours")
    assert "warning: these images look as if their classes were in another order" in told


def test_cifar100_standardised_by_mtts_numbers_is_read_by_them(runtime, tmp_path, capsys):
    classes = [str(c) for c in range(100)]
    cifar100 = Made("cifar100", classes, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))
    raw = cifar100.load(None)[0].images_NCHW[::3] / 255
    theirs = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)).standardised(raw)
    mtt = stored(tmp_path / "mtt", images_best=theirs, labels_best=torch.arange(100))
    ImportSet(cifar100, str(mtt)).run(runtime)
    (one,) = SyntheticSet.load(runtime.output / "imported").members
    assert one.provenance.space == "standardised" and one.provenance.mean == (0.5071, 0.4866, 0.4409)
    np.testing.assert_allclose(one.raw().detach(), raw, atol=1e-6)
    assert "standardised by mean [0.4914, 0.4822, 0.4465]" in capsys.readouterr().out
    plain = stored(tmp_path / "plain", images=theirs)
    line = refusal(runtime, ImportSet, cifar100, str(plain), str(tmp_path / "p"), space="standardised")
    assert line.startswith("pipeline.convention=auto: ours or dc or mtt or ddranking") and "cifar100" in line


def test_idms_pickle_is_decoded_as_idm_does(runtime, tmp_path):
    digits, _ = Digits().load(runtime.cache)
    real = digits.images_NCHW[torch.cat([digits.class_indices(c)[:2] for c in range(10)])] / 255
    path = tmp_path / "acc_0.5.pkl"
    values = (digits.normalisation.standardised(real) * 1.3, torch.arange(10).repeat_interleave(2))
    path.write_bytes(pickle.dumps(values))
    ImportSet(Digits(), str(path)).run(runtime)
    (one,) = SyntheticSet.load(runtime.output / "imported").members
    p = one.provenance
    assert (p.tiling, p.method) == (Tiling(2, by_column=True), "idm") and torch.equal(one.images, values[0])
    assert (p.ipc, p.space, len(one.raw())) == (2, "standardised", 80)
    ImportSet(Digits(), str(path), str(tmp_path / "one"), factor=1, by_column=False).run(runtime)
    assert SyntheticSet.load(tmp_path / "one").members[0].tiling == Tiling(1)
    line = refusal(runtime, ImportSet, ZCA(Digits(), 0.1), str(path), str(tmp_path / "z"))
    assert line.startswith("normalisation=zca: channel")
