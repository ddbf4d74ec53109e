"""`docs/explainers.md`: what each explainer said of the same three features.

Made from `benchmarks/results/explainers.json` (see `benchmarks/explainers.py`).
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.show.terminal import escaped

ROOT = Path(__file__).parents[2]

PAGE = """# Explainers, on the same three features

Made by `make docs` from `benchmarks/results/explainers.json`; `make demo`, and then `make bench ONLY=explainers`
(`SCALE=large` with a larger model), make that anew. What each explainer is shown and asked for is in
[explanations and scores](scores.md), what it costs in [what it costs](cost.md).

**These are the answers of {model}** (asked on {date}; rules and keywords are SQL and ask nobody), about the demo's
SAE of SmolLM2-135M. {caution} Features are the first three of route `llm` by draw, not chosen by hand.

{features}

## How to read it

- An explainer that chooses (`best_of_k`, `refinement`) has a line a draw or round: in brackets the balanced
  accuracy on the train windows that judged it; the chosen one in bold. Scored on test documents is the chosen one.
  The judge is the model above, too: with a judge near chance the choice is by chance.
- A status in place of words is what came of the request: `echoed` repeats the prompt, `truncated` was cut off,
  `unparsed` lacks the mark, `no_input`: there is nothing to show for this feature. Where it says that it was not
  asked, the run that made this page had a limit of requests.
- `output_centric` says what a feature does, not what it fires on. It shows no window, and should be held against
  the others with care.
- Whether one explainer is better than another is no matter of three features: `explainer_comparisons` pairs them
  over all features that both explained, with an interval and the cost of each.

## Not done

- Debate between explainers, which argue about an explanation before it is given.
- Synonyms and masked language models for fuzzing: marked tokens replaced by others of the same meaning.
"""

_STATUS = {
    "budget": "not asked in this run",
    **{status: status for status in ("unparsed", "echoed", "refused", "truncated", "too_long")},
    **{status: status for status in ("http_error", "no_input")},
}
_CAUTIONS = (
    "It is **too small for it**: expect answers that are none.",
    "It is a small model; larger ones say more, and better.",
)


def explainers_page() -> str:
    """The page."""
    path = ROOT / "benchmarks" / "results" / "explainers.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    is_small = "smollm2" in content["model"]
    return PAGE.format(
        model=escaped(content["model"]),
        date=content["date"],
        caution=_CAUTIONS[0 if is_small else 1],
        features="\n\n".join(_feature(each, content["explanations"]) for each in content["features"]),
    )


def _feature(feature: dict[str, Any], explanations: Iterable[dict[str, Any]]) -> str:
    """A feature's test windows, and what was said of it."""
    number = feature["feature"]
    lines = [f"## Feature {number}", "", "Where it fires most strongly in test documents:", ""]
    lines += [f"- {escaped(window)}" for window in feature["windows"]]
    lines += ["", "| explainer | said |", "|---|---|"]
    own = [each for each in explanations if each["feature"] == number]
    for explainer in dict.fromkeys(each["explainer"] for each in own):
        drafts = [each for each in own if each["explainer"] == explainer]
        lines.append(f"| {explainer} | {'<br>'.join(_said(drafts))} |")
    return "\n".join(lines)


def _said(drafts: list[dict[str, Any]]) -> Iterator[str]:
    """The words of each draw, those of several with their scores."""
    for draft in drafts:
        words = escaped(draft["explanation"]) if draft["status"] == "ok" else f"*{_STATUS[draft['status']]}*"
        if len(drafts) == 1:
            yield words
            continue
        score = "" if draft["train_score"] is None else f" ({draft['train_score']:.2f})"
        again = "" if draft["same_as_draw"] is None else f" (as {draft['same_as_draw']})"
        line = f"{draft['draw']}: {words}{score}{again}"
        yield f"**{line}**" if draft["is_chosen"] else line
