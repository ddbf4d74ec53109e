"""`latentlake benchmark-scorers`: every scorer, set as in a config, judges explanations of planted features."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from assets.graph.lakes import open_lake
from assets.run.dagster_home import use_dagster_home
from assets.run.experiment import materialise
from assets.run.printing import print_heading
from pipeline.config import Config, load_config
from pipeline.show.terminal import plain_console

if TYPE_CHECKING:
    from pipeline.planting.experiment import JudgedPlants

_PAGE = "scorers.md"
_BEFORE = ("corpus", "cache", "prepare", "pilot")
"""Jobs that make what the scorers need."""


def benchmark_scorers(path: str, per_kind: int, n_questions: int, scorers: Sequence[str] | None = None) -> int:
    """Plant features, score them, print the page and write it into the benchmark's own lake.

    Returns the exit code. Raises LatentlakeError if the input is wrong.
    """
    from pipeline.asking.roles import oracle_sentence
    from pipeline.planting.report import benchmark_page, print_benchmark

    console = plain_console()
    judged = judge_plants(load_config(path), per_kind, n_questions, scorers, console)
    if judged is None:
        return 1
    page, lake = benchmark_page(judged), judged.lake
    if caution := oracle_sentence(lake.config):
        page = f"{caution}\n\n{page}"
    (lake.root / _PAGE).write_text(page, encoding="utf-8")
    print_benchmark(page, console)
    console.print(f"\nwrote {lake.root / _PAGE}", soft_wrap=True)
    return 0


def judge_plants(
    config: Config, per_kind: int, n_questions: int, scorers: Sequence[str] | None, console: Console
) -> "JudgedPlants | None":
    """Plant features and have the scorers judge them; None if a step failed, which it has printed.

    Raises LatentlakeError if the input is wrong.
    """
    from pipeline.planting.experiment import plant_experiment, score_plants

    planted = plant_experiment(config, per_kind, n_questions, scorers)
    lake = open_lake(planted.config)
    print_heading(lake, console)
    use_dagster_home()
    if not materialise(planted.config, console, jobs=_BEFORE):
        return None
    return score_plants(config, lake, planted)
