"""`docs/cost.md`: the post's cost table beside ours, on the same prices.

Made from `benchmarks/results/cost.json` (see `benchmarks/cost.py`) and `config/prices.yaml`.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pipeline.llm.ledger.prices import Prices, load_prices

ROOT = Path(__file__).parents[2]
MODELS = {"GPT-4o mini": "gpt-4o-mini", "Claude 3.5 Sonnet": "claude-3-5-sonnet"}

PAGE = """# What it costs

Tokens and dollars of explaining and scoring, per million features, beside the post's own table. For your
experiment, `make estimate CONFIG=…` counts the requests and prices them before anything is sent.

## The post's table

Juang et al., July 2024: one call each, per million features. Dollars by our price file, the post's own in
brackets.

{post}

## Ours, one call each

Tokens of the prompts about batch 0 of the demo SAE, by the demo's tokenizer ({date}), on the same prices. The
calls are as in the post: one explanation from 20 examples, and one prompt of 5 questions, or of 50.

{calls}

## Ours, a feature from end to end

One explanation, and 50 detection and 50 fuzzing questions (25 of each answer): the tokens of all calls about
it.

{features}

## Every explainer, a feature

All requests of an explainer about a feature with its default settings, from 20 examples where it shows any; where
it chooses among several explanations, with the questions that judge them, 5 a call. Tokens and dollars are at most
(`make estimate` counts at least, too). What is scored on test documents comes on top.

{explainers}

These figures leave out what routing saves (features that a rule explains, or that never fire, or fire
everywhere, are not asked about), prefix caches (`cached` in the price file), and the controls of a few features a
batch.

## Prices and budgets

- `config/prices.yaml` (or the file that `budget.prices` names) holds what models cost, per million prompt,
  cached and completion tokens. Edit it. An answer is priced when it is recorded (`llm_requests.cost_usd`,
  null without a price) and keeps that price; a later edit changes estimates and what comes after. Answers of
  `provider: local` and `oracle` are free.
- `budget: {{max_usd: 5, max_requests: 1000}}` caps the experiment in total, over all runs: what the ledger
  holds counts. `max_usd` with a model that has no price is an error before anything is sent.
- A request is reserved before it is sent, at the most it can cost: each byte of its prompt a token, and its
  answer as long as `max_tokens` and `reasoning_tokens` allow. Once an answer is recorded, what was reserved in
  excess is free again, so a run comes within one request's bound of `max_usd`, and to the last request of
  `max_requests`. Several processes share the budget; the reservation of one that died is void.
- What does not fit has status `budget` in the tables and is not in the ledger. The run ends well and says
  what to raise, the schedule waits, and what is done is kept; once the budget is raised, the next run asks
  for the rest.
- A request that failed without reporting what it used (a time-out) is not counted, though a provider may charge
  for it; an answer whose server reports no usage counts at its bound. Failed attempts whose server reports their
  usage count with the answer after them; as one attempt is reserved, these, and a model that writes more than
  `max_tokens` and `reasoning_tokens`, can pass the cap by what is in flight.

(Made by `make docs` from `config/prices.yaml` and `benchmarks/results/cost.json`; `make demo` and then `make bench
ONLY=cost` measure the latter anew.)
"""


class Call(NamedTuple):
    """One way of asking: tokens a call, calls a feature, and the post's own dollars where it names them."""

    what: str
    prompt_tokens: float
    answer_tokens: float
    calls: float = 1
    post_usd: tuple[int, ...] = ()


POST = (
    Call("explanation", 963, 30, post_usd=(160, 3_400)),
    Call("detection or fuzzing, 5 examples a call", 778, 12, post_usd=(125, 2_540)),
    Call("simulation", 24_075, 1_598, post_usd=(4_700, 96_000)),
)
"""Juang et al. 2024: tokens a call, and dollars per million features at one call each."""


def cost_page() -> str:
    """The page."""
    path = ROOT / "benchmarks" / "results" / "cost.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    measured = {figure["name"]: figure["value"] for figure in content["figures"]}
    prices = load_prices(ROOT / "config" / "prices.yaml")
    explanation = _call(measured, "explain", "explanation, 20 examples")
    asked = {
        n: [
            _call(measured, f"{scorer}_{n}", f"{scorer}, {n} questions a call")
            for scorer in ("detection", "fuzzing")
        ]
        for n in (5, 50)
    }
    features = [_together(f"{n} questions a call", [explanation, *calls]) for n, calls in asked.items()]
    return PAGE.format(
        post=_table(POST, prices),
        date=content["date"],
        calls=_table([explanation, *asked[5], *asked[50]], prices),
        features=_table(features, prices),
        explainers=_explainers(measured, prices),
    )


def _explainers(measured: dict[str, float], prices: Prices) -> str:
    """A row an explainer, the cheapest prompts first."""
    names = [name.removeprefix("by_").removesuffix("_least_requests") for name in measured if "_least_" in name]
    names.sort(key=lambda name: measured[f"by_{name}_prompt_tokens"])
    calls = []
    for name in names:
        most, least = measured[f"by_{name}_requests"], measured[f"by_{name}_least_requests"]
        requests = f"{most:.0f}" if least == most else f"{least:.0f} to {most:.0f}"
        what = f"{name}, {requests} {'request' if most == 1 else 'requests'}"
        calls.append(Call(what, measured[f"by_{name}_prompt_tokens"], measured[f"by_{name}_answer_tokens"]))
    return _table(calls, prices)


def _call(measured: dict[str, float], kind: str, what: str) -> Call:
    prompt_tokens, answer_tokens = measured[f"{kind}_prompt_tokens"], measured[f"{kind}_answer_tokens"]
    return Call(what, prompt_tokens, answer_tokens, measured[f"{kind}_calls"])


def _together(what: str, calls: Iterable[Call]) -> Call:
    """All calls about a feature as if they were one."""
    pairs = [(call.calls * call.prompt_tokens, call.calls * call.answer_tokens) for call in calls]
    return Call(what, sum(prompt for prompt, _ in pairs), sum(answer for _, answer in pairs))


def _table(calls: Iterable[Call], prices: Prices) -> str:
    lines = [
        f"| per million features | prompt tokens | answer tokens | {' | '.join(MODELS)} |",
        "|---|--:|--:|--:|--:|",
    ]
    for call in calls:
        dollars = []
        for place, model in enumerate(MODELS.values()):
            usd = prices.usd(model, call.prompt_tokens * 1e6, call.answer_tokens * 1e6)
            said = f" (${call.post_usd[place]:,})" if call.post_usd else ""
            dollars.append("no price" if usd is None else f"${usd:,.0f}{said}")
        tokens = f"{call.prompt_tokens:,.0f} | {call.answer_tokens:,.0f}"
        lines.append(f"| {call.what} | {tokens} | {' | '.join(dollars)} |")
    return "\n".join(lines)
