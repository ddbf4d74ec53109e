"""docs/performance.md, written from the benchmarks' own results."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from benchmarks.figures import RESULTS, Figure

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"

_HEAD = """# Performance

How fast each part of latentlake is, what it needs, and how that was measured. `make bench` measures your machine,
`make bench ONLY=caching` one part of it, and `make bench SCALE=large` also what takes long. `python -m
benchmarks.report` makes this page from the results in `benchmarks/results/`. A run of full size is estimated on
[its own page](scale.md); what models cost is on [another](cost.md).
"""

_READING = """CPU seconds are summed over threads. A **limit** is what the machine itself took, in the same run,
for the part of the work that cannot be left out. A value in bold misses its **target**. On a busy machine, times
differ by a fifth and more from run to run; ratios within one run vary less."""

HEADLINES = (
    ("the demo on two cores, from its texts to its scores", "demo", "all_cores_s"),
    ("the same on one core", "demo", "one_core_s"),
    (
        "caching a corpus on a CPU: wall-clock speed, as a share of the bare forward pass and product",
        "caching",
        "caching_clock_ratio",
    ),
    ("the same on a GPU, half a model of 8B, six SAEs in one pass", "gpu", "8b_all_six_ratio"),
    ("the same on a GPU, the demo's small model, six SAEs in one pass", "gpu", "small_all_six_ratio"),
    ("a firing on disk", "store", "bytes_per_row"),
    ("CPU time for the statistics of 32,768 features with 31 million firings", "store", "statistics_cpu_s"),
    ("CPU time for their best rules and their routes", "store", "rules_cpu_s"),
    ("CPU time for their candidate examples", "store", "index_cpu_s"),
    ("one feature read from the store", "store", "feature_read_ms"),
    ("CPU time for exact decoder neighbours of 131,072 features", "neighbours_large", "neighbours_cpu_s"),
    ("peak memory of a step, at 131,072 features and 301 million firings", "store_large", "peak_gib"),
    ("100 requests in flight: share of the ideal throughput", "throughput", "throughput_ratio"),
    ("the client's CPU time per request", "throughput", "client_cpu_ms_per_request"),
    ("prompt tokens per feature: one explanation, detection and fuzzing", "tokens", "prompt_tokens_per_feature"),
    ("killed 50 times during requests: recorded requests sent again", "faults", "asked_although_recorded"),
    (
        "whole runs killed 100 times: tables that differ from a run without kills",
        "kills_large",
        "graph_tables_that_differ",
    ),
)
"""The headline figures: description, result and figure."""


class Grid(NamedTuple):
    """A table of figures in one section whose names differ in one part: one row per such part.

    Attributes:
        title: Title of the first column.
        columns: The titles of the other columns, by the names of their figures; `{row}` is the part that differs.
            There is a row for each part for which the last of these names exists.
        has_notes: Whether the figures' notes are shown in a last column.
    """

    title: str
    columns: Mapping[str, str]
    has_notes: bool = True


_RULES = (
    Grid("rules", {"{row}_f1_0.7": "F1 0.7 (%)", "{row}_f1_0.8": "F1 0.8 (%)"}),
    Grid(
        "features with a rule of this kind",
        {
            "{row}_token_set_f1": "mean F1 of their best token set",
            "{row}_mean_f1": "mean F1 of this rule",
            "{row}_newly": "newly at 0.8",
            "{row}_lost": "lost",
            "{row}_features": "features",
        },
        has_notes=False,
    ),
)
_LOOPS = Grid(
    "compiled loop",
    {"{row}_cpu_s": "CPU s", "{row}_plain_cpu_s": "the fastest other way", "{row}_ratio": "ratio"},
)
_STEPS = Grid("step", {"{row}_cpu_s": "CPU s", "{row}_peak_gib": "peak GiB"})
_MANY_QUESTIONS = (
    Grid(
        "questions per prompt",
        {"told_at_{row}": "have a probability", "auc_at_{row}": "AUC", "accuracy_at_{row}": "right"},
        has_notes=False,
    ),
)
GRIDS: Mapping[str, Sequence[Grid]] = {
    "store": (_LOOPS, _STEPS),
    "store_large": (_LOOPS, _STEPS),
    "gpu": (
        Grid(
            "model, kind and features",
            {"{row}_ratio": "share of the bare speed", "{row}_tokens_per_s": "tokens/s"},
            has_notes=False,
        ),
    ),
    "rules": _RULES,
    "rules_testbed": _RULES,
    "calibration": (
        Grid(
            "questions per prompt",
            {
                f"{scorer}_{figure}_at_{{row}}": f"{scorer}: {title}"
                for scorer in ("detection", "fuzzing")
                for figure, title in (("accuracy", "right"), ("failed", "failed"), ("empty_accuracy", "empty"))
            },
            has_notes=False,
        ),
    ),
    "many_questions": _MANY_QUESTIONS,
    "many_questions_large": _MANY_QUESTIONS,
}

SECTIONS: Mapping[str, tuple[str, str]] = {
    "demo": (
        "The demo",
        "`make demo` after the setup, into an empty folder, with nothing else running. `avx2_s` is measured by "
        "keeping torch and oneDNN from newer instructions. `python -m benchmarks.demo` measures it.",
    ),
    "store": (
        "The store and the SQL core: 31 million firings",
        "Synthetic data: 1M tokens, 32,768 features. Steps that touch every firing are compiled loops over one "
        "feature after another (`pipeline/compiled/`); the SQL file of the same name defines the rows. A loop "
        "stays as long as the fastest other way takes 1.3 times its CPU time; those of rules, strata and "
        "co-firings are compared on what SQL can hold at once (`benchmarks/kernels.py`). Each step is measured in "
        "its own process, whose peak memory is shown.",
    ),
    "store_large": (
        "The store and the SQL core: 301 million firings",
        "Synthetic data of the post's size: 10M tokens, 131,072 features. The peak is set by the largest bucket, "
        "in which a dense feature may have millions of firings. Part of it are mapped files, which the system can "
        "reclaim when it needs memory.",
    ),
    "rules": (
        "What rules reach",
        "The demo's corpus and SAE: the share of live features (at least 100 train firings) whose chosen rule "
        "reaches an F1 on the test documents; a feature with fewer than 10 test firings counts as not reaching "
        "it. Rules are mined on a quarter, a half and all of the train documents; then on all of them with token "
        "sets alone, adding one kind of rule per row. `python -m benchmarks.rules` measures it.",
    ),
    "rules_testbed": (
        "What rules reach, on a larger corpus",
        "The same on 690 texts of public-domain English (the Bible, the Jargon File, The Devil's Dictionary), for "
        "two TopK SAEs of SmolLM2-135M (4,096 features, k 32, trained with eai-sparsify on 1.29M tokens of mixed "
        "English): `layers.9` on the output of layer 9, `layers.9.mlp` on that of its MLP. "
        "`python -m benchmarks.rules CONFIG`; its docstring has the config.",
    ),
    "neighbours": ("Decoder neighbours: 32,768 features", "Exact, by cosine."),
    "neighbours_large": (
        "Decoder neighbours: 131,072 features",
        "Exact, by cosine. The limit is the matrix product alone.",
    ),
    "caching": (
        "Caching: from the forward pass to the store",
        "The demo's model and texts, with SAEs of three kinds and two widths made from the demo's, on a CPU. The "
        "limit is the truncated forward pass over the same batches and one plain `x @ W_enc`; `all_six` is one "
        "pass for all six SAEs, compared with the pass and six products.",
    ),
    "gpu": (
        "Caching on a GPU",
        "The same in wall-clock time (`LATENTLAKE_DEVICE=cuda python -m benchmarks.gpu`), in shards of some "
        "130,000 tokens: `small` is the demo's model, `8b` half the layers of a model in the shape of Llama 3.1 "
        "8B with random weights, and SAEs of 32,768 and 131,072 features that fire about 64 times per token. "
        "Products with encoders are in float32: TF32 would be faster, but its rounding changes which features "
        "fire, and torch switches it for the whole process. `usual` is what is often done instead: the whole "
        "model and dense latents, with nothing written. The small model's features fire faster than the "
        "machine's cores can sort and write the firings, hence its low shares. The two models were measured in "
        "separate runs; shares vary by some hundredths from run to run.",
    ),
    "throughput": (
        "Requests to a server",
        "100 requests in flight to a local server that answers after a second; both share two cores.",
    ),
    "scoring": (
        "Scoring, apart from the model",
        "1,000 features of the demo with 200 questions each, 40 per request: windows, prompts, client, ledger, "
        "log-probabilities, and the SQL of the scores. A server in another process answers at once.",
    ),
    "faults": (
        "Kills and faults",
        "A server that fails on purpose, and a pipeline that is killed and restarted until it finishes.",
    ),
    "ticks": (
        "Many batches",
        "CPU time of a tick of the schedule `next_feature_batches` in a made-up lake whose batches are all done.",
    ),
    "kills_large": (
        "Whole runs that are killed",
        "The demo from the corpus to the summary, scored by an oracle. SIGKILL hits all of its processes or one "
        "of them. It is restarted until it finishes, and compared with an undisturbed run: every table row for "
        "row, except for the times and attempts of requests.",
    ),
    "full_disks": (
        "Full disks",
        "A small experiment on a small file system that fills up during the work. A run ends with a sentence that "
        "says so, and continues once there is space.",
    ),
    "explorer": (
        "The explorer",
        "Pages of a made-up lake with 131,072 features in 128 batches: CPU time over all threads, in a process "
        "that has served the page before.",
    ),
    "tokens": ("Tokens per feature", "The demo's SAE. An oracle answers, not a model."),
    "calibration": (
        "Questions per prompt",
        "**An oracle answers, not a model**: it is right on 0.8 of the questions and fails on 0.002 of them. The "
        "columns are the share of right answers, the share of questions without an answer (a prompt fails as a "
        "whole), and the share of right answers with an empty explanation, which is what the similarity of the "
        "windows in a prompt gives away.",
    ),
    "many_questions": (
        "Questions per prompt, asked of a model",
        "96 questions made by hand (`benchmarks/questions.yaml`), in detection's own prompts, asked of "
        "SmolLM2-135M, which is at chance however many share a prompt. This shows that each answer has its own "
        "probability, but not what many questions cost a model that can answer: "
        "`python -m benchmarks.many_questions --scale large` asks one.",
    ),
    "many_questions_large": (
        "Questions per prompt, asked of a larger model",
        "The same questions, asked of Qwen2.5-Coder-1.5B-Instruct in int8: it answers them one by one, and is "
        "near chance where they share a prompt. 40 are the default for servers that give a probability for each "
        "answer, 1 for a model in this process.",
    ),
    "local_model": (
        "The local model",
        "SmolLM2-135M on the CPU, with the demo's scoring questions. The limit is one dense pass over the tokens "
        "that no other question shares.",
    ),
    "local_model_large": (
        "A larger local model, in int8",
        "Qwen2.5-Coder-1.5B-Instruct on the CPU: `make bench SCALE=large ONLY=local_model`.",
    ),
    "local_model_gpu": (
        "The local model on a GPU",
        "SmolLM2-135M, as on a CPU: `python -m benchmarks.local_model --device cuda`. Forty questions at a time "
        "are few for a GPU.",
    ),
    "local_model_large_gpu": (
        "A larger local model on a GPU",
        "Random weights in the shape of Qwen2.5 1.5B, which are as fast as trained ones: `python -m "
        "benchmarks.local_model --scale large --model random --device cuda`. In int8, each layer's weights are "
        "unpacked when it is used: half the memory, but a tenth less speed in reading, and three tenths in "
        "writing.",
    ),
    "steering": (
        "Steering to a divergence",
        "Features of the demo, raised in the embedded model to the divergences of the config on train texts. The "
        "figures are the divergence on other texts, relative to the target: on texts of train documents that were "
        "not used, and on those of test documents, which are also of other sources. "
        "`python -m benchmarks.steering` measures it.",
    ),
    "wordings": (
        "How detection's question is worded",
        "96 questions made by hand (`benchmarks/questions.yaml`), asked of SmolLM2-135M; 0.5 is chance.",
    ),
    "wordings_large": (
        "How detection's question is worded, for a larger model",
        "The same questions, asked of Qwen2.5-Coder-1.5B-Instruct in int8: "
        "`make bench SCALE=large ONLY=wordings`.",
    ),
    "echoes": (
        "Answers that repeat the prompt",
        "The demo's features, explained by SmolLM2-135M. Every answer counts, even if it was cut off or contains "
        "no explanation.",
    ),
    "echoes_large": (
        "Answers that repeat the prompt, from a larger model",
        "The same with Qwen2.5-Coder-1.5B-Instruct in int8: `make bench SCALE=large ONLY=echoes`.",
    ),
}
"""Title and description of each result, in the order of the page; `heuristics` has its own form."""

ELSEWHERE = {
    **{"cost": "cost.md", "explainers": "explainers.md", "scale": "scale.md", "explorer_readers": "explorer.md"},
    **dict.fromkeys(("scorers_oracle", "scorers_embedded", "scorers_large"), "scorers.md"),
    "kills": "the few kills of a small run, of which the page shows the large one",
}
"""Results that are not on the page, and where they are shown."""

_NOISES = (0, 10, 30)
"""The shares of firings off the pattern that the page shows, in percent; more were measured."""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page from the existing results.

    Raises ValueError for a result without a section, and for a target that its benchmark no longer has.
    """
    for path in sorted(RESULTS.glob("*.json")):
        if path.stem not in {*SECTIONS, *ELSEWHERE, "heuristics"}:
            raise ValueError(f"{path.name} has no section: name it in SECTIONS or ELSEWHERE")
        _check_targets(path)
    parts = [_HEAD, "\n".join(["| | |", "|---|---:|", *_headlines()]), _READING]
    for name, (title, words) in SECTIONS.items():
        if result := _result(name):
            tables = _tables(_figures(result), GRIDS.get(name, ()))
            parts.append("\n".join([f"## {title}", "", fill(words, 118), "", *tables, _measured(result)]))
    if heuristics := _result("heuristics"):
        parts.append(_heuristics(heuristics))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _check_targets(path: Path) -> None:
    """Raise ValueError for a target that does not occur in the source of the result's benchmark."""
    modules = Path(__file__).parent.glob("*.py")
    names = [each.stem for each in modules if f"{path.stem}_".startswith(f"{each.stem}_")]
    source = _source(max(names, key=len))
    if any(_is_calculated(target) for target in _targets(source)):
        return
    sources = [source, *map(_source, re.findall(r"^from benchmarks\.(\w+) import", source, re.MULTILINE))]
    trees = [node for each in sources for node in ast.walk(ast.parse(each))]
    known = {node.value for node in trees if isinstance(node, ast.Constant)}
    for figure in json.loads(path.read_text(encoding="utf-8")).get("figures", ()):
        if figure["target"] is not None and figure["target"] not in known:
            raise ValueError(
                f"{path.name}: its benchmark no longer has the target {figure['target']:g} of {figure['name']}; "
                "measure it again"
            )


