"""The schedule of a large run is that of its tasks and workers."""

from dataclasses import replace

import pytest

from benchmarks.gpu import LARGE, LARGE_WIDTHS, PASS_PARAMETERS
from benchmarks.scale import (
    PAGE,
    SIZES_OF_CORPUS,
    Assumed,
    Costs,
    Run,
    Task,
    _gpu_rates,
    _values,
    measured_costs,
    page,
    schedule,
    simulate,
)  # fmt: skip
from benchmarks.synthetic import SIZES

COSTS = Costs(
    corpus_s=3e-6, write_s=1e-7, prepare_s=5e-7, example_s=0.01, asking_s=0.04, bytes_per_firing=3.0,
    bucket_bytes=300.0, pass_rate=4e14, encode_rate=5e13, cached_share=0.8,
)  # fmt: skip


def test_workers_take_tasks_side_by_side_and_each_waits_for_what_it_comes_after() -> None:
    tasks = [
        Task("one", "gpu", 3.0),
        Task("two", "gpu", 2.0),
        Task("three", "gpu", 2.0),
        Task("merged", "machine", 1.0, ("one", "two", "three")),
        Task("other", "machine", 5.0),
    ]
    times = {each.task.name: (each.began, each.ended) for each in schedule(tasks, {"gpu": 2, "machine": 2})}
    assert times == {
        "one": (0, 3), "two": (0, 2), "three": (2, 4), "merged": (4, 5), "other": (0, 5)
    }  # fmt: skip


def test_a_task_after_one_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        schedule([Task("one", "gpu", 1.0, ("none",))], {"gpu": 1})


def test_a_run_takes_no_less_than_its_work_shared_by_all_workers_and_no_more_than_one_after_another() -> None:
    run, assumed = Run(10_000_000, saes=2, features=4_096, shards=50, gpus=4, machines=2, endpoints=2), Assumed()
    outcome = simulate(run, COSTS, assumed)
    work = {
        kind: share * outcome.hours * n
        for (kind, share), n in zip(outcome.busy.items(), (1, run.gpus, run.machines, run.endpoints), strict=True)
    }
    assert max(work[kind] / n for kind, n in (("gpu", 4), ("machine", 2), ("endpoint", 2))) <= outcome.hours
    assert outcome.hours <= sum(work.values())
    assert outcome.disk_tb == pytest.approx(2 * 10_000_000 * 32 * 3 / 1e12)


@pytest.mark.parametrize("kind", ["gpus", "machines", "endpoints"])
def test_more_workers_make_no_run_longer(kind: str) -> None:
    run = Run(10_000_000, saes=4, features=4_096, shards=40, gpus=2, machines=2, endpoints=2)
    fewer = simulate(run, COSTS, Assumed()).hours
    assert simulate(replace(run, **{kind: 4}), COSTS, Assumed()).hours <= fewer


def test_the_speeds_of_pass_and_product_are_told_from_two_widths() -> None:
    pass_s, feature_s = 1e-5, 1.5e-10
    bare = {
        f"8b_{kind}_{width}_tokens_per_s": 1 / (pass_s + feature_s * width)
        for kind in ("topk", "jumprelu", "relu")
        for width in LARGE_WIDTHS
    }
    expected = (2 * PASS_PARAMETERS / pass_s, 2 * LARGE.hidden_size / feature_s)
    assert _gpu_rates(bare) == pytest.approx(expected)


def test_costs_are_those_of_the_steps_that_take_most_and_of_several_saes_in_a_pass() -> None:
    costs, store, gpu = measured_costs(), _values("store_large"), _values("gpu")
    steps = ("statistics", "rules", "rule_scores", "index", "cofirings", "examples")
    run = Run(SIZES["large"].n_tokens, saes=1, firings_per_token=30)
    peak = max(store[f"{step}_peak_gib"] for step in steps)
    assert simulate(run, costs, Assumed()).bucket_gib == pytest.approx(peak, rel=0.05), "as measured"
    assert costs.cached_share == gpu["8b_all_six_ratio"]
    assert costs.example_s == store["examples_ms_per_feature"] / 1000, "which holds its rendering"
    assert costs.corpus_s * SIZES["large"].n_tokens == pytest.approx(store["slots_cpu_s"])


def test_the_page_says_what_the_results_of_the_other_benchmarks_say():
    costs, assumed = measured_costs(), Assumed()
    outcomes = {tokens: simulate(Run(tokens), costs, assumed) for tokens in SIZES_OF_CORPUS}
    assert PAGE.read_text(encoding="utf-8") == page(outcomes, costs, assumed)  # python -m benchmarks.scale
