"""Conformance tests for distillation methods."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from moe_distill.data.initialization import needs_images, noise, random_real
from moe_distill.data.real_set import RealSet
from moe_distill.data.sources.public_sets import Digits
from moe_distill.errors import InputError
from moe_distill.experts.apply import Apply
from moe_distill.experts.expert import Expert
from moe_distill.experts.filling import MethodFactory
from moe_distill.experts.roster import ExpertSpec
from moe_distill.methods.base import Method
from moe_distill.teachers.perturbation import Perturbation
from moe_distill.teachers.real_batches import RepresentativeSampling
from moe_distill.testing.stand_ins import OWNER, distilled, expert, images, iterate, noise_set


class MethodConformance:
    """What every method must satisfy, tested on digits and on small colour images.

    Attributes:
        method: The method's class, or a ``functools.partial`` of it with its settings.
        ipc: Stored images per class, at most 10.
        shapes: Channels and side length, in pixels, of the images on which decoding is tested.
        real_batch: The parameter of the method that is the size of a class's real batch, if it has one.
    """

    method: ClassVar[MethodFactory | type[Method]]
    ipc: ClassVar[int] = 2
    real_batch: ClassVar[str] = "real_batch"
    shapes: ClassVar[Sequence[tuple[int, int]]] = ((1, 8), (3, 8), (1, 9), (3, 12), (1, 28), (3, 28))

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test of images of any size on each of the shapes."""
        if "shape" in metafunc.fixturenames:
            ids = [f"{channels}x{size}" for channels, size in self.shapes]
            metafunc.parametrize("shape", self.shapes, ids=ids)

    @pytest.fixture(autouse=True)
    def one_thread(self) -> Iterator[None]:
        """Run on one thread: the number of threads changes the last bits of a gradient."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    @pytest.fixture
    def spec(self) -> ExpertSpec:
        """The expert's method and size; override it to test several methods with one class."""
        method = type(self).method
        return ExpertSpec(
            method if isinstance(method, functools.partial) else functools.partial(method), self.ipc
        )

    @pytest.fixture(params=["digits", "colour"])
    def real(self, request: pytest.FixtureRequest) -> RealSet:
        """The real data: handwritten digits, or colour noise of three classes."""
        return Digits().load(Path())[0] if request.param == "digits" else noise_set(3, 12)

    def draws(self, spec: ExpertSpec) -> bool:
        """Return True if the seed changes the images; override it for a method without randomness."""
        return True

    def test_images_move_if_they_are_to_and_stay_finite(self, spec: ExpertSpec, real: RealSet) -> None:
        """Every image of a trainable method changes; no image of another method does."""
        the_expert, start = distilled(spec, real)
        assert torch.isfinite(images(the_expert)).all()
        assert torch.equal(images(the_expert), start) != the_expert.method.trainable
        if the_expert.method.trainable:
            assert the_expert.iteration == min(3, the_expert.method.iterations)
            assert the_expert.last_scalars["loss"] > 0
            assert (images(the_expert) - start).flatten(1).any(1).all()

    def test_the_seed_alone_decides_the_images(self, spec: ExpertSpec, real: RealSet) -> None:
        """Randomness comes from the expert's stream, never from the global generator."""
        first, _ = distilled(spec, real)
        torch.rand(3)  # advances the global generator
        (second, _), (other, _) = distilled(spec, real), distilled(spec, real, seed=1)
        assert torch.equal(images(first), images(second))
        assert torch.equal(images(first), images(other)) != self.draws(spec)

    def test_it_reads_its_part_alone(self, spec: ExpertSpec) -> None:
        """Images outside the expert's part do not affect the distilled ones; those inside do."""
        real, part = noise_set(3, 12), torch.arange(0, 60, 2)
        # Inverted pixels outside the part must change nothing; inverted ones inside must.
        reference, _ = distilled(spec, real, part=part)
        for inside in (False, True):
            rows = torch.zeros(60, dtype=torch.bool)
            rows[part] = True
            pixels = real.images_NCHW.clone()
            pixels[rows == inside] = 255 - pixels[rows == inside]
            the_expert, _ = distilled(spec, replace(real, images_NCHW=pixels), part=part)
            assert torch.equal(images(the_expert), images(reference)) != inside

    def test_an_interrupted_expert_goes_on_bit_for_bit(
        self, spec: ExpertSpec, real: RealSet, tmp_path: Path
    ) -> None:
        """The saved state contains everything that the next iteration depends on."""
        self._require_resumable(spec, real, tmp_path)

    def test_options_that_it_says_it_has_decide_the_images(self, spec: ExpertSpec, tmp_path: Path) -> None:
        """Its networks are perturbed and its real batches chosen, also after an interruption."""
        real, method = noise_set(3, 12), spec.method()
        options: dict[str, Any] = {}
        if method.perturbs and method.bank is None:  # whose means are those of unperturbed networks
            options["perturbation"] = Perturbation(0.3, 0.5)
        if method.class_batches:
            # Two images of a class with ten, so that there is a choice; the interruption cuts the interval.
            spec = replace(spec, method=functools.partial(spec.method, **{self.real_batch: 2}))
            options["real_sampling"] = RepresentativeSampling(interval=4)
        plain = images(distilled(spec, real)[0])
        for name, option in options.items():
            assert not torch.equal(images(distilled(spec, real, **{name: option})[0]), plain), name
        self._require_resumable(spec, real, tmp_path, **options)

    def _require_resumable(self, spec: ExpertSpec, real: RealSet, tmp_path: Path, **options: Any) -> None:
        whole, _ = distilled(spec, real, **options)
        stopped, optimizer = expert(spec, real, **options)
        iterate(stopped, optimizer, 0, 2)
        torch.save((stopped.state(), optimizer and optimizer.state_dict()), tmp_path / "state")
        # As checkpoints are read: nothing but tensors and plain values may be in the state.
        state, optimizer_state = torch.load(tmp_path / "state", weights_only=True)

        resumed = Expert(0, spec, stopped.part, stopped.resources)
        resumed.take_state(state)
        optimizer = resumed.configure_optimizers()
        if optimizer:
            optimizer.load_state_dict(optimizer_state)
        iterate(resumed, optimizer, resumed.iteration, 3)
        ours, expected = resumed.synthetic.state_dict(), whole.synthetic.state_dict()
        assert ours.keys() == expected.keys()
        assert all(torch.equal(ours[name], expected[name]) for name in ours)
        assert resumed.last_scalars == whole.last_scalars
        assert torch.equal(resumed.rng.get_state(), whole.rng.get_state())

    def test_any_size_gives_decoded_images_of_that_size_by_class(
        self, spec: ExpertSpec, shape: tuple[int, int]
    ) -> None:
        """The set stores ``ipc`` images per class, sorted by class, and decodes to the data's shape."""
        the_expert, _ = distilled(spec, noise_set(*shape))
        syn, per_image = the_expert.synthetic, the_expert.method.tiling.per_image
        channels, size = shape
        assert images(the_expert).shape == (3 * spec.ipc, channels, size, size)
        assert syn.labels.tolist() == [c for c in range(3) for _ in range(spec.ipc)]
        decoded, labels = syn.decode()
        assert decoded.shape == (per_image * 3 * spec.ipc, channels, size, size)
        assert torch.isfinite(decoded).all()
        for c in range(3):
            torch.testing.assert_close(decoded[labels == c], syn.of_class(c), rtol=0, atol=1e-6)

    def test_initial_images_have_the_label_of_their_class(self, spec: ExpertSpec) -> None:
        """The classes of the noise differ so much in brightness that it reveals an image's class."""
        if not needs_images(spec.method().init):
            pytest.skip("the method starts from noise")
        the_expert, _ = expert(spec, noise_set(3, 28))
        # Noise of 0 … 155 has mean 77.5; each class is 50 brighter than the one before it (`noise_set`).
        mean = the_expert.synthetic.raw().detach().mean((1, 2, 3))
        labels = the_expert.synthetic.decode()[1]
        assert ((mean * 255 - 77.5) / 50).round().long().tolist() == labels.tolist()

    def test_costs_and_parameter_groups_agree_with_what_moves(self, spec: ExpertSpec) -> None:
        """A trainable method optimises its images, has iterations, and costs more for more images."""
        the_expert, optimizer = expert(spec, noise_set(3, 12))
        method, trainable = the_expert.method, the_expert.method.trainable
        moved = [p for group in method.parameter_groups(the_expert.synthetic) for p in group["params"]]
        assert len(moved) == len(set(map(id, moved)))
        assert any(p is the_expert.synthetic.images for p in moved) == trainable
        assert (method.iterations > 0) == trainable == (optimizer is not None)
        # The cost of a forecast, for 1 and for 2 images per class.
        few, more = (method.forward_passes(3, ipc, 10) for ipc in (1, 2))
        if few is not None and more is not None:  # a method may leave it out
            assert (0 < few < more) if trainable else (few == more == 0)

    def test_images_move_by_apply_alone(self, spec: ExpertSpec) -> None:
        """At a learning rate of 0 the images stay as they are, although they have gradients."""
        the_expert, optimizer = expert(spec, noise_set(3, 12))
        if not the_expert.method.trainable:
            pytest.skip("the method does not optimise its images")
        start = images(the_expert).clone()
        optimizer.param_groups[0]["lr"] = 0.0
        apply = Apply(the_expert, optimizer, OWNER)
        the_expert.method.iterate(the_expert.context(0), apply)
        assert apply.gradient.flatten(1).any(1).all()
        assert torch.equal(images(the_expert), start)

    def test_a_set_that_starts_from_images_is_no_larger_than_a_class(self, spec: ExpertSpec) -> None:
        """A method that starts from real images refuses more than a class has, before any work."""
        real_start = {"init": random_real} if "init" in spec.method.keywords else {}
        with pytest.raises(InputError, match=r"^ipc=5: at most \d"):
            spec.method(**real_start).require_images(5, 2)

    def test_a_set_that_starts_as_noise_may_be_larger_than_a_class(self, spec: ExpertSpec) -> None:
        """No image is then a copy of another one."""
        if "init" not in spec.method.keywords:
            pytest.skip("the method has no initialiser")
        # The part has two images of each class, and five are to be distilled.
        larger = replace(spec, method=functools.partial(spec.method, init=noise), ipc=5)
        the_expert, _ = expert(larger, noise_set(3, 12), part=torch.arange(6))
        the_expert.method.require_images(5, 2)
        assert len(images(the_expert).flatten(1).unique(dim=0)) == 3 * 5
