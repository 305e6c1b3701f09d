"""Networks trained on real data, kept in the store together with a record of their training data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from moe_distill.costs import RecordedCost
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
# Results that the manifest of a network records; there is no accuracy where there were no test images.
RECORDED: Mapping[str, Any] = {"cost": RecordedCost, "accuracy": Share | None}


@checked
@dataclass(frozen=True)
class PretrainedNetworks:
    """Networks of one architecture, trained with the same recipe from different initialisations.

    Args:
        networks: Number of networks.
        network: Builds a network.
        recipe: How they are trained, on all real training data.
        seed: Seed of the pool, independent of the run's, so that runs can share it.
        data: Data set they are trained on instead of the run's, or None.
    """

    identity: ClassVar[str] = "TeacherPool"  # its former name, in keys

    networks: Count
    network: NetworkFactory
    recipe: Recipe
    seed: int = 0
    data: DataSource | None = None

    def check(self, shape: Mapping[str, int], images: int) -> None:
        """Reject networks that cannot be built or trained, before any computation.

        Args:
            shape: Arguments of the network's builder: ``channels``, ``classes`` and ``size``.
            images: Number of training images.

        Raises:
            FieldError: A network cannot be built, run on the last batch, or optimised.
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
        """Return the networks' training and test data: the pool's own data set if it has one, else the run's.

        Args:
            train: The run's training data.
            test: The run's test data.
            cache: Folder where downloaded data sets are kept.

        Raises:
            InputError: The pool's images have another size or number of channels than the run's.
        """
        if self.data is None:
            return train, test
        own_train, own_test = self.data.load(cache)
        own_shape, run_shape = (f"{real.channels}×{real.size}×{real.size}" for real in (own_train, train))
        if own_shape != run_shape:
            allowed = f"images of {run_shape}, as {train.name} has"
            raise InputError("regulariser.pools.data", f"{own_train.name} of {own_shape}", allowed)
        return own_train, own_test

    def settings(self, real: RealSet, index: int) -> dict[str, Any]:
        """Return everything that determines one network of the pool, as stored in its key."""
        return {
            "data": real.fingerprint,
            "statistics": real.statistics,
            "network": self.network,
            "recipe": self.recipe,
            "seed": self.seed,
            "index": index,
        }

    def is_trained(self, store: Store, real: RealSet) -> bool:
        """Return True if all networks, trained on these images, are stored."""
        return all(store.has(KIND, self.settings(real, index)) for index in range(self.networks))

    def blank(self, real: RealSet, index: int) -> Network:
        """Return one network of the pool before training, with its initial weights."""
        shape = {"channels": real.channels, "classes": len(real.classes), "size": real.size}
        return build(self.network, **shape, rng=stream(self.seed, "teacher", index))

    def load(self, store: Store, real: RealSet) -> list[Network]:
        """Return the trained networks, frozen, in evaluation mode.

        They take images normalised as those of ``real``, whatever they were trained on.

        Raises:
            InputError: A network was not trained yet, cannot be read, or was trained on other classes.
        """
        trained_on, _ = self.sets(real, real, store.root / "data")
        loaded = []
        for index in range(self.networks):
            folder = store.find(KIND, self.settings(trained_on, index))
            if folder is None:
                value = f"distill ({self.architecture} {index + 1} of {self.networks} is not in {store.root})"
                command = "run the same command with pipeline=pretrain (or full) first"
                raise InputError("pipeline", value, f"networks trained before: {command}")
            network = self.blank(trained_on, index)
            try:
                classes = [*store.manifest(folder)["trained_on"]["classes"]]
                network.load_state_dict(load_whole(folder / "weights.safetensors"))
            except (LookupError, RuntimeError, TypeError, ValueError, OSError) as error:
                # Set aside, so that the same command trains it anew instead of failing for ever.
                flaw = f"it holds no weights of {self.architecture} ({type(error).__name__})"
                store.set_aside(folder, flaw)
                allowed = "one that can be read: the same command trains it again"
                raise InputError("pools", f"{folder}, set aside", allowed) from error
            _require_classes(classes, trained_on, folder)
            # The network must see numbers as in its own training.
            if trained_on.statistics != real.statistics:
                body = Translated(network, real.normalisation, trained_on.normalisation)
                network = Network(body, network.classifier)
            loaded.append(network.eval().requires_grad_(False))
        return loaded

    def costs(self, store: Store, real: RealSet) -> Sequence[dict[str, float]]:
        """Return the recorded training cost of each network that is in the store."""
        folders = (store.find(KIND, self.settings(real, i)) for i in range(self.networks))
        return [store.read_metadata(folder, cost=RecordedCost)["cost"] for folder in folders if folder]


