"""The model in this process: batches that share prefixes say what each prompt alone would say."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MambaConfig

from llm import answers_of
from pipeline.config import LocalConfig, SubjectConfig
from pipeline.errors import ConfigError, SubjectError
from pipeline.llm import Client, Message, Request
from pipeline.llm.local import client as local_client
from pipeline.llm.local.client import BATCH_TOKENS, GPU_CACHE_BYTES, PASS_COST, LocalClient
from pipeline.llm.local.model import LocalModel, load_local_model
from pipeline.llm.local.prefixes import group_by_prefix
from pipeline.models.load import load_subject_config

TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'system' and refuses_system is defined %}"
    "{{ raise_exception('no system') }}{% endif %}"
    "<bos>{{ message.role }} {{ message.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<bos>assistant{% endif %}"
)
CHOICES = ("red", "green")
EXPLANATIONS = ("the words stop and goat in them", "names of animals which we said", "colours")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for each other cost more than they bring on a model this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_least_mass(monkeypatch):
    """A model of random weights has hardly any mass on two words."""
    monkeypatch.setattr("pipeline.llm.choices.LEAST_MASS", 0.0)


@pytest.fixture(scope="module")
def folder(tiny_subject, tmp_path_factory):
    """The tiny subject model, with a chat template."""
    folder = tmp_path_factory.mktemp("chat")
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(tiny_subject).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture
def client(folder) -> Client:
    return LocalClient(LocalConfig(model=str(folder), dtype="float32"), "cpu")


def question(number=0, explanation=EXPLANATIONS[0], **changes):
    words = ["and", "the", "goat", "was", "red", "or"]
    content = " ".join([*words * (number % 4), f"was it {number}"])
    messages = (
        Message("system", "say if the words are those that are said, one of two with all"),
        Message("user", f"they are {explanation} {content}"),
    )
    return replace(Request("detection", "sae", 3, "tiny", messages, max_tokens=8), **changes)


def questions(n=12, **changes):
    return [question(number, EXPLANATIONS[number % 3], **changes) for number in range(n)]


def prompt_ids(request, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [message._asdict() for message in request.messages]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False).input_ids


def by_id(answers):
    return {answer.request_id: answer for answer in answers}


def first_token_probabilities(request, folder, model):
    """The naive way: the whole prompt alone, all logits, softmax over the choices' tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(torch.tensor([prompt_ids(request, folder)])).logits[0, -1]
    [[red], [green]] = (tokenizer(" " + word, add_special_tokens=False).input_ids for word in CHOICES)
    return dict(zip(CHOICES, logits[[red, green]].softmax(dim=0).tolist(), strict=True))


def test_probabilities_are_those_of_each_prompt_alone(client, folder, model):
    requests = questions(choices=CHOICES, max_tokens=1)
    answers = by_id(answers_of(client, requests))
    assert len(answers) == 12
    for request in requests:
        answer = answers[request.request_id]
        alone = first_token_probabilities(request, folder, model)
        assert answer.probabilities == pytest.approx(alone, abs=1e-4)
        assert answer.text == max(CHOICES, key=alone.__getitem__)
        assert (answer.status, answer.finish_reason, answer.completion_tokens) == ("ok", "stop", 0)
        assert answer.prompt_tokens == len(prompt_ids(request, folder))
    assert len({round(answer.probabilities["red"], 4) for answer in answers.values()}) > 6
    assert any(answer.cached_tokens > 10 for answer in answers.values())


def test_first_logits_of_a_bfloat16_model_are_not_rounded_to_bfloat16(folder):
    local = load_local_model(SubjectConfig(model=str(folder), dtype="bfloat16"), "cpu")
    batch = local.start(local.read_prefix([5, 6, 7]), [[8, 9], [10]])
    assert batch.logits.dtype == torch.float32
    assert not torch.equal(batch.logits, batch.logits.bfloat16().float())
    batch.append([11, 12])  # later tokens take the model's own head
    assert torch.equal(batch.logits, batch.logits.bfloat16().float())


