"""circuit-tracer: local feature files, and explanations as the labels (`clerp`) of an attribution graph's nodes.

`circuit_tracer.frontend.local_server.serve(data_dir=FOLDER)` shows both. GRAPH= names a graph's file, written by
`create_graph_files`. Its nodes identify a feature by its layer, so there can be only one SAE per layer.
"""

import json
from collections import Counter
from math import isqrt
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.exports import Export

READS = ("circuit_tracer_features", "circuit_tracer_labels")
_FEATURES = "features"


def write(export: Export) -> None:
    """Write `features/NAME/CANTOR.json`, and the graph with labels if one is given.

    Raises ConfigError for an SAE without a layer, for two SAEs of one layer, or for a file that is not a graph.
    """
    for sae in export.saes:
        if sae.layer is None:
            raise ConfigError(f"SAE '{sae.sae}' reads '{sae.hookpoint}'; circuit-tracer needs one with a layer")
    [(layer, n_saes)] = Counter(sae.layer for sae in export.saes).most_common(1)
    if n_saes > 1:
        raise ConfigError(
            f"{n_saes} SAEs read layer {layer}; circuit-tracer supports one; choose one with SAE= (--sae)"
        )
    graph = _read_graph(export.graph) if export.graph else None
    folder = f"{_FEATURES}/{export.lake.config.name}"
    (export.folder / folder).mkdir(parents=True)
    for sae in export.saes:
        for features in export.feature_ranges(sae):
            own = {"sae": sae.sae, "layer": sae.layer, "folder": folder}
            export.write_each("circuit_tracer_features", **own, **features)
    if graph:
        _label(graph, _labels(export))
        # The frontend looks for local features at the path under which its server serves the data.
        graph["metadata"]["scan"] = f"./data/{folder}"
        (export.folder / f"{graph['metadata']['slug']}.json").write_text(json.dumps(graph, indent=2), "utf-8")
        listed = {"graphs": [graph["metadata"]]}
        (export.folder / "graph-metadata.json").write_text(json.dumps(listed, indent=2), "utf-8")


def unpaired(cantor: int) -> tuple[int, int]:
    """The layer l and the feature f of a Cantor pairing, (l + f)(l + f + 1)/2 + f."""
    diagonal = (isqrt(8 * cantor + 1) - 1) // 2
    feature = cantor - diagonal * (diagonal + 1) // 2
    return diagonal - feature, feature


def _labels(export: Export) -> dict[tuple[int, int], str]:
    """The explanations, by layer and feature."""
    rows = export.lake.select(export.connection, "circuit_tracer_labels").fetchall()
    return {(layer, feature): words for layer, feature, words in rows}


def _label(graph: dict[str, Any], labels: dict[tuple[int, int], str]) -> None:
    """Write the explanations into the nodes of features; a node without an explanation keeps its label."""
    for node in graph["nodes"]:
        if node["feature_type"] == "cross layer transcoder":  # so circuit-tracer calls all transcoders
            node["clerp"] = labels.get(unpaired(node["feature"]), node.get("clerp", ""))


def _read_graph(path: Path) -> dict[str, Any]:
    try:
        graph: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {"slug", "scan"} <= graph["metadata"].keys() and isinstance(graph["nodes"], list)
    except OSError as error:
        raise ConfigError(f"GRAPH= (--graph): '{path}' cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _no_graph(path, repr(error)) from None
    if not known or "/" in str(graph["metadata"]["slug"]):
        raise _no_graph(path, "no slug, scan or nodes")
    return graph


def _no_graph(path: Path, why: str) -> ConfigError:
    return ConfigError(f"GRAPH= (--graph): '{path}' is not an attribution graph of circuit-tracer: {why}")
