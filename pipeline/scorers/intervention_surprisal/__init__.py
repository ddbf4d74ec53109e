"""Intervention by surprisal (Paulo et al. 2024): is the explanation likelier after text with more of its feature?

The gain is log p(explanation | more) - log p(explanation | less), in nats, by a language model in this process
that reads a continuation first; it is stored in `probability`. With a feature raised, the changed continuation has
more of it than the usual one, and with a feature ablated, less. The paper's score is the mean gain over the
feature's own continuations. The AUROC ranks these against another feature's, so that an explanation that is more
likely after any odd text gains nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import duckdb

from pipeline.asking.prompts import load_prompt
from pipeline.asking.roles import RoleKind
from pipeline.asking.tools import Batch, Tools
from pipeline.asking.windows import one_line
from pipeline.config import Config, SubjectConfig, settings_of
from pipeline.features.steered_texts import check_steered_saes
from pipeline.llm.local.model import load_local_model
from pipeline.models.load import find_files
from pipeline.progress import progress
from pipeline.scorers.base import Prediction
from pipeline.scorers.intervention_surprisal.settings import Settings

_FOLDER = Path(__file__).parent


class InterventionSurprisal:
    """Ranks continuations by how much likelier the explanation is after more of the feature."""

    name = "intervention_surprisal"
    role: RoleKind | None = None

    def questions(self, batch: Batch) -> duckdb.DuckDBPyRelation:
        """The feature's own continuations, and as many of another feature."""
        batch.create("borrowed_explanations")
        return batch.select(_FOLDER / "questions.sql")

    def predict(self, questions: duckdb.DuckDBPyRelation, tools: Tools) -> Iterator[Prediction]:
        """The gain of each continuation; only texts of one explanation share a pass."""
        parts = questions.pl().partition_by("explanation_id", maintain_order=True)
        if not parts:
            return
        model = load_local_model(_model(tools.config), tools.config.device)
        with progress(len(parts), f"{self.name} of {tools.batch.sae}", "explanations") as bar:
            for part in parts:
                texts = dict.fromkeys([*part["more"], *part["less"]])
                prefixes = [load_prompt(_FOLDER / "prefix.txt").render(text=one_line(text)) for text in texts]
                found = model.log_probabilities(prefixes, " " + one_line(part["explanation"][0]))
                by_text = dict(zip(texts, found, strict=True))
                asked = part.select(
                    "explanation_id", "feature", "question_id", "example_id", "label", "strata", "cluster"
                )
                for row, more, less in zip(asked.iter_rows(named=True), part["more"], part["less"], strict=True):
                    yield Prediction(**row, probability=by_text[more] - by_text[less], status="ok")
                bar.update(1)


scorer = InterventionSurprisal()


def check(config: Config) -> None:
    """Raise SubjectError if features cannot be changed at an SAE's hookpoint, or the model does not exist."""
    check_steered_saes(config)
    find_files(_model(config))


def _model(config: Config) -> SubjectConfig:
    name = settings_of(config.scoring, InterventionSurprisal.name, Settings).model
    return config.subject if name == "subject" else config.model_named(name)
