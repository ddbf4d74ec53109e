"""Neuronpedia: its bulk layout (`v1/MODEL/SOURCE/`), and batches for its upload (`uploads/SOURCE/`).

The bulk layout is what its importer reads: JSON lines of features, activations and explanations, 1,024 features a
file, beside the lines of the model, the release, the set of sources and the source. An upload is the body of a
`POST /api/feature/upload-batch`. Both are read back and checked by its rules before the folder is put in place.

Its names for a model and an SAE come from `saes.aliases` (`gpt2-small/9-res-jb`), or are made of ours.
"""

import json
from typing import Any

from pipeline.errors import ConfigError, LakeError
from pipeline.exports import Export, ExportedSae

_TABLES = {
    "neuronpedia_features": (
        "modelId layer index sourceSetName creatorId maxActApprox frac_nonzero freq_hist_data_bar_heights "
        "freq_hist_data_bar_values logits_hist_data_bar_heights logits_hist_data_bar_values pos_str pos_values "
        "neg_str neg_values topkCosSimIndices topkCosSimValues hookName"
    ),
    "neuronpedia_activations": (
        "id modelId layer index creatorId tokens values maxValue minValue maxValueTokenIndex binMin binMax "
        "binContains dataSource"
    ),
    "neuronpedia_explanations": "id modelId layer index authorId description typeName explanationModelName notes",
}
"""The columns that a line of each SQL file has. The importer takes the names, as spelled, off the first line."""
READS = (*_TABLES, "neuronpedia_uploads")
_LEAST_OBJECT_BYTES = 16 << 20
"""DuckDB's own limit: compressed files of lines hold larger objects than they are themselves."""
CREATOR = "clkht01d40000jv08hvalcvly"
"""Whom its own converter of dashboards names as creator, unless its DEFAULT_CREATOR_ID says another."""


def write(export: Export) -> None:
    """Write both layouts.

    Raises:
        ConfigError: An SAE's aliases have a /, and none is a name of Neuronpedia's.
        LakeError: A file breaks a rule of Neuronpedia's.
    """
    _check_aliases(export)
    for sae in export.saes:
        base = f"v1/{sae.model_id}/{sae.source_id}"
        (export.folder / base).mkdir(parents=True)
        for name, line in _lines(export, sae).items():
            (export.folder / base / f"{name}.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
        for batch, features in enumerate(export.feature_ranges(sae)):
            own = {"sae": sae.sae, "neuronpedia_creator": CREATOR, **features}
            for table in _TABLES:
                file = f"{base}/{_folder(table)}/batch-{batch}.jsonl.gz"
                if not export.copy(table, file, "format json, compression gzip", **own):
                    (export.folder / file).unlink()  # it has no first line to read the columns off
            export.write_each("neuronpedia_uploads", **own)
    check(export)


def _check_aliases(export: Export) -> None:
    """Raise ConfigError where an alias seems to be Neuronpedia's name and is not: another would be exported."""
    for sae in export.saes:
        aliases = [alias for alias in export.lake.config.sae(sae.sae).aliases if "/" in alias]
        if aliases and f"{sae.model_id}/{sae.source_id}" not in aliases:
            raise ConfigError(
                f"SAE '{sae.sae}': its alias '{aliases[0]}' is no name of Neuronpedia's, which is MODEL/LAYER-SET "
                "('llama3.1-8b/15-llamascope-res-32k'); add that name to saes.aliases"
            )


def check(export: Export) -> None:
    """Read what was written, and hold it against the rules. Raises LakeError for the first that is broken."""
    for table in (*_TABLES, "neuronpedia_uploads"):
        pattern = f"v1/*/*/{_folder(table)}/*.jsonl.gz" if table in _TABLES else "uploads/*/*.json"
        files = sorted(export.folder.glob(pattern))
        if not files:
            return  # nothing is explained yet, or nothing can be shown
        largest = max(path.stat().st_size for path in files)  # an upload is one object
        rows = export.connection.read_json(
            [str(path) for path in files],  # type: ignore[arg-type]
            maximum_object_size=max(_LEAST_OBJECT_BYTES, largest),
        )
        if rows.columns != (keys := _TABLES.get(table, "modelId source features").split()):
            raise LakeError(f"lines of {_folder(table)} have the keys {rows.columns}, not {keys}")
        rows.create_view(f"written_{_folder(table)}", replace=True)
    broken = export.lake.select(export.connection, "neuronpedia_faults").limit(1).fetchall()
    for place, fault in broken:
        raise LakeError(f"what was to be exported breaks a rule of Neuronpedia's: {place}: {fault}")


def _folder(table: str) -> str:
    return table.removeprefix("neuronpedia_")


def _lines(export: Export, sae: ExportedSae) -> dict[str, dict[str, Any]]:
    """The one line of each table above the features: fields of Neuronpedia's tables, without times."""
    config = export.lake.config
    creator = {"creatorId": CREATOR, "visibility": "PUBLIC"}
    about = f"SAE '{sae.sae}' at {sae.hookpoint} of {sae.model_id}, by latentlake"
    return {
        "model": {
            **creator,
            "id": sae.model_id,
            "displayName": sae.model_id,
            "displayNameShort": sae.model_id,
            "instruct": False,
            "layers": 0,
            "neuronsPerLayer": 0,
            "owner": "",
        },
        "release": {
            **creator,
            "name": config.name,
            "description": f"Experiment '{config.name}' of latentlake",
            "creatorName": "latentlake",
            "urls": [],
        },
        "sourceset": {
            **creator,
            "creatorName": "latentlake",
            "releaseName": config.name,
            "modelId": sae.model_id,
            "name": sae.set_name,
            "description": about,
            "hasDashboards": True,
            "urls": [],
        },
        "source": {
            **creator,
            "id": sae.source_id,
            "modelId": sae.model_id,
            "setName": sae.set_name,
            "hasDashboards": True,
            "num_tokens_in_prompt": config.corpus.context_length,
            "notes": about,
        },
    }
