"""`docs/cost.md`: the post's cost table next to ours, at the same prices.

Made from `benchmarks/results/cost.json` (see `benchmarks/cost.py`) and `config/prices.yaml`.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from benchmarks.pages import RESULTS, ROOT
from pipeline.llm.ledger.prices import Prices, load_prices

_MODELS = {"GPT-4o mini": "gpt-4o-mini", "Claude 3.5 Sonnet": "claude-3-5-sonnet"}

_PAGE = """# What it costs

The tokens and dollars of explaining and scoring, per million features, next to the post's own table. For your
experiment, `make estimate CONFIG=…` counts the requests and prices them before anything is sent.

## The post's table

Juang et al., July 2024, one call per feature. The dollars are by our price file; the post's own are in brackets.

{post}

## latentlake, one call per feature

The tokens of the prompts about batch 0 of the demo SAE, by the demo's tokenizer ({date}), at the same prices. The
calls are like the post's: one explanation from 20 examples, and one prompt of 5 questions, or of 50.

{calls}

## latentlake, all calls about a feature

One explanation, and 50 detection and 50 fuzzing questions (25 with each answer).

{features}

## Every explainer

All requests of an explainer about a feature, with its default settings and 20 examples where it shows any (mean
of {n_features} features). An explainer that chooses among several explanations also asks the questions that judge
them, 5 per call. Requests and prompt tokens are the most it may take (`make estimate` also counts the least).
Answers are counted at a usual length, in the form asked for; a model may write longer ones, up to `max_tokens`
each. Scoring on test documents comes on top. `rule`, `keywords` and `imported` ask no model and cost nothing.
`output_centric` with `tokens: changed` asks the same, and before that runs the subject model here: 2,048 tokens
per feature (32 texts of 32 tokens, with the feature raised and lowered).

{explainers}

These figures leave out three things: what routing saves (no LLM is asked about features that a rule explains, that
never fire or that fire everywhere), prefix caches (`cached` in the price file), and the controls of a few features
per batch.

## Prices and budgets

- `config/prices.yaml` (or the file that `budget.prices` names) holds the prices of models per million prompt,
  cached and completion tokens. Edit it. An answer is priced when it is recorded (`llm_requests.cost_usd`, null
  without a price) and keeps that price; later edits change only estimates and new answers. Answers of
  `provider: local` and `oracle` are free.
- `budget: {{max_usd: 5, max_requests: 1000}}` caps the whole experiment, over all its runs: everything in the
  ledger counts. Answers of `provider: oracle` count apart: a rehearsal takes nothing from a real run. If `max_usd`
  is set and a model has no price, the run stops before anything is sent.
- Before a request is sent, the most that it can cost is reserved: one token for each byte of its prompt, and an
  answer as long as `max_tokens` and `reasoning_tokens` allow. When the answer is recorded, the excess is released.
  So a run gets within one such reservation of `max_usd`, and uses `max_requests` to the last request. Several
  processes share the budget; the reservation of a process that died is void.
- A provider's batch takes up to a day, and `max_usd` may split the requests into several batches, one after
  another. After 20 answers, a further batch therefore reserves only the largest share of that bound that an answer
  took, plus a quarter. So two or three batches are needed, or one if `max_usd` is about six times the expected
  cost.
- A request that does not fit has status `budget` in the tables and is not in the ledger. The run ends cleanly,
  keeps what is done and says what to raise; the schedule waits. Once the budget is raised, the next run asks for
  the rest.
- A request that failed without reporting its usage (a time-out, for example) is not counted, though a provider
  may charge for it. An answer whose server reports no usage counts at its reservation. Failed attempts that report
  their usage count with the answer that follows. Only one attempt is reserved, so such attempts, and a model that
  writes more than `max_tokens` and `reasoning_tokens`, can exceed the cap by what is in flight.

(Made by `make docs` from `config/prices.yaml` and `benchmarks/results/cost.json`; `make demo` and then `make bench
ONLY=cost` measure the latter again.)
"""


class _Call(NamedTuple):
    """One way of asking: tokens per call, calls per feature, and the post's dollars, if it gives any."""

    what: str
    prompt_tokens: float
    answer_tokens: float
    calls: float = 1
    post_usd: tuple[int, ...] = ()


