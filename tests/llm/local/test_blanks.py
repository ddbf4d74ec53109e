"""Values in blanks, answers by key and losses: each what a direct forward pass of each prompt alone says."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from llm import answers_of
from pipeline.config import LocalConfig, SubjectConfig, load_config
from pipeline.llm import Message, Request
from pipeline.llm.local.client import LocalClient
from pipeline.llm.local.model import load_local_model

NUMBERS = tuple(map(str, range(11)))
BLANK = "\tunknown"


def simulation(tokens, model="m"):
    lines = "\n".join(["token\tactivation", *(token + BLANK for token in tokens)])
    messages = (Message("system", "how strong"), Message("user", "a cat"), Message("assistant", lines))
    return Request("simulation", "sae", 0, model, messages, 1, choices=NUMBERS, blank=BLANK)


SIMULATIONS = [
    simulation([" the", " cat", "unknown", "\\n", " dog"]),
    simulation([" the", " cat", " stop"]),
    simulation([" red"]),
]
KEYED = [
    Request("d", "sae", 0, "m", (Message("user", f"the cat {n}"),), 50, choices=("true", "false"), keys=keys)
    for n, keys in enumerate([("1", "2"), ("1", "2", "3"), ("1",)])
]


@pytest.fixture(scope="module")
def client(tiny_subject):
    return LocalClient(LocalConfig(model=str(tiny_subject), dtype="float32"), "cpu")


@pytest.fixture(scope="module")
def local(tiny_subject):
    return load_local_model(SubjectConfig(model=str(tiny_subject), dtype="float32"), "cpu")


def next_probabilities(model, ids):
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -1].float().softmax(dim=0)


def direct_values(local, model, request):
    """The whole text up to each blank alone, and once more behind the digit 1."""
    ids = local.encode(request.messages)
    pieces = local.pieces(ids)
    text, values = "", []
    n_before = len(request.messages) and "".join(pieces).count(BLANK) - request.n_blanks
    one, ten = local.tokens("1"), local.tokens("10")
    for place, piece in enumerate(pieces):
        if text.endswith("\t") and "".join(pieces[place:]).startswith("unknown"):
            n_before -= 1
            if n_before < 0:
                probabilities = next_probabilities(model, ids[:place])
                masses = {number: float(probabilities[local.tokens(number)[0]]) for number in NUMBERS[:10]}
                masses["10"] = float(probabilities[ten[0]])
                if len(ten) > 1:
                    behind = next_probabilities(model, ids[:place] + one)
                    masses["10"] = masses["1"] * float(behind[ten[1]])
                    masses["1"] -= masses["10"]
                values.append(sum(int(number) * mass for number, mass in masses.items()) / sum(masses.values()))
        text += piece
    return values


def test_values_are_those_of_a_direct_forward_pass(client, local, tiny_subject):
    model = AutoModelForCausalLM.from_pretrained(tiny_subject, dtype=torch.float32).eval()
    answers = {answer.request_id: answer for answer in answers_of(client, SIMULATIONS)}
    assert len(local.tokens("10")) == 2
    for request in SIMULATIONS:
        answer = answers[request.request_id]
        direct = direct_values(local, model, request)
        assert len(direct) == request.n_blanks
        assert answer.values == pytest.approx(direct, abs=1e-4)
        assert (answer.status, answer.probabilities, answer.completion_tokens) == ("ok", None, 0)
        assert 0 < answer.choice_mass <= 1
        [alone] = answers_of(client, [request])
        assert alone.values == pytest.approx(answer.values, abs=1e-4)
    assert any(answer.cached_tokens > 5 for answer in answers.values())


def test_where_the_model_overflows_there_is_no_value(client, local, monkeypatch):
    read_behind = local.read_behind

    def overflowing(*args):
        read, cache = read_behind(*args)
        return read * float("nan"), cache

    monkeypatch.setattr(local, "read_behind", overflowing)
    monkeypatch.setattr("pipeline.llm.local.client.load_local_model", lambda *_: local)
    [answer] = answers_of(client, [SIMULATIONS[2]])
    assert (answer.status, answer.values) == ("ok", None)


@pytest.mark.embedded
def test_values_are_those_of_a_direct_forward_pass_of_the_embedded_model():
    config = load_config("config/demo.yaml")
    client = LocalClient(config.in_process(config.scoring).model_copy(update={"dtype": "float32"}), "cpu")
    local = load_local_model(client.subject, "cpu")
    [answer] = answers_of(client, [SIMULATIONS[0]])
    assert answer.values == pytest.approx(direct_values(local, local._model, SIMULATIONS[0]), abs=1e-4)


def test_answers_by_key_have_the_probability_of_their_own_token(client, local, tiny_subject):
    model = AutoModelForCausalLM.from_pretrained(tiny_subject, dtype=torch.float32).eval()
    together = {answer.request_id: answer for answer in answers_of(client, KEYED)}
    for request in KEYED:
        answer = together[request.request_id]
        assert answer.status == "ok" and answer.text.startswith('{"1":')
        ids = local.encode(request.messages)
        told = answer.probabilities or {}
        written = ""
        for key in request.keys:
            # Up to the value; the tiny tokenizer spells "true" and "false" letter by letter, behind one space.
            written += f'{{"{key}":' if key == "1" else f', "{key}":'
            choices = [local.tokens(f"{written} {choice}") for choice in request.choices]
            shared = next(n for n, pair in enumerate(zip(*choices, strict=False)) if len(set(pair)) > 1)
            probabilities = next_probabilities(model, ids + choices[0][:shared])
            accepted = local.choice_token_ids(request.choices)
            masses = [float(probabilities[list(each)].sum()) for each in accepted]
            if sum(masses) >= 0.01:
                assert told[key] == pytest.approx(masses[0] / sum(masses), abs=1e-3)
            else:
                assert key not in told
            written += f" {request.choices[masses[0] < masses[1]]}"
        assert answer.text == written + "}"
        [alone] = answers_of(client, [request])
        assert alone.text == answer.text
    assert any(each.probabilities for each in together.values()) or all(
        each.choice_mass < 0.01 for each in together.values()
    )


def test_choices_without_mass_have_no_probability_and_the_model_says_what_it_would(client, monkeypatch):
    request = Request("d", "sae", 0, "m", (Message("user", "the cat"),), 1, choices=("red", "green"))
    [answer] = answers_of(client, [request])
    monkeypatch.setattr("pipeline.llm.choices.LEAST_MASS", answer.choice_mass * 2)
    [without] = answers_of(client, [replace(request, feature=1)])
    assert without.choice_mass == pytest.approx(answer.choice_mass)
    assert (without.probabilities, without.status) == (None, "ok")
    monkeypatch.setattr("pipeline.llm.choices.LEAST_MASS", answer.choice_mass / 2)
    [told] = answers_of(client, [request])
    assert set(told.probabilities) == {"red", "green"} and told.text in told.probabilities


@pytest.mark.parametrize("most_logits", [1, 1 << 25])
def test_losses_are_those_of_each_text_alone(local, tiny_subject, monkeypatch, most_logits):
    monkeypatch.setattr("pipeline.llm.local.model._READ_LOGITS", most_logits)
    model = AutoModelForCausalLM.from_pretrained(tiny_subject, dtype=torch.float32).eval()
    prefix, windows = local.tokens("the cat and the"), [local.tokens(" dog red"), local.tokens(" stop"), [7, 8]]
    found = local.losses(local.read_prefix(prefix[:-1]), [[prefix[-1], *window] for window in windows])
    for window, loss in zip(windows, found, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([prefix + window])).logits[0]
        read = logits[len(prefix) - 1 : -1]
        alone = torch.nn.functional.cross_entropy(read, torch.tensor(window))
        assert loss == pytest.approx(float(alone), abs=1e-4)
    assert local.losses(None, []) == []