class Translated(nn.Module):
    """The features of a network that was trained on images with another normalisation.

    Args:
        network: The network.
        source: Normalisation of the images that are passed in.
        target: Normalisation of the images that the network was trained on.
    """

    def __init__(self, network: Network, source: Normalisation, target: Normalisation) -> None:
        super().__init__()
        self.network, self.source, self.target = network, source, target

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return features (N, D) after converting images to the network's own normalisation."""
        return self.network.embed(self.target.standardised(self.source.raw(x_NCHW)))


@checked
def one_each(
    architectures: Mapping[str, NetworkFactory],
    networks: Count,
    recipe: Recipe,
    epochs: Count | None = None,
    seed: int = 0,
    data: DataSource | None = None,
) -> tuple[PretrainedNetworks, ...]:
    """Return one pool per architecture, all trained with the same recipe.

    Args:
        architectures: Builders by name; the pools have the same order.
        networks: Number of initialisations of each architecture.
        recipe: How they are trained.
        epochs: Stop the training early after so many epochs, with the learning rates of the full training;
            None trains to the end.
        seed: Seed of the pools.
        data: Data set they are trained on instead of the run's, or None.

    Raises:
        FieldError: ``epochs`` exceeds the recipe's own number.
    """
    if epochs is not None:
        recipe = _stopped(recipe, epochs)
    return tuple(
        PretrainedNetworks(networks, network, recipe, seed, data) for network in architectures.values()
    )


def _stopped(recipe: Recipe, epochs: int) -> Recipe:
    """Return the recipe cut off after ``epochs``, with the same learning rate at every epoch before."""
    # Longer would be another recipe, whose rates are not known.
    if epochs > recipe.epochs:
        allowed = f"at most {recipe.epochs}, the recipe's own, or null for all of them"
        raise FieldError("epochs", epochs, allowed)
    # A recipe takes fractions of its epochs and rounds down: + 0.5 makes it arrive at the same whole epoch.
    drops = tuple((drop + 0.5) / epochs for drop in recipe.drop_epochs if drop < epochs)
    # The same rate at every epoch: a shorter part of the same cosine.
    cosine = recipe.cosine * epochs / recipe.epochs
    return replace(
        recipe, epochs=epochs, extra_epochs=0, drops=drops, drop_offset=0, cosine=cosine, test_points=()
    )


def _require_classes(classes: Sequence[str], real: RealSet, folder: Path) -> None:
    """Reject a network that was trained on other classes, or on the same in another order."""
    names = list(real.classes)
    # The order counts too: logits are numbered by class.
    if list(classes) != names:
        differing = [i for i, (a, b) in enumerate(zip(classes, names, strict=False)) if a != b]
        detail = ""
        if differing:
            first = differing[0]
            detail = f": number {first} is {classes[first]}, not {names[first]}"
        value = f"{folder}, trained on {len(classes)} classes{detail}"
        raise InputError("pools", value, f"the {len(names)} classes of {real.name}, in their order")


def save_weights(weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Write one network's weights to ``weights.safetensors``."""
    save_tensors({name: w.cpu().contiguous() for name, w in weights.items()}, folder / "weights.safetensors")
