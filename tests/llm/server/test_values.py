"""Probabilities of many answers, and values in the blanks of a prompt, from servers that tell them or do not."""

import pytest

from llm import answers_of, client_of
from llm.oracle import Oracle, Reply
from pipeline.llm import Ledger, Message, Request, ask

NUMBERS = tuple(map(str, range(11)))
LINES = "token\tactivation\n the\tunknown\n cat\tunknown"


def many(number=0, n=2):
    keys = tuple(str(key) for key in range(1, n + 1))
    schema = {"type": "object", "required": list(keys)}
    question = (Message("user", f"Explanation {number}"),)
    return Request("d", "sae", 0, "model", question, 84, choices=("true", "false"), keys=keys, schema=schema)


def blanks():
    messages = (Message("user", "Explanation: cats"), Message("assistant", LINES))
    return Request("simulation", "sae", 0, "model", messages, 1, choices=NUMBERS, blank="\tunknown")


def answer(oracle, request):
    [found] = answers_of(client_of(oracle.base_url, None), [request])
    return found


def test_each_answer_of_many_has_the_probability_at_its_own_token():
    with Oracle(lambda body: Reply('{"1": true, "2": false}', confidence=0.75), tells_all=True) as oracle:
        found = answer(oracle, many())
        assert found.probabilities == pytest.approx({"1": 0.75, "2": 0.25})
        assert (found.status, found.choice_mass) == ("ok", pytest.approx(1.0))
        [sent] = oracle.requests
        assert (sent["logprobs"], sent["top_logprobs"]) == (True, 5) and "response_format" in sent


@pytest.mark.parametrize("status", [400, 200])
def test_a_server_without_schemas_gives_each_answer_of_many_its_probability_all_the_same(status):
    def probed(body):  # as DeepSeek, which refuses it; others take it and do not heed it
        said = "This response_format type is unavailable now"
        is_refused = "response_format" in body and status == 400
        return Reply(fault="status", status=400, message=said) if is_refused else "Yes"

    reply = Reply('{"1": true, "2": false}', confidence=0.75)
    with Oracle(lambda body: reply, probed=probed, tells_all=True) as oracle:
        assert answer(oracle, many()).probabilities == pytest.approx({"1": 0.75, "2": 0.25})
        [sent] = oracle.requests
    assert sent["top_logprobs"] == 5 and "response_format" not in sent


def test_a_server_that_tells_of_the_first_token_alone_is_asked_for_no_logprobs():
    with Oracle(lambda body: '{"1": true, "2": false}') as oracle:
        found = answer(oracle, many())
        assert (found.status, found.probabilities, found.choice_mass) == ("ok", None, None)
        assert "logprobs" not in oracle.requests[0]


def test_answers_with_too_little_mass_have_no_probability():
    def brain(body):
        return Reply('{"1": true, "2": null}', confidence=0.75)

    with Oracle(brain, tells_all=True) as oracle:
        assert answer(oracle, many()).probabilities == pytest.approx({"1": 0.75})


def test_values_are_expected_over_what_may_stand_in_each_blank():
    told = {"a": {"7": 0.5}, " the": {"0": 0.3, "1": 0.1, "x": 0.4}, " cat": {"10": 0.02, "5": 0.01}}
    with Oracle(lambda body: Reply("", fault="truncate"), blank=lambda line: told.get(line, {"3": 0.1})) as oracle:
        oracle.probed = lambda body: "Yes"
        found = answer(oracle, blanks())
        assert found.values == pytest.approx([0.25, 0.25 / 0.03])
        assert (found.status, found.choice_mass) == ("ok", pytest.approx(0.03))
        [sent] = oracle.requests
        assert (sent["prompt_logprobs"], sent["max_tokens"]) == (15, 1)
        assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
        assert "logprobs" not in sent


def test_where_no_number_is_told_there_are_no_values():
    def told(line):
        return {"3": 0.1} if line != " cat" else {"x": 0.1}

    with Oracle(lambda body: "x", blank=told) as oracle:
        found = answer(oracle, blanks())
        assert (found.status, found.values) == ("ok", None)


@pytest.mark.parametrize("oracle", [
    Oracle(lambda body: "x"),
    Oracle(lambda body: "x", blank=lambda line: {"3": 0.1}, splits_ten=True),
    Oracle(lambda body: "x", blank=lambda line: {"x": 0.1}),
], ids=["ignores it", "splits 10", "tells no number"])  # fmt: skip
def test_a_server_that_tells_no_numbers_is_sent_no_blanks(oracle):
    with oracle:
        found = answer(oracle, blanks())
        assert (found.status, found.attempts, oracle.n_requests) == ("refused", 0, 0)
        assert "gives no log-probabilities of a prompt" in found.error


def test_a_server_that_refuses_the_parameter_is_sent_no_blanks():
    def probed(body):
        if "prompt_logprobs" in body:
            message = "Unrecognized request argument supplied: prompt_logprobs"
            return Reply(fault="status", status=400, message=message)
        return "Yes"

    with Oracle(lambda body: "x", probed=probed) as oracle:
        assert answer(oracle, blanks()).status == "refused"
        assert oracle.n_requests == 0


def test_what_a_server_could_not_be_asked_is_known_without_it_and_asked_anew_where_that_is_wanted(tmp_path):
    def asked(oracle, **how):
        with Ledger(tmp_path, "predictions", "sae", 0, 9) as ledger:
            [found] = ask(ledger, client_of(oracle.base_url, None), [blanks()], **how).values()
        return found

    with Oracle(lambda body: "x") as old:
        unsent = asked(old)
    with Oracle(lambda body: "x", blank=lambda line: {"3": 0.1}) as upgraded:
        assert unsent.is_unsent and asked(upgraded) == unsent
        assert asked(upgraded, renews=True).values == [3.0, 3.0]
        assert asked(upgraded).values == [3.0, 3.0]  # from here on it is an answer like others
        assert upgraded.n_requests == 1
