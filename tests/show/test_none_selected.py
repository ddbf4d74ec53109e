"""What a run says where it has nothing to explain."""

import polars as pl

from pipeline.show.closing import none_selected


def routes(**counts: tuple[int, int]) -> pl.DataFrame:
    """The funnel: by route its features, and how many of them are selected."""
    rows = [(route, n_features, n_selected) for route, (n_features, n_selected) in counts.items()]
    return pl.DataFrame(rows, ["route", "n_features", "n_selected"], orient="row")


def test_a_corpus_that_is_too_small_for_the_sae_is_named_as_the_cause() -> None:
    said = none_selected(routes(too_rare=(3393, 0), dead=(629, 0), dense=(48, 0)), "mlp")
    assert "No feature of mlp was selected" in said
    assert "4,022 features fire too rarely" in said
    assert "corpus.max_tokens" in said


def test_a_selection_of_none_among_features_that_fire_points_to_the_config() -> None:
    said = none_selected(routes(llm=(3000, 0), dead=(10, 0)), "mlp")
    assert said.endswith("See selection in the config.")


def test_nothing_is_said_where_a_feature_is_selected() -> None:
    assert none_selected(routes(llm=(3000, 1), too_rare=(4000, 0)), "mlp") == ""
