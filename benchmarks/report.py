"""docs/performance.md, written from the benchmarks' own results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"

_HEAD = """# Performance

Written by `python -m benchmarks.report` from `benchmarks/results/`, which `make bench` (and, for the store and the
neighbours, `make bench SCALE=large`) fills. CPU seconds are of all threads together. A limit is what the machine
itself took in the same run for the part of the work that cannot be left out. Times of a busy machine differ by a
fifth and more from run to run; ratios from one run hold better.
"""

SECTIONS: Mapping[str, tuple[str, str]] = {
    "store": (
        "The store and the SQL core, 32 million rows",
        "Synthetic data: 1M tokens, 32,768 features. What touches every firing is a compiled pass over one "
        "feature after the other (`pipeline/compiled/passes.py`, `pipeline/compiled/drawing.py`), beside the SQL "
        "file that defines "
        "its rows. Of the statistics a third is decoding and looking up places, a third the passes, a third "
        "writing the 8M rows of `feature_tokens` and DuckDB's queries; a quarter of the index is DuckDB's hash of "
        "every slot. Writing is grouping, encoding twice and decoding once. Bytes are near the entropy: 1.6 an "
        "activation of 11 significant bits, 1.3 the distance of two firings.",
    ),
    "store_large": (
        "The store and the SQL core, 320 million rows",
        "Synthetic data of the post's size: 10M tokens, 131,072 features. Memory is that of the largest bucket, "
        "in which a dense feature may have millions of firings; some 0.35 GiB of it are mapped files (libraries, "
        "the places of the corpus), which the system takes back when it needs to.",
    ),
    "neighbours": ("Decoder neighbours, 32,768 features", ""),
    "neighbours_large": ("Decoder neighbours, 131,072 features", "Bound by the matrix product."),
    "caching": (
        "Caching: the forward pass into the store",
        "The demo's model and texts; SAEs of three kinds and two widths, made of the demo's. The limit is the "
        "truncated pass over the same batches and one plain `x @ W_enc`.",
    ),
    "throughput": (
        "Requests to a server",
        "A local server that answers after 50 ms, 100 requests in flight; both on these two cores.",
    ),
    "faults": ("Kills and faults", "A failing server, and a pipeline that is killed and started again."),
    "explorer": (
        "The explorer",
        "A made lake of 131,072 features in 128 batches: the CPU time of a page, all threads, in a process that "
        "has been asked for it before. On a machine that does nothing else a page takes no longer.",
    ),
    "tokens": ("Tokens a feature", "On the demo's SAE; answers of an oracle, not of a model."),
    "calibration": (
        "Questions a prompt",
        "**An oracle of set error rate answers here, not a model**: what the pipeline makes of such answers.",
    ),
    "local_model": ("The local model", "SmolLM2-135M on the CPU, the demo's scoring questions."),
    "local_model_large": (
        "A larger local model, in int8",
        "Qwen2.5-Coder-1.5B-Instruct on the CPU: `make bench SCALE=large ONLY=local_model`.",
    ),
    "wordings": (
        "The wording of detection's question",
        "96 questions made by hand (`benchmarks/questions.yaml`), asked of SmolLM2-135M; 0.5 is chance.",
    ),
    "wordings_large": (
        "The wording of detection's question, asked of a larger model",
        "The same of Qwen2.5-Coder-1.5B-Instruct in int8: `make bench SCALE=large ONLY=wordings`.",
    ),
    "echoes": (
        "Answers that repeat the prompt",
        "The demo's features, explained by SmolLM2-135M. An answer counts before any is dropped, also one that "
        "was cut off or lacks the mark.",
    ),
    "echoes_large": (
        "Answers that repeat the prompt, of a larger model",
        "The same of Qwen2.5-Coder-1.5B-Instruct in int8: `make bench SCALE=large ONLY=echoes`.",
    ),
}
"""Title and words of each result, in the order of the page; `heuristics` has its own form."""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page from the results that are there."""
    parts = [_HEAD]
    for name, (title, words) in SECTIONS.items():
        result = _result(name)
        if result:
            parts.append("\n".join([f"## {title}", "", *([words, ""] if words else []), *_table(result)]))
    heuristics = _result("heuristics")
    if heuristics:
        parts.append(_curves(heuristics))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _result(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _table(result: dict[str, Any]) -> list[str]:
    lines = ["| figure | value | target | limit | |", "|---|---:|---:|---:|---|"]
    for figure in result["figures"]:
        sign = "≤" if figure["better"] == "lower" else "≥"
        target = "" if figure["target"] is None else f"{sign} {_number(figure['target'])}"
        limit = "" if figure["limit"] is None else _number(figure["limit"])
        value = f"{_number(figure['value'])} {figure['unit']}".strip()
        lines.append(f"| {figure['name']} | {value} | {target} | {limit} | {figure['note']} |")
    return [*lines, "", f"{result['machine']}, {result['date']}."]


def _curves(result: dict[str, Any]) -> str:
    """One table a heuristic: precision and recall by the number of firings (rows) and the noise (columns)."""
    values = {figure["name"]: figure["value"] for figure in result["figures"]}
    names = list(dict.fromkeys(name.partition("_recall_")[0] for name in values if "_recall_" in name))
    points = [name.partition("_recall_n")[2].split("_noise") for name in values if "_recall_" in name]
    sizes = sorted({int(n) for n, _ in points})
    noises = sorted({int(noise) for _, noise in points})
    lines = [
        "## Heuristics on planted features",
        "",
        "Recall by the number of a feature's firings (1M tokens) and the share of its firings off the pattern; "
        "precision over all noises, among background features and those of the other patterns. Firings off the "
        "pattern are as strong as those on it, which is harder than on real SAEs, where they are weak. "
        "`unigram` and `previous_token` are the post's cuts with a minimum of 100 train firings, `positional_raw` "
        "is its cut on raw information; `token_rule` (route `rule`) and `positional` (corrected) are what routes.",
    ]
    for name in names:
        lines += ["", f"**{name}**", "", f"| firings | precision | {' | '.join(f'{n} % off' for n in noises)} |"]
        lines.append("|---:" * (2 + len(noises)) + "|")
        for size in sizes:
            precision = values.get(f"{name}_precision_n{size}")
            cells = [f"{values[f'{name}_recall_n{size}_noise{noise}']:.2f}" for noise in noises]
            shown = "none flagged" if precision is None else f"{precision:.2f}"
            lines.append(f"| {size:,} | {shown} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{result['machine']}, {result['date']}."])


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