def test_prompts_that_share_nothing_can_stand_in_one_batch(folder, model):
    local = load_local_model(SubjectConfig(model=str(folder), dtype="float32"), "cpu")
    prompts = [[5, 6, 7, 8, 9], [10], [11, 12, 13]]
    batch = local.start(None, prompts)
    for prompt, logits in zip(prompts, batch.logits, strict=True):
        with torch.inference_mode():
            alone = model(torch.tensor([prompt])).logits[0, -1]
        assert torch.allclose(logits, alone, atol=1e-4)


def test_what_is_written_is_what_the_model_writes_alone(client, folder, model):
    requests = questions()
    answers = by_id(answers_of(client, requests))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for request in requests:
        ids = torch.tensor([prompt_ids(request, folder)])
        written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
        written = written[0, ids.shape[1] :].tolist()
        answer = answers[request.request_id]
        ended = tokenizer.eos_token_id in written
        assert answer.status == ("ok" if ended else "truncated")
        assert answer.finish_reason == ("stop" if ended else "length")
        assert answer.text == tokenizer.decode(written, skip_special_tokens=True)
        assert answer.completion_tokens == len(written) - ended


def test_a_row_leaves_the_batch_when_it_ends_and_the_others_go_on(client, folder):
    lengths = [1, 5, 2, 8]
    requests = [question(number, max_tokens=length) for number, length in enumerate(lengths)]
    together = by_id(answers_of(client, requests))
    for request, length in zip(requests, lengths, strict=True):
        [alone] = answers_of(client, [request])
        assert together[request.request_id].text == alone.text
        assert together[request.request_id].completion_tokens <= length


def test_an_answer_ends_before_its_stop(client):
    requests = questions()
    answers = by_id(answers_of(client, requests))
    for request in requests:
        whole = answers[request.request_id]
        stop = whole.text[2:4]
        if stop:
            [cut] = answers_of(client, [replace(request, stop=(stop,))])
            assert (cut.text, cut.status) == (whole.text[: whole.text.find(stop)], "ok")
            assert cut.completion_tokens <= whole.completion_tokens


def test_a_stop_within_a_thought_does_not_end_an_answer(client, monkeypatch):
    [whole] = answers_of(client, [question()])
    decode = LocalModel.decode
    monkeypatch.setattr(LocalModel, "decode", lambda self, ids: f"<think>{decode(self, ids)}")
    [thought] = answers_of(client, [question(stop=(whole.text[2:4],))])
    assert (thought.text, thought.status) == (f"<think>{whole.text}", whole.status)


@pytest.mark.parametrize("changes", [{}, {"choices": CHOICES, "max_tokens": 1}])
def test_a_model_that_only_reasons_stops_the_run_after_a_few_answers(client, monkeypatch, changes):
    monkeypatch.setattr("pipeline.llm.choices.LEAST_MASS", 1.0)  # the first token is none of the choices
    monkeypatch.setattr(local_client, "BATCH_TOKENS", 100)
    monkeypatch.setattr(LocalModel, "decode", lambda self, ids: "<think> well")
    given = []
    with pytest.raises(
        ConfigError, match=r"in this process spent its tokens .* 5 times in a row; .*reasoning_tokens"
    ):
        for answers in client.answer(questions(40, **changes)):
            given += answers
    assert 5 <= len(given) < 40


def test_a_template_that_opens_the_reasoning_wants_tokens_for_it(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE.replace("<bos>assistant", "<bos>assistant<think>\n")
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    client = LocalClient(LocalConfig(model=str(tmp_path), dtype="float32"), "cpu")
    with pytest.raises(
        ConfigError, match=r"'tiny' in this process reasons before it answers.*reasoning_tokens, now 0"
    ):
        answers_of(client, [question()])
    [given] = answers_of(client, [question(reasoning_tokens=5)])
    assert given.completion_tokens > 0


def test_tags_of_reasoning_stay_in_a_text_though_they_are_special_tokens(folder, model):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["[THINK]", "[/THINK]", "<|channel|>", "<|im_end|>"], special_tokens=True)
    local = LocalModel(model, tokenizer, torch.device("cpu"))
    written = tokenizer("[THINK]red[/THINK]green<|im_end|><eos>", add_special_tokens=False).input_ids
    assert local.decode(written).replace(" ", "") == "[THINK]red[/THINK]green"


