"""What explainers that are a prompt show and ask, each by its own settings, and what they make of the answers."""

from types import SimpleNamespace

import pytest
from sample_prompts import SHOWN, VOCABULARY

from pipeline.asking.windows import Vocabulary
from pipeline.config import Config
from pipeline.explainers.answers import parse_explanation
from pipeline.explainers.base import Feature, Shown
from pipeline.explainers.examples import example_lines, marked_list, pair_lines
from pipeline.explainers.write import load_explainer
from pipeline.llm import Answer
from pipeline.llm.oracle.prompts import plain, shown_texts
from pipeline.plugins import find_plugin
from pipeline.tables.definitions import plugin_versions

FEATURE = Feature(7, "llm", None, True, SHOWN, promoted=[3])


def config_of(*names, **explaining):
    return Config(
        name="tiny",
        subject={"model": "none"},
        saes=[{"name": "layers.1", "source": "none", "hookpoint": "layers.1", "n_features": 8}],
        corpus={"sources": [{"kind": "python"}]},
        explaining={"explainers": names or ("default",), **explaining},
    )


def request(name, feature=FEATURE, **explaining):
    explaining = config_of(name, **explaining).explaining.seen_by(name)
    return load_explainer(name).request(explaining, "layers.1", feature, VOCABULARY)


def test_own_settings_go_before_those_of_the_section():
    own = {"sampling": "top", "marked_share": 0.6}
    explaining = config_of("default", "token_pairs", n_examples=10, default=own).explaining
    seen = explaining.seen_by("default")
    assert (seen.sampling, seen.n_examples, seen.marked_share) == ("top", 10, 0.6)
    assert explaining.seen_by("token_pairs") == explaining
    strict = request("default", default=own).messages[-1].content.splitlines()[2]
    assert strict == "Example 2:  don't stop<< stop>> {text} > >"


def test_each_sampling_takes_enough_for_every_explainer_and_for_the_section():
    explaining = config_of(
        *("default", "chain_of_thought", "contrastive", "rule"),
        n_examples=10,
        default={"sampling": "top"},
        chain_of_thought={"sampling": "top", "n_examples": 40},
        contrastive={"n_silent": 7},
    ).explaining
    assert explaining.n_sampled == {"deciles": 10, "top": 40, "top_sample": 0, "random": 0, "mixture": 0}
    assert explaining.n_silent == 7
    assert config_of("default", contrastive={"n_silent": 7}).explaining.n_silent == 0


def test_a_variant_of_the_default_prompt_differs_by_its_notes_alone():
    default, other = request("default"), request("with_activations")
    [asked, note] = other.messages[0].content.split(default.messages[0].content)
    assert asked == "" and note.startswith("\nAfter each token between << and >>")
    # The note is there because numbers are, whoever wrote them.
    assert other.messages == request("default", show_activations=True).messages
    assert (default.purpose, other.purpose) == ("explain", "with_activations")


def test_a_note_is_the_prompts_own_words_only_where_it_stands_in_it():
    config = config_of("default", show_activations=True)
    explainer = load_explainer("default")
    shown, without = (explainer.own_texts(each.explaining) for each in (config, config_of("default")))
    assert [text for text in shown if text not in without] == [explainer.notes_on_marks(config.explaining)[0].text]


def test_windows_of_one_prompt_are_on_one_scale():
    explaining = config_of("with_activations").explaining.seen_by("with_activations")
    weak = [Shown("x", [0, 1], [0.0, 2.0])]
    [alone], [among] = (example_lines(explaining, weak, VOCABULARY, largest) for largest in (None, 8.0))
    assert "(10)>>" in alone and "(2)>>" in among
    [listed] = pair_lines(explaining, weak, VOCABULARY, 8.0)[2:]
    assert listed.endswith("\t2")


def test_the_version_of_a_variant_follows_the_prompts_that_it_borrows(monkeypatch):
    config = config_of("default", "with_activations", "token_pairs")
    before = plugin_versions(config, "explainers")
    monkeypatch.setitem(find_plugin("explainers", "default").__dict__, "digest", "reworded")
    after = plugin_versions(config, "explainers")
    assert {name for name in before if before[name] != after[name]} == {"default", "with_activations"}


def test_steps_have_room_and_only_what_follows_the_last_mark_is_kept():
    asked = request("chain_of_thought", max_tokens=48)
    assert (asked.max_tokens, asked.stop) == (600, ())
    assert request("chain_of_thought", chain_of_thought={"max_tokens": 90}).max_tokens == 90
    text = "1. stop\n2. I write [EXPLANATION]: a thought\n3. now\n4. [EXPLANATION]: a halt\n\nI hope so."
    assert parse_explanation(text) == "a halt"


def test_promoted_tokens_that_are_not_known_are_said_to_be():
    lines = request("logit_weights", FEATURE._replace(promoted=None)).messages[1].content.splitlines()
    assert "Likelier next tokens: not known for this feature" in lines
    assert 'Likelier next tokens: " stop"' in request("logit_weights").messages[1].content.splitlines()


def test_a_token_cannot_close_its_quotes_or_add_a_line():
    vocabulary = Vocabulary([b'"', b"\n", b'", "x'])
    assert vocabulary.listed([0, 1, 2]) == r'"\"", "\n", "\", \"x"'