_POST = (
    _Call("explanation", 963, 30, post_usd=(160, 3_400)),
    _Call("detection or fuzzing, 5 examples per call", 778, 12, post_usd=(125, 2_540)),
    _Call("simulation", 24_075, 1_598, post_usd=(4_700, 96_000)),
)
"""Juang et al. 2024: tokens per call, and dollars per million features at one call each."""


def cost_page() -> str:
    """The page."""
    content = json.loads((RESULTS / "cost.json").read_text(encoding="utf-8"))
    measured = {figure["name"]: figure["value"] for figure in content["figures"]}
    prices = load_prices(ROOT / "config" / "prices.yaml")
    explanation = _call(measured, "explain", "explanation, 20 examples")
    asked = {
        n: [
            _call(measured, f"{scorer}_{n}", f"{scorer}, {n} questions per call")
            for scorer in ("detection", "fuzzing")
        ]
        for n in (5, 50)
    }
    features = [_together(f"{n} questions per call", [explanation, *calls]) for n, calls in asked.items()]
    return _PAGE.format(
        post=_table(_POST, prices),
        date=content["date"],
        calls=_table([explanation, *asked[5], *asked[50]], prices),
        features=_table(features, prices),
        explainers=_explainers(measured, prices),
        n_features=_n_features(content["figures"]),
    )


def _n_features(figures: Iterable[dict[str, Any]]) -> str:
    """How many features the explainers' figures are means over."""
    notes = [re.search(r"(\d+) features", each["note"]) for each in figures if each["name"].startswith("by_")]
    counts = sorted({int(found[1]) for found in notes if found})
    return " to ".join(str(each) for each in dict.fromkeys((counts[0], counts[-1])))


def _explainers(measured: dict[str, float], prices: Prices) -> str:
    """A row per explainer, the shortest prompts first."""
    names = [name.removeprefix("by_").removesuffix("_least_requests") for name in measured if "_least_" in name]
    names.sort(key=lambda name: measured[f"by_{name}_prompt_tokens"])
    calls = []
    for name in names:
        most, least = measured[f"by_{name}_requests"], measured[f"by_{name}_least_requests"]
        requests = f"{most:.0f}" if least == most else f"{least:.0f} to {most:.0f}"
        what = f"{name}, {requests} {'request' if most == 1 else 'requests'}"
        calls.append(_Call(what, measured[f"by_{name}_prompt_tokens"], measured[f"by_{name}_answer_tokens"]))
    return _table(calls, prices)


def _call(measured: dict[str, float], kind: str, what: str) -> _Call:
    prompt_tokens, answer_tokens = measured[f"{kind}_prompt_tokens"], measured[f"{kind}_answer_tokens"]
    return _Call(what, prompt_tokens, answer_tokens, measured[f"{kind}_calls"])


def _together(what: str, calls: Iterable[_Call]) -> _Call:
    """All calls about a feature as if they were one."""
    pairs = [(call.calls * call.prompt_tokens, call.calls * call.answer_tokens) for call in calls]
    return _Call(what, sum(prompt for prompt, _ in pairs), sum(answer for _, answer in pairs))


def _table(calls: Iterable[_Call], prices: Prices) -> str:
    lines = [
        f"| per million features | prompt tokens | answer tokens | {' | '.join(_MODELS)} |",
        "|---|--:|--:|--:|--:|",
    ]
    for call in calls:
        dollars = []
        for number, model in enumerate(_MODELS.values()):
            usd = prices.usd(model, call.prompt_tokens * 1e6, call.answer_tokens * 1e6)
            of_post = f" (${call.post_usd[number]:,})" if call.post_usd else ""
            dollars.append("no price" if usd is None else f"${usd:,.0f}{of_post}")
        tokens = f"{call.prompt_tokens:,.0f} | {call.answer_tokens:,.0f}"
        lines.append(f"| {call.what} | {tokens} | {' | '.join(dollars)} |")
    return "\n".join(lines)