def test_a_message_may_end_in_a_tag_of_reasoning(client):
    [given] = answers_of(client, [question(messages=(Message("user", "say <think>"),))])
    assert given.status in {"ok", "truncated"}


@pytest.mark.parametrize("changes", [
    {"choices": CHOICES, "max_tokens": 1},
    {"choices": CHOICES, "keys": ("1", "2"), "max_tokens": 1},
])  # fmt: skip
def test_a_model_that_thinks_writes_its_answer_out(client, changes):
    [plain] = answers_of(client, [question(max_tokens=8)])
    [given] = answers_of(client, [question(reasoning_tokens=7, **changes)])
    assert given.probabilities is None
    assert (given.text, given.completion_tokens) == (plain.text, plain.completion_tokens)


def test_an_answer_does_not_depend_on_its_company(client):
    for changes in ({"choices": CHOICES}, {"temperature": 1.0}):
        requests = questions(6, **changes)
        together = by_id(answers_of(client, requests))
        backwards = by_id(answers_of(client, requests[::-1]))
        for request in requests:
            [alone] = answers_of(client, [request])
            for other in (backwards[request.request_id], alone):
                assert other.text == together[request.request_id].text
                assert other.status == together[request.request_id].status
            if request.choices:
                assert alone.probabilities == pytest.approx(together[request.request_id].probabilities, abs=1e-4)


def test_draws_differ_and_repeat(client):
    requests = [question(temperature=1.0, draw=draw) for draw in range(6)]
    first, second = by_id(answers_of(client, requests)), by_id(answers_of(client, requests))
    texts = [first[request.request_id].text for request in requests]
    assert texts == [second[request.request_id].text for request in requests]
    assert len(set(texts)) > 1


def test_questions_of_both_kinds_can_come_together(client):
    requests = [question(0, choices=CHOICES), question(0), question(1, choices=CHOICES), question(1)]
    answers = by_id(answers_of(client, requests))
    for request in requests:
        [alone] = answers_of(client, [request])
        answer = answers[request.request_id]
        assert answer.text == alone.text
        assert (answer.probabilities is None) == (request.choices is None)


def test_small_batches_give_the_same(client, monkeypatch):
    requests = questions(choices=CHOICES)
    large = by_id(answers_of(client, requests))
    monkeypatch.setattr(local_client, "BATCH_TOKENS", 100)
    small = by_id(answers_of(client, requests))
    for request_id, answer in large.items():
        assert small[request_id].probabilities == pytest.approx(answer.probabilities, abs=1e-4)


def test_a_prompt_that_is_too_long_is_one_rows_failure(client):
    long = question(messages=(Message("user", "stop " * 1100),))
    answers = by_id(answers_of(client, [long, question()]))
    assert answers[long.request_id].status == "too_long"
    assert "the model's limit is 1024" in answers[long.request_id].error
    assert answers[question().request_id].status != "too_long"


def test_choices_that_begin_alike_are_refused(client):
    with pytest.raises(ConfigError, match="begins with no token of its own"):
        answers_of(client, [question(choices=("red", "red"))])


def test_a_tokenizer_without_a_template_gets_plain_lines(tiny_subject):
    local = load_local_model(SubjectConfig(model=str(tiny_subject), dtype="float32"), "cpu")
    ids = local.encode([Message("system", "the cat"), Message("user", "stop")])
    assert local.decode(ids) == "system: the cat\nuser: stop\nassistant:"


