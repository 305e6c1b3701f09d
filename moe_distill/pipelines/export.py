"""Export: write a set in the files of other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moe_distill.context.run_context import Runtime
from moe_distill.errors import FieldError, renamed
from moe_distill.experts.distillation import Distillation
from moe_distill.pipelines.stage import Pipeline
from moe_distill.results.run_tables import rows_in
from moe_distill.results.set_names import set_name
from moe_distill.results.wording import in_percent
from moe_distill.store.disk import expanded
from moe_distill.store.identity import describe
from moe_distill.synthetic.formats import hub
from moe_distill.synthetic.formats.card import CardFacts
from moe_distill.synthetic.formats.exporting import Layout, export
from moe_distill.synthetic.formats.placing import check_new
from moe_distill.synthetic.synthetic_set import SyntheticSet, SyntheticUnion
from moe_distill.terminal import say
from moe_distill.training.recipe import Recipe
from moe_distill.validation.values import HubName, License, Text, checked


@checked
@dataclass(frozen=True)
class Export(Pipeline):
    """Write a plan's distilled set, or the set at a path, in the files of another program.

    Args:
        plan: The distillation whose set is exported, unless a path is given.
        recipe: How students are trained on the plan's set; recorded in a Hugging Face card.
        path: A set's file or folder.
        to: A new folder; None is ``export-<layout>`` in the run's folder.
        layout: ``safetensors``, ``folder``, ``ddranking`` or ``huggingface``.
        license: The set's licence in a Hugging Face card; None if it is not known.
        push_to: The Hub's ``<user>/<name>`` that a Hugging Face folder is uploaded to; None uploads nothing.
        private: Whether only the owner sees it there.
    """

    plan: Distillation | None
    recipe: Recipe | None
    path: Text | None = None
    to: Text | None = None
    layout: Layout = "safetensors"
    license: License | None = None
    push_to: HubName | None = None
    private: bool = True

    def __post_init__(self) -> None:
        only = "only with pipeline.layout=huggingface"
        for field, value in (("license", self.license), ("push_to", self.push_to)):
            if value is not None and self.layout != "huggingface":
                raise FieldError(field, value, only)
        if not self.private and self.push_to is None:
            raise FieldError("private", False, "only with pipeline.push_to=<user>/<name>")

    def run(self, runtime: Runtime) -> dict[str, Any]:
        """Write the files, print how exact they are, and upload them if a place is named.

        The scores in a Hugging Face card come from ``results.csv`` in the run's folder, if there is one.

        Returns:
            ``set``: the folder; ``exact``: how exact it is, in words; ``address``: where it was uploaded.

        Raises:
            InputError: There is no set, the folder exists, or there is no token to upload it with; then
                nothing is written. Or the upload fails; then the folder is there.
        """
        target = expanded(self.to, "pipeline.to") if self.to else runtime.output / f"export-{self.layout}"
        # The recipe is the plan's; how a set from a file is meant to be trained is unknown.
        recipe = None if self.path is not None else self.recipe
        # Before the set is loaded, which may take long.
        check_new(target)
        with renamed(hub.KEY, "pipeline.push_to"):
            if self.push_to is not None:
                hub.client_for(self.push_to)
        source = self._source(runtime)
        # An error about the set names the setting that chose it.
        with renamed("set", "set" if self.path is None else "pipeline.path"):
            sets = SyntheticSet.load(source)
        has_card = self.layout == "huggingface"
        facts = _card_facts(recipe, self.license, runtime, sets) if has_card else None
        written = export(sets, target, self.layout, facts)
        for line in (f"{target}: {written.exact}", *written.notes):
            say(line)
        result = {"set": str(target), "exact": written.exact}
        if self.push_to is not None:
            result["address"] = self._upload(target, self.push_to)
        return result

    def _upload(self, folder: Path, repo: str) -> str:
        with renamed(hub.KEY, "pipeline.push_to"):
            address = hub.push_to_hub(folder, repo, self.private)
        say(f"uploaded to {address}, {'private' if self.private else 'public'}")
        return address

    def _source(self, runtime: Runtime) -> Path:
        """Return the folder or file of the set."""
        if self.path is not None:
            return expanded(self.path, "pipeline.path")
        assert self.plan is not None
        train, _ = self.plan.data.load(runtime.cache)
        return self.plan.find(runtime.store, train)


def _card_facts(
    recipe: Recipe | None, license: str | None, runtime: Runtime, union: SyntheticUnion
) -> CardFacts:
    """Return the recipe, the licence, and the scores of exactly this set in the run's table."""
    rows = rows_in(runtime.output.glob("results.csv"), runtime.results)
    # The table may hold rows of other sets: baselines, or other jobs.
    rows = rows.filter(set_name() == union.tensors_fingerprint())
    recipes = [recipe for recipe, _ in rows.select("recipe", "recipe_key").unique().iter_rows()]
    accuracies: dict[tuple[str, str], list[float]] = {}
    columns = ("recipe", "recipe_key", "fusion", "architecture", "accuracy_last")
    for recipe_name, recipe_key, fusion, architecture, accuracy in rows.select(columns).iter_rows():
        # The key tells recipes of one name apart; a reader need not see it otherwise.
        shown_key = recipe_key if recipes.count(recipe_name) > 1 else ""
        training = " ".join(word for word in (recipe_name, shown_key, fusion) if word not in ("", "none"))
        accuracies.setdefault((training, architecture), []).append(accuracy)
    scores = [(*cell, in_percent(values)) for cell, values in accuracies.items()]
    return CardFacts(describe(recipe) if recipe else None, scores, license)
