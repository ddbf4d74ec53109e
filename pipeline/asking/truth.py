"""The right answers about a batch's windows, for the oracle."""

from functools import partial

from pipeline.asking.windows import load_vocabulary, one_line
from pipeline.lake import Given, Lake
from pipeline.llm.oracle.brain import Truth, Window, truth_of


def read_truth(lake: Lake, sae: str, batch: int, given: Given | None = None) -> Truth:
    """The truth about a batch's examples, and about its fuzzing pairs and steered texts if they exist.

    `given` holds tables of the batch that have not been written.
    """
    vocabulary = load_vocabulary(lake)
    of_batch = partial(lake.query, sae=sae, batch=batch, given=given)
    windows, tokens = of_batch("known_windows"), of_batch("known_tokens")
    strengths = {}
    for feature, token_ids, values in of_batch("known_activations").iter_rows():
        pieces = list(vocabulary.pieces(token_ids))
        strengths[feature, tuple(text for text, _ in pieces)] = [
            max(values[positions.start : positions.stop]) for _, positions in pieces
        ]
    continuations = of_batch("known_continuations")
    return truth_of(
        [
            Window(feature, vocabulary.render(token_ids, marked or ()), is_shown, label)
            for feature, token_ids, marked, is_shown, label in windows.iter_rows()
        ],
        {feature: texts or [] for feature, texts, *_ in tokens.iter_rows()},
        [(feature, vocabulary.listed(ids)) for feature, _, *lists in tokens.iter_rows() for ids in lists if ids],
        ((feature, one_line(text)) for feature, text in continuations.iter_rows()),
        strengths,
    )