def test_a_template_that_knows_no_system_role_gets_it_before_the_users_words(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{% set refuses_system = true %}" + TEMPLATE
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    local = load_local_model(SubjectConfig(model=str(tmp_path), dtype="float32"), "cpu")
    ids = local.encode([Message("system", "the cat"), Message("user", "stop")])
    assert local.decode(ids) == "user the cat\n\nstopassistant"


def test_the_model_is_loaded_once_and_not_before_it_is_asked(folder, tmp_path):
    subject = SubjectConfig(model=str(folder), dtype="float32")
    assert load_local_model(subject, "cpu") is load_local_model(subject.model_copy(), "cpu")
    LocalClient(LocalConfig(model=str(tmp_path)), "cpu")  # an empty folder: nothing is read yet
    with pytest.raises(SubjectError, match="cannot be loaded"):
        answers_of(LocalClient(LocalConfig(model=str(tmp_path)), "cpu"), [question()])
    with pytest.raises(SubjectError, match="no folder"):
        LocalClient(LocalConfig(model="/no/such/model"), "cpu")


# Grouping ----------------------------------------------------------------------------------------------


def test_every_prompt_is_in_one_group_and_begins_as_it_says():
    prompts = [[1] * 50 + [feature] * 100 + [9, number] for number in range(20) for feature in (2, 3, 4)]
    groups = group_by_prefix(prompts, PASS_COST)
    assert sorted(index for group in groups for index in group.indices) == list(range(60))
    assert [(len(group.indices), group.n_shared) for group in groups] == [(20, 151)] * 3
    for group in groups:
        assert len({tuple(prompts[index][: group.n_shared]) for index in group.indices}) == 1


def test_few_prompts_with_little_in_common_beside_a_long_prefix_stay_together():
    prompts = [[1] * 200 + [feature, 7, 8] for feature in range(2, 12)]
    [group] = group_by_prefix(prompts, PASS_COST)
    assert (len(group.indices), group.n_shared) == (10, 200)


def test_the_last_token_is_never_shared_and_shorter_prompts_come_first():
    same = [[1] * 100, [1] * 101, [1] * 100]
    [group] = group_by_prefix(same, PASS_COST)
    assert group.n_shared == 99
    assert [len(same[index]) for index in group.indices] == [100, 100, 101]
    assert [group.n_shared for group in group_by_prefix([[1, 2, 3]], PASS_COST)] == [0]
    assert group_by_prefix([], PASS_COST) == []
    assert sum(len(group.indices) for group in group_by_prefix([[1] * 40] * 600, PASS_COST)) == 600


def test_where_a_pass_costs_much_prompts_that_share_little_are_read_together():
    prompts = [[1] * 50 + [feature] * 100 + [9, number] for number in range(20) for feature in (2, 3, 4)]
    [group] = group_by_prefix(prompts, 10_000)
    assert (len(group.indices), group.n_shared) == (60, 50)


def test_a_batch_on_a_gpu_is_as_large_as_its_cache(folder, monkeypatch):
    client = LocalClient(LocalConfig(model=str(folder)), "cpu")
    assert client._batch_tokens == BATCH_TOKENS
    monkeypatch.setattr("pipeline.llm.local.client.pick_device", lambda _: torch.device("cuda"))
    config = load_subject_config(client.subject)
    token_bytes = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    assert client._batch_tokens == GPU_CACHE_BYTES // token_bytes > BATCH_TOKENS
    without_attention = MambaConfig(num_hidden_layers=2, hidden_size=8)
    monkeypatch.setattr("pipeline.llm.local.client.load_subject_config", lambda _: without_attention)
    assert client._batch_tokens == GPU_CACHE_BYTES // (2 * 2 * 2 * 8)


def test_the_work_that_is_counted_is_what_the_model_does(folder, client, monkeypatch):
    requests = [*questions(12), replace(question(99), choices=None, max_tokens=3)]
    counted = LocalClient(LocalConfig(model=str(folder), dtype="float32"), "cpu").work_of(requests)
    inner = load_local_model(LocalConfig(model=str(folder), dtype="float32"), "cpu")._model
    read, forward = [], inner.forward

    def noting(*arguments, input_ids, **named):
        read.append(input_ids.shape)
        return forward(*arguments, input_ids=input_ids, **named)

    monkeypatch.setattr(inner, "forward", noting)
    answers_of(client, requests)
    assert 0 <= counted.passes - len(read) <= 3  # an answer may end before its last token
    assert counted.read_tokens == sum(n_rows * length for n_rows, length in read if length > 1)
    assert counted.new_tokens <= counted.read_tokens
