"""A batch made by the code of a run, with any way of answering, and not written."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipeline.asking.batches import Asks
from pipeline.asking.tools import Batch
from pipeline.explainers.write import explanations_table
from pipeline.firings.texts import ReadTexts, text_activations
from pipeline.lake import Lake
from pipeline.make_table import read_table
from pipeline.pilot.thresholds import control_answers, control_pairs
from pipeline.scorers.write import find_forms, predictions_table
from pipeline.tables import TABLES
from pipeline.tables.stages import STAGES

Tables = dict[str, pa.Table]


def rehearse_windows(lake: Lake, sae: str, batch: int, selected: pa.Table) -> Tables:
    """A batch's tables up to its explanations, for the features that `selected` has; that is one of them.

    What only a plug-in reads, and the subject model makes, is empty.
    """
    made: Tables = {"selected_features": selected}
    for table in STAGES["estimate"].makes_unwritten:
        if STAGES[table].is_sql:
            made[table] = read_table(lake, table, sae=sae, batch=batch, given=made)
        elif STAGES[table].is_on_demand:
            made[table] = TABLES[table].schema.empty_table()
    return made


def rehearse_explanations(
    lake: Lake, sae: str, batch: int, made: Mapping[str, pa.Table], asks: Asks
) -> pa.Table:
    """The rows of `explanations`, from the tables before."""
    with lake.connect(sae, batch, made) as connection:
        return explanations_table(Batch(lake, connection, sae, batch), asks)


def rehearse_forms(
    lake: Lake, sae: str, batch: int, made: Mapping[str, pa.Table], asks: Asks, scorers: Sequence[str]
) -> dict[str, str]:
    """The form of some scorers' prompts, by the answer to the first, from the tables up to the explanations."""
    with lake.connect(sae, batch, made) as connection:
        return find_forms(Batch(lake, connection, sae, batch), asks, scorers)


def rehearse_pairs(lake: Lake, sae: str, batch: int, made: Mapping[str, pa.Table]) -> pa.Table:
    """The pilot's features with other ones' explanations, from the tables up to these."""
    with lake.connect(sae, batch, made) as connection:
        return control_pairs(Batch(lake, connection, sae, batch))


def rehearse_controls(
    lake: Lake,
    sae: str,
    batch: int,
    made: Mapping[str, pa.Table],
    asks: Asks,
    scorers: Sequence[str],
    pairs: pa.Table,
    n_pairs: int,
    *,
    is_certain: bool,
) -> pa.Table:
    """What some scorers say about such pairs; `n_pairs` are those of the whole pilot."""
    with lake.connect(sae, batch, made) as connection:
        of_batch = Batch(lake, connection, sae, batch)
        return control_answers(of_batch, asks, scorers, pairs, n_pairs, is_certain=is_certain)


def rehearse_predictions(
    lake: Lake,
    sae: str,
    batch: int,
    made: Mapping[str, pa.Table],
    asks: Asks,
    scorers: Sequence[str],
    read: ReadTexts = text_activations,
) -> pa.Table:
    """The rows of `predictions` by some scorers, from the tables before."""
    with lake.connect(sae, batch, made) as connection:
        return predictions_table(Batch(lake, connection, sae, batch), asks, scorers, read)
