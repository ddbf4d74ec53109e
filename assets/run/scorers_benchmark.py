"""`latentlake benchmark-scorers`: every scorer, set as in a config, judges explanations of planted features."""

from collections.abc import Sequence

from rich.console import Console

from assets.graph.lakes import open_lake
from assets.run.dagster_home import use_dagster_home
from assets.run.experiment import materialise
from pipeline.config import load_config

_PAGE = "scorers.md"
_BEFORE = ("corpus", "cache", "prepare", "pilot")
"""Jobs that make what the scorers need."""


def benchmark_scorers(path: str, per_kind: int, n_questions: int, scorers: Sequence[str] | None = None) -> int:
    """Plant features, score them, print the page and write it into the benchmark's own lake.

    Returns the exit code. Raises LatentlakeError if the input is wrong.
    """
    from pipeline.asking.roles import oracle_sentence
    from pipeline.features.steered_texts import write_steered_texts
    from pipeline.make_table import make_table
    from pipeline.planting.experiment import carry_pilot, plant_experiment, write_planted_explanations
    from pipeline.planting.report import benchmark_page, print_benchmark
    from pipeline.scorers.write import write_predictions
    from pipeline.tables.versions import is_made

    console = Console()
    config = load_config(path)
    planted = plant_experiment(config, per_kind, n_questions, scorers)
    lake, [sae] = open_lake(planted.config), planted.config.sae_names
    console.print(f"[bold]{planted.config.name}[/] into {lake.root}", highlight=False, soft_wrap=True)
    use_dagster_home()
    if not materialise(planted.config, console, jobs=_BEFORE):
        return 1
    carry_pilot(config, lake, sae)
    for table in ("examples", "fuzzing_pairs"):
        make_table(lake, table, sae=sae, batch=0)
    if is_made(lake.config, "steered_texts"):
        write_steered_texts(lake, sae, 0)
    explanations = write_planted_explanations(lake, sae, planted.plants)
    write_predictions(lake, sae, 0)
    make_table(lake, "scores", sae=sae, batch=0)
    page = benchmark_page(lake, explanations, planted.left_out)
    if caution := oracle_sentence(planted.config):
        page = f"{caution}\n\n{page}"
    (lake.root / _PAGE).write_text(page, encoding="utf-8")
    print_benchmark(page, console)
    console.print(f"\nwrote {lake.root / _PAGE}", highlight=False, soft_wrap=True)
    return 0
