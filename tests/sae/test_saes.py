"""The table `saes`: what is said of each SAE, whatever its format."""

import json

import pytest
from sae_layouts import LAYOUTS, LLAMA_SCALE, random_weights
from tiny import WIDTH, open_lake, rows_of, write_experiment

from pipeline.config import load_config
from pipeline.sae import sources
from pipeline.sae.write import write_saes
from pipeline.sources import fix_sources

SAID = {
    "sparsify": ("topk", 5, None, "none", None, 5),
    "saelens": ("jumprelu", None, "range", "none", None, None),
    "openai": ("TopK", 5, None, "layer_norm", None, 5),
    "goodfire": ("standard", None, "zero", "none", None, None),
    "gemma_scope": ("jumprelu", None, "range", "none", None, 88),
    "llama_scope": (
        *("jumprelu", None, "one", "none"),
        *("the factor of its inputs' norm, 1.5; the norms of the decoder", 50),
    ),
}
"""Architecture, k, thresholds, normalisation, what is folded in, and L0 declared."""


@pytest.mark.parametrize("format", SAID)
def test_a_row_says_what_the_sae_is(tmp_path, tiny_subject, format):
    weights = random_weights(64, WIDTH, k=5)
    path = LAYOUTS[format].write(tmp_path / "layers.1", weights)
    entry = {"name": "it", "source": str(path), "hookpoint": "layers.1", "n_features": 64}
    lake = open_lake(load_config(write_experiment(tmp_path, subject={"model": str(tiny_subject)}, saes=[entry])))
    write_saes(lake)
    [row] = rows_of(lake, "from saes")
    architecture, k, thresholds, normalisation, folded, l0 = SAID[format]
    assert (row["format"], row["architecture"], row["k"]) == (format, architecture, k)
    assert (row["normalisation"], row["folded"], row["declared_l0"]) == (normalisation, folded, l0)
    assert (row["d_in"], row["n_features"], row["revision"]) == (WIDTH, 64, None)
    lowest, highest = {
        None: (None, None),
        "zero": (0, 0),
        "one": (0.4 * LLAMA_SCALE, 0.4 * LLAMA_SCALE),
        "range": (float(weights.threshold.min()), float(weights.threshold.max())),
    }[thresholds]
    assert row["threshold_min"] == pytest.approx(lowest) and row["threshold_max"] == pytest.approx(highest)


def test_what_the_registry_says_of_an_sae_is_part_of_its_hash(tmp_path, tiny_subject, monkeypatch):
    """The same files with another factor are another SAE."""
    path = LAYOUTS["saelens"].write(tmp_path / "layers.1", random_weights(64, WIDTH, k=5))
    entry = {"name": "it", "source": "saelens://release/it", "hookpoint": "layers.1", "n_features": 64}
    hashes = []
    for number, overrides in enumerate(({}, {"norm_scaling_factor": 2.0}, {"norm_scaling_factor": 3.0})):
        found = sources.Source(path, None, json.loads(json.dumps(overrides)))
        monkeypatch.setattr("pipeline.sae.finding.fetch", lambda *_, found=found: found)
        folder = tmp_path / str(number)
        config = load_config(write_experiment(folder, subject={"model": str(tiny_subject)}, saes=[entry]))
        hashes.append(fix_sources(config).saes["it"])
    assert len(set(hashes)) == 3