def test_the_most_frequent_marked_texts_are_listed_as_they_stand_in_their_marks():
    vocabulary = Vocabulary([b" a", b" b", b'"', b"\xc3", b"\xa9", b"</think>", b"c", b"d"])
    told = [([0, 1, 0], [9, 9, 0]), ([3, 4, 2], [9, 0, 0]), ([2, 7, 4], [9, 0, 0]), ([2, 5], [9, 0])]
    shown = [Shown("x", *window) for window in [*told, ([5, 6], [9, 0])]]
    listed = marked_list(config_of("contrastive").explaining, shown, vocabulary)
    assert listed == r'"\"", " a b", "é", "< /think>"'
    many = [Shown("x", [token_id, 0], [9, 0]) for token_id in (0, 1, 2, 5, 6, 7)]
    assert marked_list(config_of("contrastive").explaining, many, vocabulary).count('", "') == 4


def test_a_feature_without_close_windows_is_not_asked_about():
    asked = []
    [explanation] = load_explainer("contrastive").explain([FEATURE], _tools(asked))
    assert (explanation.words, explanation.status, explanation.request_id) == (None, "no_input", None)
    assert asked == []


def test_token_pairs_spell_whole_characters_and_nothing_adds_a_column():
    vocabulary = Vocabulary([b"a\tb", b"\xc3", b"\xa9\n", b"<<", b"x\t10"])
    [heading, *lines] = pair_lines(None, [Shown("x", [0, 1, 2, 3, 4], [0, 1.0, 4.0, 2.0, 0])], vocabulary)
    assert heading == "Example 1"
    assert lines == ["a\\tb\t0", "é\\n\t10", "< <\t5", "x\\t10\t0"]
    prompt = "\n".join([heading, *lines, "", "Answer"])
    assert shown_texts(prompt) == [plain(vocabulary.render([0, 1, 2, 3, 4]))]


@pytest.mark.parametrize("name", ["token_pairs", "default", "contrastive"])
def test_the_oracle_reads_the_windows_of_every_form(name):
    feature = FEATURE._replace(silent=[Shown("x4", [9, 3, 4], [0, 0, 0])])
    windows = [plain(VOCABULARY.render(window.token_ids)) for window in SHOWN]
    assert shown_texts(request(name, feature).messages[1].content) == windows


def _tools(asked):
    class Tools:
        config = config_of("contrastive")
        vocabulary = VOCABULARY

        def ask(self, to_ask):
            asked.extend(to_ask)
            return {}

    return Tools()


@pytest.mark.parametrize("name", ["output_centric", "combined"])
def test_where_nothing_is_known_of_promoted_tokens_nobody_is_asked_what_they_say(name):
    asked = []
    [explanation] = load_explainer(name).explain([FEATURE._replace(promoted=None)], _tools(asked))
    assert (explanation.words, explanation.status, explanation.request_id) == (None, "no_input", None)
    assert asked == []


def test_output_centric_shows_no_window():
    feature = FEATURE._replace(suppressed=[0])
    text = request("output_centric", feature).messages[1].content
    assert text.splitlines()[:2] == ['Likelier: " stop"', 'Less likely: "I"']
    assert "Example" not in text and "<<" not in text


def test_output_centric_shows_what_changes_where_it_is_told_to():
    asked = []

    class Tools:
        config = config_of("output_centric", output_centric={"tokens": "changed"})
        vocabulary = VOCABULARY
        role = SimpleNamespace(max_draws=1)
        batch = SimpleNamespace(
            sae="layers.1", select=lambda sql: SimpleNamespace(fetchall=lambda: [(7, [9], [6])])
        )

        def ask(self, to_ask):
            asked.extend(to_ask)
            answers = [Answer(each.request.request_id, "ok", each.stand_in) for each in to_ask]
            return {answer.request_id: answer for answer in answers}

    said, other = load_explainer("output_centric").explain([FEATURE, FEATURE._replace(feature=8)], Tools())
    assert sorted([(said.feature, said.status), (other.feature, other.status)]) == [(7, "ok"), (8, "no_input")]
    lines = asked[0].request.messages[1].content.splitlines()
    assert lines[:2] == ['Likelier: " now"', 'Less likely: " > >"']


def test_the_version_of_an_explainer_that_chooses_follows_its_base_and_its_judge():
    def versions(scoring=None, **explaining):
        config = config_of("default", "best_of_k", "refinement", "keywords", **explaining)
        update = {"scoring": config.scoring.model_copy(update=scoring or {})}
        return plugin_versions(config.model_copy(update=update), "explainers")

    def changed(**other):
        before, after = versions(), versions(**other)
        return {name for name in before if before[name] != after[name]}

    assert (
        changed(scoring={"model": "another"})
        == changed(scoring={"min_coverage": 0.5})
        == {*("best_of_k", "refinement")}
    )
    assert changed(default={"sampling": "top"}) == {"default", "best_of_k", "refinement"}
    assert changed(refinement={"rounds": 5}) == {"refinement"}
    assert changed(scoring={"max_features": 3, "n_questions": 5}) == set()
