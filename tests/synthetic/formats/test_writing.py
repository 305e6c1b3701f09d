"""What leaves is what the set holds: bit for bit where the files can hold it, to half a step of 8 bits in
pictures."""

import json

import numpy as np
import pytest
import torch
from conftest_exported import CLASSES, MEAN, STD, a_set, logits, saved

from moe_distill.data.normalization import FILE, Whitening
from moe_distill.errors import InputError
from moe_distill.synthetic.formats.conventions import CONVENTIONS, label_order
from moe_distill.synthetic.formats.ddranking import write_ddranking
from moe_distill.synthetic.formats.fitting import ordered_by_class
from moe_distill.synthetic.formats.foreign import TargetData
from moe_distill.synthetic.formats.layouts import layout_of
from moe_distill.synthetic.formats.placing import new_folder
from moe_distill.synthetic.formats.writing import EXACT, PICTURES, copy_set, write_pictures
from moe_distill.synthetic.provenance import Provenance
from moe_distill.synthetic.synthetic_set import SyntheticSet
from moe_distill.synthetic.tiling import Tiling


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def back(folder, channels=3):
    return layout_of(folder).read(folder, TargetData(CLASSES, (channels, 8, 8), 1 << 20))


def test_dd_rankings_tensors_hold_all_experts_by_class_bit_for_bit(tmp_path):
    members = [a_set(0, rate=0.02, soft=logits(5)), a_set(1, rate=0.03, soft=logits(6))]
    together = SyntheticSet.union(members)
    assert write_ddranking(together, tmp_path, tmp_path).exact == EXACT
    assert files(tmp_path) == ["about.json", "images.pt", "labels.pt", "lr.pt"]
    images, labels, rate = (torch.load(tmp_path / f"{name}.pt") for name in ("images", "labels", "lr"))
    for row in range(6):
        assert torch.equal(images[row], members[row % 2].images[row // 2])
        assert torch.equal(labels[row], members[row % 2].soft_labels[row // 2])
    assert float(rate) == pytest.approx((0.02 * 0.03) ** 0.5)
    about = json.loads((tmp_path / "about.json").read_text())
    assert (about["mean"], about["std"], about["space"]) == (list(MEAN), list(STD), "standardised")
    assert (about["set_fingerprint"], about["classes"]) == (together.fingerprint(), list(CLASSES))
    found = back(tmp_path)
    assert torch.equal(found.images_NCHW, images) and torch.equal(found.labels, labels)
    assert found.learned_rate == float(rate)


def test_dd_ranking_gets_one_experts_step_size_as_it_is_and_the_averaged_images(tmp_path):
    average = torch.zeros(3, 3, 8, 8)
    write_ddranking(SyntheticSet.union([a_set(0, rate=0.0371, average=average)]), tmp_path, tmp_path)
    assert torch.equal(torch.load(tmp_path / "lr.pt"), torch.tensor(0.0371))
    assert torch.equal(torch.load(tmp_path / "images.pt"), average)
    assert files(tmp_path) == ["about.json", "images.pt", "lr.pt"]


def test_dd_ranking_is_told_how_many_images_a_class_has_and_what_its_scores_are(tmp_path):
    tiled = a_set(1, tiling=Tiling(2, by_column=True), ipc=2)
    notes = write_ddranking(SyntheticSet.union([a_set(0, ipc=2), tiled]), tmp_path, tmp_path).notes
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["images_per_class"] == 2 + 2 * 4 and about["notes"] == notes
    for words in ("ipc=10", "its random images are then 10", "as many as are stored, 4"):
        assert words in notes[0]
    assert (
        "percent" in notes[1]
        and "fractions" in notes[1]
        and "fail by themselves" in notes[2]
        and len(notes) == 3
    )


def woof_of(seed, **more):
    """Three images of each class that are as bright as the class's number here."""
    classes = sorted(CONVENTIONS["ddranking"].orders["imagewoof"])
    about = {
        "dataset": "imagewoof",
        "data_variant": "v",
        "data_fingerprint": "d" * 64,
        "classes": tuple(classes),
    }
    about |= {
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "expert": seed,
        "method": "mtt",
        "ipc": 3,
    }
    numbers = torch.arange(10.0).repeat_interleave(3).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    return SyntheticSet(
        numbers, Provenance(**{**about, **more}), None, 10 * torch.eye(10).repeat_interleave(3, 0)
    )


def test_classes_go_to_dd_ranking_in_its_order_and_come_back(tmp_path):
    """Its labels are the class of each block of images, in the order of its own list."""
    together = SyntheticSet.union([woof_of(0), woof_of(1)])
    written = write_ddranking(together, tmp_path, tmp_path)
    images, labels = (torch.load(tmp_path / f"{name}.pt") for name in ("images", "labels"))
    theirs, ours = CONVENTIONS["ddranking"].orders["imagewoof"], together.provenance.classes
    assert [ours[int(image.mean())] for image in images[::6]] == list(theirs)
    assert torch.equal(labels.argmax(1), torch.arange(10).repeat_interleave(6))
    assert json.loads((tmp_path / "about.json").read_text())["classes"] == list(theirs)
    assert written.exact == EXACT and any(", ".join(theirs) in note for note in written.notes)
    wanted = TargetData(ours, (3, 8, 8), 1 << 20)
    found = layout_of(tmp_path).read(tmp_path, wanted)
    back = ordered_by_class(found, 10, tmp_path).reordered(
        label_order(found, "imagewoof", wanted, "auto", None)
    )
    assert torch.equal(back.images_NCHW[::6].mean((1, 2, 3)), torch.arange(10.0))
    assert torch.equal(back.soft_NC.argmax(1), torch.arange(10).repeat_interleave(6))
    renamed = tuple(f"{name}!" for name in ours)
    with pytest.raises(InputError, match=r"pipeline.layout=ddranking: .*Australian terrier"):
        write_ddranking(SyntheticSet.union([woof_of(0, classes=renamed)]), tmp_path, tmp_path)


def test_cifar100_goes_to_dd_ranking_in_the_statistics_it_has(tmp_path):
    own = (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)
    one = a_set(0, dataset="cifar100", mean=own[0], std=own[1])
    written = write_ddranking(SyntheticSet.union([one]), tmp_path, tmp_path)
    cifar10 = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in cifar10)
    raw = SyntheticSet.union([one]).raw().images_MCHW.double()
    np.testing.assert_allclose(torch.load(tmp_path / "images.pt"), (raw - mean) / std, atol=1e-5)
    about = json.loads((tmp_path / "about.json").read_text())
    assert (about["mean"], about["std"]) == cifar10 and written.exact.startswith("exact as networks see")
    assert any("as DD-Ranking standardises cifar100" in note for note in written.notes)
    found = back(tmp_path)
    assert found.statistics == tuple(map(tuple, cifar10))


def test_hard_labels_and_tiles_go_to_dd_ranking_as_networks_see_them(tmp_path):
    tiled = a_set(1, tiling=Tiling(2, by_column=True), space="raw", ipc=2)
    together = SyntheticSet.union([a_set(0, soft=logits(5)), tiled])
    assert write_ddranking(together, tmp_path, tmp_path).exact.startswith("exact as networks see")
    images, labels = (torch.load(tmp_path / f"{name}.pt") for name in ("images", "labels"))
    decoded = together.raw()
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (MEAN, STD))
    np.testing.assert_allclose(images, (decoded.images_MCHW.double() - mean) / std, atol=1e-5)
    np.testing.assert_allclose(labels.double().softmax(1), decoded.targets_MC, atol=1e-6)
    assert len(images) == 3 * (1 + 2 * 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_within_half_a_step_of_eight_bits_of_the_clamped_pixels(tmp_path, channels):
    together = SyntheticSet.union([a_set(0, channels=channels), a_set(1, channels=channels)])
    told = write_pictures(together, tmp_path, tmp_path).exact
    assert files(tmp_path) == [*(f"{c:05d}/{i:05d}.png" for c in range(3) for i in range(2)), "about.json"]
    raw = together.raw().images_MCHW.double()
    found = back(tmp_path, channels).images_NCHW.double() / 255
    assert raw.min() < -0.01 and raw.max() > 1.01
    change = (raw - raw.clamp(0, 1)).abs()
    share = float((change > 1 / 510).double().mean())
    largest = float((change / torch.tensor(STD[:channels]).view(-1, 1, 1)).max())
    clamped = f"{100 * share:.2g} % of the values are clamped, by at most {largest:.2g} standard deviations"
    assert told == f"{PICTURES}; {clamped} of their channel"
    about = json.loads((tmp_path / "about.json").read_text())
    assert about["clamped_share"] == pytest.approx(share)
    assert about["clamped_by_at_most"] == pytest.approx(largest, abs=1e-5)
    assert 1 / 1020 < float((found - raw.clamp(0, 1)).abs().max()) <= 1 / 510


def test_class_folders_say_that_learned_labels_are_left_out(tmp_path):
    words = write_pictures(SyntheticSet.union([a_set(0, soft=logits(0))]), tmp_path, tmp_path).exact
    assert words.endswith("; the labels that were learned are left out")
    assert json.loads((tmp_path / "about.json").read_text())["exact"] == words


def test_pictures_of_two_channels_are_refused(tmp_path):
    with pytest.raises(InputError, match="1 or 3 channels"):
        write_pictures(SyntheticSet.union([a_set(0, channels=2)]), tmp_path, tmp_path)


def test_the_own_files_are_copied_byte_for_byte_with_their_whitening(tmp_path):
    white = Whitening(torch.zeros(192), torch.eye(192), torch.eye(192), "w" * 64)
    source, whole, one = (tmp_path / name for name in ("source", "whole", "one"))
    together = saved(source, [a_set(seed, space="zca", whitening=white) for seed in (0, 1)])
    (source / "parts.safetensors").write_bytes(b"who saw what")
    single = f"{EXACT}; to be loaded as expert_1.safetensors, one expert's file"
    for folder, path, said in ((whole, source, EXACT), (one, source / "expert_1.safetensors", single)):
        folder.mkdir()
        assert copy_set(together, path, folder).exact == said
        assert all((folder / name).read_bytes() == (source / name).read_bytes() for name in files(folder))
    assert files(one) == ["expert_1.json", "expert_1.safetensors", FILE]
    assert files(whole) == ["expert_0.json", "expert_0.safetensors", *files(one)]
    assert SyntheticSet.load(whole).fingerprint() == together.fingerprint()


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    for name in ("file", "folder"):
        (tmp_path / name).touch() if name == "file" else (tmp_path / name).mkdir()
        with pytest.raises(InputError, match="nothing is overwritten"), new_folder(tmp_path / name):
            pytest.fail("the block ran")
    with (
        pytest.raises(InputError, match=r"pipeline\.to=.*No space left"),
        new_folder(tmp_path / "new") as folder,
    ):
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")
    with (
        pytest.raises(InputError, match=r"pipeline\.to=.*can be written"),
        new_folder(tmp_path / "file" / "below"),
    ):
        pytest.fail("the block ran")
    assert files(tmp_path) == ["file"] and sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    with new_folder(tmp_path / "deep" / "new") as folder:
        (folder / "whole").touch()
        assert not (tmp_path / "deep" / "new").exists()
    assert files(tmp_path / "deep") == ["new/whole"]


def test_a_set_that_was_changed_in_memory_is_exported_as_it_is(tmp_path):
    a_set(0).save(tmp_path / "expert_0.safetensors")
    read = SyntheticSet.load(tmp_path)
    with torch.no_grad():
        read.members[0].images.mul_(0.5)
    read.export(tmp_path / "out")
    exported = SyntheticSet.load(tmp_path / "out")
    assert exported.fingerprint() == read.fingerprint() != SyntheticSet.load(tmp_path).fingerprint()


def test_what_a_layout_does_not_have_is_refused(tmp_path):
    one = SyntheticSet.union([a_set(0)])
    for words in ({"license": "mit"}, {"push_to": "me/x"}):
        ((name, value),) = words.items()
        with pytest.raises(InputError, match=f'^{name}={value}: leave it out: only layout="huggingface"'):
            one.export(tmp_path / "new", layout="folder", **words)
    with pytest.raises(InputError, match=f"^to={tmp_path}: a folder that is not there yet"):
        one.export(tmp_path)
    with pytest.raises(InputError, match=r"^to=int: a path"):
        one.export(3)
    with pytest.raises(InputError, match=f"^path={tmp_path}: a file; this is a folder"):
        a_set(0).save(tmp_path)