def _source(name: str) -> str:
    return (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")


def _is_calculated(target: ast.expr) -> bool:
    is_local = isinstance(target, ast.Name) and target.id.islower()
    return is_local or any(isinstance(node, ast.BinOp) for node in ast.walk(target))


def _targets(source: str) -> list[ast.expr]:
    """The expressions passed as targets wherever a figure is made."""
    index = [field.name for field in fields(Figure)].index("target")
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    figures = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Figure"]
    named = [keyword.value for call in figures for keyword in call.keywords if keyword.arg == "target"]
    return named + [call.args[index] for call in figures if len(call.args) > index]


def _result(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _figures(result: dict[str, Any]) -> dict[str, Figure]:
    return {each["name"]: Figure(**each) for each in result["figures"]}


def _measured(result: dict[str, Any]) -> str:
    return f"Measured on {result['machine']}, {result['date']}."


def _headlines() -> list[str]:
    lines = []
    for words, name, figure in HEADLINES:
        if (result := _result(name)) and (found := _figures(result).get(figure)):
            lines.append(f"| {words} | {_value(found)} |")
    return lines


def _tables(figures: dict[str, Figure], grids: Sequence[Grid]) -> list[str]:
    """The figures that are in no grid, one per line, and the grids."""
    parts = []
    for grid in grids:
        *_, last = grid.columns
        rows = re.compile(re.escape(last).replace(r"\{row\}", "(.+)"))
        names = [found[1] for name in figures if (found := rows.fullmatch(name))]
        if not names:
            continue
        notes = [" |", "---|"] if grid.has_notes else ["", ""]
        parts += ["", f"| {grid.title} | {' | '.join(grid.columns.values())} |{notes[0]}"]
        parts.append("|---" + "|---:" * len(grid.columns) + f"|{notes[1]}")
        for name in names:
            own = [figures.pop(column.format(row=name), None) for column in grid.columns]
            cells = ["" if each is None else _in_grid(each) for each in own]
            if grid.has_notes:
                cells.append("; ".join(dict.fromkeys(each.note for each in own if each and each.note)))
            parts.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    lines = ["| figure | value | target | limit | |", "|---|---:|---:|---:|---|"]
    for figure in figures.values():
        target = "" if figure.target is None else f"{figure.sign} {_number(figure.target)}"
        limit = "" if figure.limit is None else _number(figure.limit)
        lines.append(f"| {figure.name} | {_value(figure)} | {target} | {limit} | {figure.note} |")
    return [*(lines if figures else []), *(parts if figures else parts[1:]), ""]


def _in_grid(figure: Figure) -> str:
    value = _marked(figure, _number(figure.value))
    return value if figure.target is None else f"{value} ({figure.sign} {_number(figure.target)})"


def _value(figure: Figure) -> str:
    return _marked(figure, f"{_number(figure.value)} {figure.unit}".strip())


def _marked(figure: Figure, text: str) -> str:
    """A value, in bold if it misses its target."""
    return f"**{text}**" if figure.is_reached is False else text


def _heuristics(result: dict[str, Any]) -> str:
    """One table: a row per heuristic, a column per number of firings."""
    values = {name: figure.value for name, figure in _figures(result).items()}
    names = list(dict.fromkeys(name.partition("_recall_")[0] for name in values if "_recall_" in name))
    sizes = sorted({int(found[1]) for name in values if (found := re.search("_recall_n([0-9]+)_", name))})
    words = (
        "Recall by the number of a feature's firings in 1M tokens. The three figures in a cell are for features "
        f"with {_and(_NOISES)} of their firings off the pattern. Firings off the pattern are as strong as those "
        "on it, which is harder than on real SAEs, where they are weak. Precision, among background features and "
        "those with other patterns, is the lowest over all numbers of firings at which anything is flagged. "
        "`unigram` and `previous_token` are the post's cuts, with a minimum of 100 train firings, and "
        "`positional_raw` is its cut on raw information. The routes use `token_rule` (route `rule`) and "
        "`positional` (corrected)."
    )
    lines = [
        *("## Heuristics on planted features", "", fill(words, 118), ""),
        f"| heuristic | precision | {' | '.join(f'{size:,} firings' for size in sizes)} |",
        "|---|---:" + "|---:" * len(sizes) + "|",
    ]
    for name in names:
        precisions = [values[key] for size in sizes if (key := f"{name}_precision_n{size}") in values]
        precision = min((each for each in precisions if each is not None), default=None)
        recalls = [[values[f"{name}_recall_n{size}_noise{noise}"] for noise in _NOISES] for size in sizes]
        cells = [" / ".join(f"{recall:.2f}" for recall in row) for row in recalls]
        shown = "" if precision is None else f"{precision:.2f}"
        lines.append(f"| {name} | {shown} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _measured(result)])


def _and(percents: Sequence[int]) -> str:
    *before, last = (f"{each} %" for each in percents)
    return f"{', '.join(before)} and {last}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    main()
