"""What is true of a batch's windows, for an oracle that is asked about them."""

from pipeline.asking.windows import load_vocabulary, one_line
from pipeline.lake import Lake
from pipeline.llm.oracle.brain import Truth, Window, truth_of


def read_truth(lake: Lake, sae: str, batch: int) -> Truth:
    """The truth about a batch's examples, and about its fuzzing pairs and steered texts where they are made."""
    vocabulary = load_vocabulary(lake)
    windows = lake.query("known_windows", sae=sae, batch=batch)
    tokens = lake.query("known_tokens", sae=sae, batch=batch)
    continuations = lake.query("known_continuations", sae=sae, batch=batch)
    return truth_of(
        [
            Window(feature, vocabulary.render(token_ids, marked or ()), is_shown, label)
            for feature, token_ids, marked, is_shown, label in windows.iter_rows()
        ],
        {feature: texts or [] for feature, texts, _ in tokens.iter_rows()},
        {feature: vocabulary.listed(promoted) for feature, _, promoted in tokens.iter_rows() if promoted},
        ((feature, one_line(text)) for feature, text in continuations.iter_rows()),
    )
