"""Networks trained on real data, kept in the store with what they were trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from moe_distill.costs import Noted
from moe_distill.data.normalization import Normalisation
from moe_distill.data.real_set import DataSource, RealSet
from moe_distill.errors import FieldError, InputError, within
from moe_distill.models.base import Network, NetworkFactory, build, rehearse
from moe_distill.seeding import stream
from moe_distill.store.identity import word_of
from moe_distill.store.store import Store
from moe_distill.store.tensor_files import load_whole, save_tensors
from moe_distill.training.recipe import Recipe, last_batch
from moe_distill.validation.values import Count, Share, checked

KIND = "teacher"
NOTED: Mapping[str, Any] = {"cost": Noted, "accuracy": Share}  # in its manifest


@checked
@dataclass(frozen=True)
class PretrainedNetworks:
    """Networks of one architecture, trained alike from different initialisations.

    Args:
        networks: How many.
        network: Builds one.
        recipe: How they are trained, on all real training data.
        seed: Seed of the pool; not the run's, so that runs share it.
        data: What they are trained on instead of the run's data.
    """

    identity: ClassVar[str] = "TeacherPool"  # its former name, in keys

    networks: Count
    network: NetworkFactory
    recipe: Recipe
    seed: int = 0
    data: DataSource | None = None

    def check(self, shape: Mapping[str, int], images: int) -> None:
        """Refuse networks that cannot be made or trained, before any work.

        Args:
            shape: What a network is built for: ``channels``, ``classes`` and ``size``.
            images: How many it is trained on.

        Raises:
            FieldError: They cannot.
        """
        with within("network"):
            rehearse(self.network, **shape, batch=last_batch(images, self.recipe.batch_size))
        with within("recipe"):
            self.recipe.check()

    @property
    def architecture(self) -> str:
        """The network's name as users type it."""
        return word_of(getattr(self.network, "func", self.network))

    def sets(self, train: RealSet, test: RealSet, cache: Path) -> tuple[RealSet, RealSet]:
        """Return what the networks are trained and tested on: the pool's own data, else the run's, which is
        given.

        Raises:
            InputError: Its images have another size or number of channels than the run's.
        """
        if self.data is None:
            return train, test
        own = self.data.load(cache)
        held, wanted = (f"{s.channels}×{s.size}×{s.size}" for s in (own[0], train))
        if held != wanted:
            allowed = f"images of {wanted}, as {train.name} has"
            raise InputError("regulariser.pools.data", f"{own[0].name} of {held}", allowed)
        return own

    def settings(self, real: RealSet, index: int) -> dict[str, Any]:
        """Return what decides one network of the pool, trained on these images."""
        return {
            "data": real.fingerprint,
            "statistics": real.statistics,
            "network": self.network,
            "recipe": self.recipe,
            "seed": self.seed,
            "index": index,
        }

    def blank(self, real: RealSet, index: int) -> Network:
        """Return one network of the pool before training on these images."""
        shape = {"channels": real.channels, "classes": len(real.classes), "size": real.size}
        return build(self.network, **shape, rng=stream(self.seed, "teacher", index))

    def load(self, store: Store, real: RealSet) -> list[Network]:
        """Return the trained networks, frozen, in evaluation mode, for images as a run on ``real`` normalises
        them.

        Raises:
            InputError: One was not trained yet, cannot be read, or was trained on other classes.
        """
        own, _ = self.sets(real, real, store.root / "data")
        loaded = []
        for index in range(self.networks):
            folder = store.find(KIND, self.settings(own, index))
            if folder is None:
                value = f"distill ({self.architecture} {index + 1} of {self.networks} is not in {store.root})"
                allowed = (
                    "networks trained before: run the same command with pipeline=pretrain (or full) first"
                )
                raise InputError("pipeline", value, allowed)
            network = self.blank(own, index)
            try:
                classes = [*store.manifest(folder)["trained_on"]["classes"]]
                network.load_state_dict(load_whole(folder / "weights.safetensors"))
            except (LookupError, RuntimeError, TypeError, ValueError, OSError) as error:
                store.set_aside(
                    folder, f"it holds no weights of {self.architecture} ({type(error).__name__})"
                )
                value = f"{folder}, set aside"
                raise InputError(
                    "pools", value, "one that can be read: the same command trains it again"
                ) from error
            _require_classes(classes, own, folder)
            if own.statistics != real.statistics:
                network = Network(
                    Translated(network, real.normalisation, own.normalisation), network.classifier
                )
            loaded.append(network.eval().requires_grad_(False))
        return loaded

    def costs(self, store: Store, real: RealSet) -> Sequence[dict[str, float]]:
        """Return what each network cost to train."""
        folders = (store.find(KIND, self.settings(real, i)) for i in range(self.networks))
        return [store.noted(folder, cost=Noted)["cost"] for folder in folders if folder]


class Translated(nn.Module):
    """The features of a network that sees other numbers for the same pixels.

    Args:
        network: Trained on images normalised by ``own``.
        given: How the images that come are normalised.
        own: See ``network``.
    """

    def __init__(self, network: Network, given: Normalisation, own: Normalisation) -> None:
        super().__init__()
        self.network, self.given, self.own = network, given, own

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the features (N, D) of images, mapped to raw pixels and normalised by the network's own
        statistics.
        """
        return self.network.embed(self.own.standardised(self.given.raw(x_NCHW)))


@checked
def one_each(
    architectures: Mapping[str, NetworkFactory],
    networks: Count,
    recipe: Recipe,
    epochs: Count | None = None,
    seed: int = 0,
    data: DataSource | None = None,
) -> tuple[PretrainedNetworks, ...]:
    """Return one pool an architecture, all trained alike.

    Args:
        architectures: Builders by name; the order is that of the pools.
        networks: Initialisations of each.
        recipe: How they are trained.
        epochs: Where the training stops, for networks that are not yet good; None goes to the end. The rate
            falls when it would have fallen.
        seed: Seed of the pools.
        data: What they are trained on instead of the run's data.

    Raises:
        InputError: A number is out of range.
    """
    if epochs is not None:
        recipe = _stopped(recipe, epochs)
    return tuple(
        PretrainedNetworks(networks, network, recipe, seed, data) for network in architectures.values()
    )


def _stopped(recipe: Recipe, epochs: int) -> Recipe:
    if epochs > recipe.epochs:
        allowed = f"at most {recipe.epochs}, the recipe's own, or null for all of them"
        raise FieldError("epochs", epochs, allowed)
    drops = tuple((drop + 0.5) / epochs for drop in recipe.drop_epochs if drop < epochs)  # rounded down again
    cosine = recipe.cosine * epochs / recipe.epochs
    return replace(
        recipe, epochs=epochs, extra_epochs=0, drops=drops, drop_offset=0, cosine=cosine, test_points=()
    )


def _require_classes(classes: Sequence[str], real: RealSet, folder: Path) -> None:
    names = list(real.classes)
    if list(classes) != names:
        first = next((i for i, (a, b) in enumerate(zip(classes, names, strict=False)) if a != b), None)
        told = "" if first is None else f": number {first} is {classes[first]}, not {names[first]}"
        value = f"{folder}, trained on {len(classes)} classes{told}"
        raise InputError("pools", value, f"the {len(names)} classes of {real.name}, in their order")


def save_weights(weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Write one network's weights."""
    save_tensors({name: w.cpu().contiguous() for name, w in weights.items()}, folder / "weights.safetensors")
