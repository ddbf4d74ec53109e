"""What 1.5 million features on 10 billion tokens take: the schedule of a large run, simulated from measured costs.

Nothing of that size is run here. The costs of one firing, one feature and one request in the pipeline's own code,
and the speed of a GPU, come from the results of the other benchmarks. The speed of a language model server is
assumed, and every figure that depends on it says so. Workers take the tasks that are ready in the order of the
graph: shards of the corpus on GPUs, SAEs and batches on machines with CPUs, batches' requests at endpoints.

    python -m benchmarks.scale      # after make bench ONLY=store SCALE=large; writes docs/scale.md
"""

import heapq
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from benchmarks.figures import RESULTS, Figure, publish
from benchmarks.gpu import KINDS, LARGE, LARGE_WIDTHS, PASS_PARAMETERS
from benchmarks.scoring import N_FEATURES
from benchmarks.synthetic import SIZES
from pipeline.firings.layout import BUCKET_FEATURES

PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
TEMPLATE = Path(__file__).parent / "scale.txt"

GIB = 1 << 30
_MAPPED_GIB = 0.35
"""Part of the store's peak memory: libraries and other mapped files, which do not grow with the corpus."""
_BUCKETS = SIZES["large"].n_features // BUCKET_FEATURES
"""Number of buckets in the store that was measured."""

SIZES_OF_CORPUS = (10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000)


