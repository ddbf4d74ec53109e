"""What the request of the default explainer holds."""

from sample_prompts import SHOWN, explain


def test_explainers_prompts_share_all_bytes_up_to_the_examples():
    one, other = explain(), explain(SHOWN[::-1])
    assert one.messages[:-1] == other.messages[:-1] and len(one.messages) == 2


def test_explainer_marks_above_a_share_of_the_largest_shown_and_each_windows_strongest():
    lines = explain().messages[-1].content.splitlines()
    assert lines[:4] == [
        "Example 1: I don't<< stop>>",
        " ",
        "Example 2:  don't<< stop stop>> {text} > >",
        "Example 3: é<< stop>> now",
    ]
    strict = explain(marked_share=0.6).messages[-1].content.splitlines()
    assert strict[2] == "Example 2:  don't stop<< stop>> {text} > >"


def test_activations_are_written_on_a_scale_of_the_largest_shown():
    lines = explain(show_activations=True).messages[-1].content.splitlines()
    assert lines[0] == "Example 1: I don't<< stop (10)>>"
    assert lines[2] == "Example 2:  don't<< stop (5)>><< stop (8)>> {text} > >"


def test_answer_ends_with_its_line_unless_the_model_may_think():
    assert explain().stop == ("\n",)
    assert explain(one_line=False).stop == ()
