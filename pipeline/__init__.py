"""latentlake: automated interpretability of sparse-autoencoder features as a lake of tables.

The way of the data, with the module that makes each table:

    documents, slots       corpus/                   texts, split into train and test, cut into slots
    activation_shards      firings/write.py          one forward pass per shard of the corpus, encoded by every SAE
    activations            firings/store.py          which feature fires where, sorted by feature
    feature_stats          sql/features/, compiled/  what is counted of every feature
    feature_rules          sql/rules/, compiled/     the best token rules of every feature
    feature_routes         sql/features/             dead, dense, positional, too rare, a rule, or an LLM
    examples               sql/examples/             the windows that explainers and scorers read
    explanations           explainers/write.py       an explanation by each explainer (a folder each)
    predictions            scorers/write.py          an answer to each scorer's questions (a folder each)
    scores, summary        sql/scores/, summary.py   figures with intervals, beside controls

`tables/` declares every table, `lake/` says where its files are, `llm/` is the one way to a language model, and
`assets/`, beside this package, makes a Dagster graph of it all. Start at `tables/stages.py` and `make_table.py`;
`docs/how-it-is-built.md` has the folders, `docs/terms.md` the words.

For notebooks: `open_lake`, `fires` and `load_config`. They are imported when they are asked for, so that the
Dagster graph, which imports parts of this package, stays light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import load_config
    from pipeline.show.notebook import fires, open_lake

__all__ = ["fires", "load_config", "open_lake"]


def __getattr__(name: str) -> Any:
    """The public functions, on first use."""
    if name == "load_config":
        from pipeline.config import load_config

        return load_config
    if name in {"fires", "open_lake"}:
        from pipeline.show import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