@dataclass(frozen=True)
class Run:
    """A run and its workers.

    Attributes:
        tokens: Tokens of the corpus.
        saes, features: Number of SAEs, and of features per SAE.
        firings_per_token: Firings of one SAE per token.
        shards: Shards of the corpus; each is a task for a GPU worker.
        batch_features: Features per batch.
        gpus, machines, endpoints: Number of workers of each kind.
    """

    tokens: int
    saes: int = 12
    features: int = 131_072
    firings_per_token: int = 32
    shards: int = 1_000
    batch_features: int = 1_024
    gpus: int = 64
    machines: int = 12
    endpoints: int = 8

    @property
    def firings(self) -> int:
        """Firings of one SAE."""
        return self.tokens * self.firings_per_token

    @property
    def batches(self) -> int:
        """Batches of one SAE."""
        return -(-self.features // self.batch_features)


@dataclass(frozen=True)
class Assumed:
    """Values that depend on the run, or on machines that could not be measured.

    Attributes:
        parameters: Parameters of the subject model up to its deepest SAE; each takes 2 operations per token.
        d_in: Width of its residual stream; an SAE's encoder has d_in x features parameters.
        endpoint_prompt_tokens, endpoint_answer_tokens: Tokens per second of one endpoint at full load (70B, four
            GPUs).
        start_s: Seconds to load model and SAEs, once per worker and shard.
        llm_share: Share of features on route llm; 58 % in the demo.
        prompt_tokens, answer_tokens: Uncached tokens per feature that is explained and scored.
    """

    parameters: float = 8e9
    d_in: int = 4_096
    endpoint_prompt_tokens: float = 10_000.0
    endpoint_answer_tokens: float = 2_000.0
    start_s: float = 60.0
    llm_share: float = 0.58
    prompt_tokens: float = 6_000.0
    answer_tokens: float = 300.0


@dataclass(frozen=True)
class Costs:
    """Measured costs: CPU seconds and bytes of the pipeline's own code, and the speed of a GPU.

    Attributes:
        corpus_s: CPU seconds per token for documents, contexts and slots, without reading and tokenising.
        write_s, prepare_s: CPU seconds per firing to write it to sorted shards; to merge, count, mine and index.
        example_s: CPU seconds per feature to find, draw and render its windows.
        asking_s: CPU seconds per feature to make, send and record its prompts, and to read and score its answers.
        bytes_per_firing: Bytes on disk.
        bucket_bytes: Bytes of memory per firing of a mean bucket, in the step that takes most; DuckDB's steps keep
            to `machine.memory_limit`.
        pass_rate, encode_rate: Operations per second of one GPU in the model's forward pass, and in the products
            with an SAE's encoder.
        cached_share: Speed of caching relative to pass and products, with six SAEs in one pass.
    """

    corpus_s: float
    write_s: float
    prepare_s: float
    example_s: float
    asking_s: float
    bytes_per_firing: float
    bucket_bytes: float
    pass_rate: float
    encode_rate: float
    cached_share: float


class Task(NamedTuple):
    """A piece of work: its name, the kind of worker that takes it, its duration, and the tasks before it."""

    name: str
    worker: str
    seconds: float
    after: tuple[str, ...] = ()


class Done(NamedTuple):
    """When a task began and ended, in seconds from the start."""

    task: Task
    began: float
    ended: float


def schedule(tasks: Sequence[Task], workers: Mapping[str, int]) -> list[Done]:
    """When workers run the tasks: a free worker takes the first task, in the given order, that can begin soonest.

    Args:
        tasks: Tasks, each listed after those that it depends on.
        workers: Number of workers of each kind.

    Raises KeyError if a task depends on one that is not listed before it, or has no worker of its kind.
    """
    free = {kind: [0.0] * count for kind, count in workers.items()}
    ended: dict[str, float] = {}
    done = []
    for task in tasks:
        ready = max((ended[name] for name in task.after), default=0.0)
        began = max(ready, heapq.heappop(free[task.worker]))
        ended[task.name] = began + task.seconds
        heapq.heappush(free[task.worker], ended[task.name])
        done.append(Done(task, began, ended[task.name]))
    return done


def tasks_of(run: Run, costs: Costs, assumed: Assumed) -> list[Task]:
    """The run's tasks in the order of the graph: corpus, shards, SAEs, and batches, alternating between SAEs."""
    token_s = 2 * assumed.parameters / costs.pass_rate
    token_s += 2 * run.saes * assumed.d_in * run.features / costs.encode_rate
    shard_tokens = run.tokens / run.shards
    written = costs.write_s * shard_tokens * run.firings_per_token * run.saes
    caching = assumed.start_s + max(shard_tokens * token_s / costs.cached_share, written)
    corpus = Task("corpus", "process", costs.corpus_s * run.tokens)
    shards = [Task(f"shard {number}", "gpu", caching, (corpus.name,)) for number in range(run.shards)]
    every_shard = tuple(task.name for task in shards)
    saes = [
        Task(f"SAE {number}", "machine", costs.prepare_s * run.firings, every_shard) for number in range(run.saes)
    ]
    asked = run.batch_features * assumed.llm_share
    answering = asked * (
        assumed.prompt_tokens / assumed.endpoint_prompt_tokens
        + assumed.answer_tokens / assumed.endpoint_answer_tokens
    )
    batches = []
    for number in range(run.batches):
        for sae in saes:
            drawn = Task(f"{sae.name}, batch {number}: drawn", "machine", costs.example_s * asked, (sae.name,))
            batches += [drawn, Task(f"{sae.name}, batch {number}: asked", "endpoint", answering, (drawn.name,))]
    return [corpus, *shards, *saes, *batches]


def measured_costs() -> Costs:
    """The costs according to the results of the store, scoring and GPU benchmarks."""
    store, scoring, gpu = _values("store_large"), _values("scoring"), _values("gpu")
    pass_rate, encode_rate = _gpu_rates(_values("gpu", "limit"))
    steps = ("statistics", "rules", "rule_scores", "index", "cofirings")
    peak_gib = max(store[f"{step}_peak_gib"] for step in (*steps, "examples"))
    return Costs(
        corpus_s=store["slots_cpu_s"] / SIZES["large"].n_tokens,
        write_s=store["write_cpu_s"] / store["rows"],
        prepare_s=sum(store[f"{step}_cpu_s"] for step in steps) / store["rows"],
        example_s=store["examples_ms_per_feature"] / 1000,
        asking_s=(scoring["scoring_predictions_cpu_s"] + scoring["scoring_scores_cpu_s"]) / N_FEATURES,
        bytes_per_firing=store["bytes_per_row"],
        bucket_bytes=(peak_gib - _MAPPED_GIB) * GIB / (store["rows"] / _BUCKETS),
        pass_rate=pass_rate,
        encode_rate=encode_rate,
        cached_share=gpu["8b_all_six_ratio"],
    )


def _gpu_rates(bare: Mapping[str, float]) -> tuple[float, float]:
    """Operations per second in the pass and in the product, from the tokens per second of both, by SAE.

    A token takes a + b * width seconds, so two widths determine a and b.
    """
    narrow, wide = sorted(LARGE_WIDTHS)
    narrow_s, wide_s = (
        mean(1 / bare[f"8b_{kind}_{width}_tokens_per_s"] for kind in KINDS) for width in (narrow, wide)
    )
    feature_s = (wide_s - narrow_s) / (wide - narrow)
    pass_s = narrow_s - feature_s * narrow
    return 2 * PASS_PARAMETERS / pass_s, 2 * LARGE.hidden_size / feature_s


def _values(name: str, which: str = "value") -> dict[str, float]:
    content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return {figure["name"]: figure[which] for figure in content["figures"]}


class Outcome(NamedTuple):
    """What a run takes.

    Attributes:
        hours: Hours until its last batch is scored.
        phase_hours: Hours from the first start to the last end of the tasks of each kind of worker.
        busy: The share of the whole time in which workers of a kind are busy.
        disk_tb: Size of the store of firings.
        bucket_gib: Memory of the step that takes most.
        asking_cpu_h: CPU-hours of asking, with two scorers and 40 questions per request.
        prompt_tokens: Prompt tokens over all features that are explained.
    """

    hours: float
    phase_hours: Mapping[str, float]
    busy: Mapping[str, float]
    disk_tb: float
    bucket_gib: float
    asking_cpu_h: float
    prompt_tokens: float


def simulate(run: Run, costs: Costs, assumed: Assumed) -> Outcome:
    """The outcome of a run, from its schedule."""
    workers = {"process": 1, "gpu": run.gpus, "machine": run.machines, "endpoint": run.endpoints}
    done = schedule(tasks_of(run, costs, assumed), workers)
    end = max(each.ended for each in done)
    by_worker: defaultdict[str, list[Done]] = defaultdict(list)
    for each in done:
        by_worker[each.task.worker].append(each)
    explained = run.saes * run.features * assumed.llm_share
    return Outcome(
        hours=end / 3600,
        phase_hours={
            kind: (max(each.ended for each in some) - min(each.began for each in some)) / 3600
            for kind, some in by_worker.items()
        },
        busy={
            kind: sum(each.task.seconds for each in some) / (end * workers[kind])
            for kind, some in by_worker.items()
        },
        disk_tb=run.saes * run.firings * costs.bytes_per_firing / 1e12,
        bucket_gib=_MAPPED_GIB + costs.bucket_bytes * run.firings / run.batches / GIB,
        asking_cpu_h=explained * costs.asking_s / 3600,
        prompt_tokens=explained * assumed.prompt_tokens,
    )


def main() -> int:
    """Simulate the run on corpora of several sizes, and write the page; 1 if no costs were measured."""
    try:
        costs, assumed = measured_costs(), Assumed()
    except (FileNotFoundError, KeyError) as missing:
        needed = "make bench ONLY=store SCALE=large, ONLY=scoring, and on a GPU ONLY=gpu"
        print(f"no measured costs ({missing}); first: {needed}", file=sys.stderr)
        return 1
    outcomes = {tokens: simulate(Run(tokens), costs, assumed) for tokens in SIZES_OF_CORPUS}
    publish("scale", [figure for tokens, outcome in outcomes.items() for figure in _figures(tokens, outcome)])
    PAGE.write_text(page(outcomes, costs, assumed), encoding="utf-8")
    return 0


def page(outcomes: Mapping[int, Outcome], costs: Costs, assumed: Assumed) -> str:
    """The page with its tables filled in."""
    run = Run(max(outcomes))
    rows = [
        f"| {tokens / 1e6:,.0f} M | {each.phase_hours['process']:,.1f} h "
        f"| {each.phase_hours['gpu']:,.1f} h | {each.phase_hours['machine']:,.1f} h "
        f"| {each.phase_hours['endpoint']:,.0f} h | {each.hours:,.0f} h | {each.disk_tb:,.2g} TB "
        f"| {each.bucket_gib:,.1f} GiB |"
        for tokens, each in outcomes.items()
    ]
    return TEMPLATE.read_text(encoding="utf-8").format(
        run=run,
        assumed=assumed,
        features=f"{run.saes * run.features / 1e6:.2f} million",
        rows="\n".join(rows),
        write_us=f"{costs.write_s * 1e6:.2f}",
        prepare_us=f"{costs.prepare_s * 1e6:.2f}",
        example_ms=f"{costs.example_s * 1e3:.1f}",
        asking_ms=f"{costs.asking_s * 1e3:.1f}",
        bytes_per_firing=f"{costs.bytes_per_firing:.2f}",
        bucket_bytes=f"{costs.bucket_bytes:.0f}",
        prompt_tokens=f"{outcomes[run.tokens].prompt_tokens / 1e9:.1f}",
        asking_cpu_h=f"{outcomes[run.tokens].asking_cpu_h:.0f}",
        pass_rate=f"{costs.pass_rate / 1e12:.0f}",
        encode_rate=f"{costs.encode_rate / 1e12:.0f}",
        cached_share=f"{costs.cached_share:.0%}",
        corpus_us=f"{costs.corpus_s * 1e6:.2f}",
        pass_parameters=f"{PASS_PARAMETERS / 1e9:.1f}",
        encoders_gib=f"{4 * run.saes * run.features * assumed.d_in / GIB:.0f}",
        prepare_minutes=f"{costs.prepare_s * Run(10_000_000).firings / 60:.0f}",
        encoders_share=f"{_encoders_share(run, costs, assumed):.0%}",
    )


def _encoders_share(run: Run, costs: Costs, assumed: Assumed) -> float:
    """The share of a token's time on a GPU that the SAEs' encoders take."""
    encode_s = run.saes * assumed.d_in * run.features / costs.encode_rate
    return encode_s / (encode_s + assumed.parameters / costs.pass_rate)


def _figures(tokens: int, outcome: Outcome) -> list[Figure]:
    name = f"{tokens // 1_000_000}m"
    return [
        Figure(f"{name}_hours", outcome.hours, "h", note="wall-clock, endpoint costs assumed"),
        *(
            Figure(f"{name}_{kind}_busy", share, "", better="higher", note="share of the time spent working")
            for kind, share in outcome.busy.items()
        ),
        Figure(f"{name}_store", outcome.disk_tb, "TB", note="firings of all SAEs"),
        Figure(f"{name}_bucket", outcome.bucket_gib, "GiB", note="memory of the step that takes most"),
    ]


if __name__ == "__main__":
    sys.exit(main())
