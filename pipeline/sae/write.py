"""The table `saes`: what each SAE is, from its own files."""

from typing import Any

import pyarrow as pa

from pipeline.config import SaeConfig
from pipeline.lake import Lake, Published
from pipeline.sae import SparseCoder, load_sae
from pipeline.tables import TABLES


def write_saes(lake: Lake) -> Published:
    """Write one row per SAE of the config. Raises SaeError if one does not load."""
    schema = TABLES["saes"].schema
    return Published.together(
        [
            lake.write("saes", pa.Table.from_pylist([_row(lake, sae)], schema=schema), sae=sae.name)
            for sae in lake.config.saes
        ]
    )


def _row(lake: Lake, sae: SaeConfig) -> dict[str, Any]:
    row = {"sae": sae.name, "hookpoint": sae.hookpoint, "weights_hash": lake.hashes.saes[sae.name]}
    if sae.source is not None:
        return {**row, **_facts(load_sae(sae)), "source": sae.source}
    # Its firings are read from a cache; its weights are not available.
    folder = lake.config.corpus.cache and lake.config.corpus.cache.folder / sae.hookpoint
    return {**row, "format": "delphi", "n_features": sae.n_features, "source": str(folder)}


def _facts(coder: SparseCoder) -> dict[str, Any]:
    lowest, highest = coder.threshold_range or (None, None)
    return {
        "format": coder.format,
        "architecture": coder.architecture,
        "d_in": coder.d_in,
        "n_features": coder.n_features,
        "k": coder.k,
        "threshold_min": lowest,
        "threshold_max": highest,
        "normalisation": coder.normalisation,
        "folded": coder.folded,
        "declared_l0": coder.declared_l0,
        "revision": coder.revision,
    }
