"""Controls: whose words stand for another feature's."""

from pipeline.explainers.controls import Own, controls


def foreign(features, own, near=(), explainers=None):
    """Of each feature the words that it is judged by as another one's."""
    own = {feature: Own((explainers or {}).get(feature, "default"), words) for feature, words in own.items()}
    made = controls(features, own, near)
    return {each.explanation.feature: each.explanation.words for each in made if each.explainer == "other_feature"}


def test_the_next_feature_of_other_words_lends_its_own():
    assert foreign([3, 1, 2], {3: "a", 1: "a", 2: "b"}) == {3: "b", 1: "b", 2: "a"}
    assert foreign([3, 1], {3: "a", 1: "a"}) == {}
    assert foreign([3, 1, 2], {3: "a", 2: "b"}) == {3: "b", 2: "a"}


def test_words_of_the_same_explainer_come_first():
    own = {1: "a", 2: "b", 3: "c", 4: "d"}
    explainers = {1: "keywords", 2: "rule", 3: "keywords", 4: "imported"}
    assert foreign([1, 2, 3, 4], own, explainers=explainers) == {1: "c", 2: "c", 3: "a", 4: "a"}


def test_a_near_neighbour_lends_its_words_only_where_no_other_can():
    own = {1: "a", 2: "b", 3: "c"}
    assert foreign([1, 2, 3], own) == {1: "b", 2: "c", 3: "a"}
    assert foreign([1, 2, 3], own, {(1, 2)}) == {1: "c", 2: "c", 3: "a"}, "in either direction"
    assert foreign([1, 2, 3], own, {(1, 2), (1, 3)}) == {1: "b", 2: "c", 3: "b"}
    assert foreign([1, 2, 3], own, {(1, 2)}, {1: "rule", 2: "rule"})[1] == "c", "and even of the same explainer"
