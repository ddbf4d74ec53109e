"""`docs/explainers.md`: what each explainer wrote about the same three features.

Made from `benchmarks/results/explainers.json` (see `benchmarks/explainers.py`).
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.pages import RESULTS
from pipeline.show.terminal import escaped

_PAGE = """# Explainers, on the same three features

What each [explainer](scores.md#explainers) wrote about the same three features of the demo's SAE, to compare by
eye. The features are the first three of route `llm` by hash, not hand-picked. [What it costs](cost.md) has the
price of each explainer.

**These are the answers of {model}**, asked on {date}. {caution} `rule` and `keywords` come from SQL and ask no
model. The others saw up to {n_examples} examples and could write {max_tokens} tokens; `chain_of_thought`, which
writes its steps first, could write 600.
{left_out}
## How to read it

- A status in italics means that there is no explanation: `unparsed` lacks the mark before it, `truncated` was
  cut off, `echoed` repeats the prompt, `no_input` had nothing to show for this feature.
- An explainer that chooses (`best_of_k`, `refinement`) has a line for each draw or round, with its balanced
  accuracy on the train windows that judged it. The chosen one is in bold; it is the one scored on test
  documents. The judge is the same model: where it sits near chance, so does the choice.
- `output_centric` shows the model no window. It says what a feature does, not where it fires.
- Three features are too few to show which explainer is better. `explainer_comparisons` pairs them over all
  features that both explained, with an interval and the cost of each.

{features}

(Made by `make docs` from `benchmarks/results/explainers.json`. To measure again: `make demo`, then `make bench
ONLY=explainers`, with `SCALE=large` for a larger model.)
"""

_NOT_ASKED = "budget"
"""The status of explanations that were not requested because of the run's limit."""
_CAUTIONS = (
    "It is **too small to explain**: most of its answers are not explanations.",
    "It is a small model; larger ones explain better.",
)


def explainers_page() -> str:
    """The page."""
    content = json.loads((RESULTS / "explainers.json").read_text(encoding="utf-8"))
    is_small = "smollm2" in content["model"]
    asked = [each for each in content["explanations"] if each["status"] != _NOT_ASKED]
    names = dict.fromkeys(each["explainer"] for each in content["explanations"])
    left_out = [f"`{name}`" for name in names if name not in {each["explainer"] for each in asked}]
    return _PAGE.format(
        model=escaped(content["model"]),
        date=content["date"],
        n_examples=content["n_examples"],
        max_tokens=content["max_tokens"],
        caution=_CAUTIONS[0 if is_small else 1],
        left_out=f"\nNot asked, as requests were limited: {', '.join(left_out)}.\n" if left_out else "",
        features="\n\n".join(_feature(each, asked) for each in content["features"]),
    )


def _feature(feature: dict[str, Any], explanations: Iterable[dict[str, Any]]) -> str:
    """A feature's test windows, and what explainers wrote about it."""
    number = feature["feature"]
    lines = [f"## Feature {number}", "", "Where it fires most strongly in test documents:", ""]
    lines += [f"- {escaped(window)}" for window in feature["windows"]]
    lines += ["", "| explainer | explanation |", "|---|---|"]
    own = [each for each in explanations if each["feature"] == number]
    for explainer in dict.fromkeys(each["explainer"] for each in own):
        drafts = [each for each in own if each["explainer"] == explainer]
        lines.append(f"| {explainer} | {'<br>'.join(_drafts(drafts))} |")
    return "\n".join(lines)


def _drafts(drafts: list[dict[str, Any]]) -> Iterator[str]:
    """The text of each draw; if there are several, with their scores."""
    for draft in drafts:
        words = escaped(draft["explanation"]) if draft["status"] == "ok" else f"*{draft['status']}*"
        if len(drafts) == 1:
            yield words
            continue
        score = "" if draft["train_score"] is None else f" ({draft['train_score']:.2f})"
        again = "" if draft["same_as_draw"] is None else f" (as {draft['same_as_draw']})"
        line = f"{draft['draw']}: {words}{score}{again}"
        yield f"**{line}**" if draft["is_chosen"] else line
