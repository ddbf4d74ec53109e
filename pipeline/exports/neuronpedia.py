"""Neuronpedia: its bulk layout (`v1/MODEL/SOURCE/`), and batches for its upload (`uploads/SOURCE/`).

Its importer reads the bulk layout: JSON lines of features, activations and explanations, 1,024 features per file,
and one line each for the model, the release, the source set and the source. An upload is the body of a `POST
/api/feature/upload-batch`. Both are read back and checked against its rules before the folder is put in place.

Its names for a model and an SAE come from `saes.aliases` (`gpt2-small/9-res-jb`), or are derived from ours.
"""

import json
from typing import Any

from pipeline.errors import ConfigError, LakeError
from pipeline.exports import Export, ExportedSae
from pipeline.fit.verdict import misfits_in
from pipeline.progress import tell
from pipeline.show.terminal import printable

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
"""The columns of each SQL file's lines. The importer takes their exact names from the first line."""
READS = (*_TABLES, "neuronpedia_uploads")
_LEAST_OBJECT_BYTES = 16 << 20
"""DuckDB's default limit for one object. A compressed file can hold objects larger than the file itself."""
_CREATOR = "clkht01d40000jv08hvalcvly"
"""The creator that Neuronpedia's own dashboard converter uses, unless its DEFAULT_CREATOR_ID is set."""


def write(export: Export) -> None:
    """Write both layouts.

    Raises:
        ConfigError: An SAE's aliases contain a /, and none is a Neuronpedia name.
        LakeError: A file breaks one of Neuronpedia's rules.
    """
    _check_aliases(export)
    _warn_of_derived_names(export)
    for sae in export.saes:
        base = f"v1/{sae.model_id}/{sae.source_id}"
        (export.folder / base).mkdir(parents=True)
        for name, line in _lines(export, sae).items():
            (export.folder / base / f"{name}.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
        for batch, features in enumerate(export.feature_ranges(sae)):
            own = {"sae": sae.sae, "neuronpedia_creator": _CREATOR, **features}
            for table in _TABLES:
                file = f"{base}/{_folder(table)}/batch-{batch}.jsonl.gz"
                if not export.copy(table, file, "format json, compression gzip", **own):
                    (export.folder / file).unlink()  # without a first line the importer finds no columns
            export.write_each("neuronpedia_uploads", **own)
    check(export)


def _check_aliases(export: Export) -> None:
    """Raise ConfigError if an alias looks like a Neuronpedia name and is not: a derived name would be exported."""
    for sae in export.saes:
        aliases = [alias for alias in export.lake.config.sae(sae.sae).aliases if "/" in alias]
        if aliases and f"{sae.model_id}/{sae.source_id}" not in aliases:
            raise ConfigError(
                f"SAE '{sae.sae}': its alias '{aliases[0]}' is not a Neuronpedia name; these are MODEL/LAYER-SET, "
                "such as 'llama3.1-8b/15-llamascope-res-32k'; add that name to saes.aliases"
            )


def _warn_of_derived_names(export: Export) -> None:
    """Say which names are derived from ours, for want of an alias: Neuronpedia has no such model."""
    for sae in export.saes:
        if f"{sae.model_id}/{sae.source_id}" not in export.lake.config.sae(sae.sae).aliases:
            tell(
                f"warning: SAE '{sae.sae}' has no Neuronpedia name, so modelId '{sae.model_id}' and source "
                f"'{sae.source_id}' are derived from the config's names; to name it as Neuronpedia does, add "
                "MODEL/LAYER-SET, such as 'gpt2-small/9-res-jb', to saes.aliases, and export again"
            )


def check(export: Export) -> None:
    """Read what was written, and check it against the rules. Raises LakeError for the first that is broken."""
    for table in (*_TABLES, "neuronpedia_uploads"):
        pattern = f"v1/*/*/{_folder(table)}/*.jsonl.gz" if table in _TABLES else "uploads/*/*.json"
        files = sorted(export.folder.glob(pattern))
        if not files:
            return  # no feature is explained yet, or none has windows
        largest = max(path.stat().st_size for path in files)  # an upload is one object
        rows = export.connection.read_json(
            [str(path) for path in files],  # type: ignore[arg-type]
            maximum_object_size=max(_LEAST_OBJECT_BYTES, largest),
        )
        if rows.columns != (keys := _TABLES.get(table, "modelId source features").split()):
            raise LakeError(f"lines of {_folder(table)} have the keys {rows.columns}, not {keys}")
        rows.create_view(f"written_{_folder(table)}", replace=True)
    broken = export.lake.select(export.connection, "neuronpedia_faults").limit(1).fetchall()
    for where, fault in broken:
        raise LakeError(f"the export breaks a rule of Neuronpedia: {where}: {fault}")


def _folder(table: str) -> str:
    return table.removeprefix("neuronpedia_")


def _lines(export: Export, sae: ExportedSae) -> dict[str, dict[str, Any]]:
    """The single line of each of Neuronpedia's tables above the features, without timestamps."""
    config = export.lake.config
    creator = {"creatorId": _CREATOR, "visibility": "PUBLIC"}
    about = f"SAE '{sae.sae}' at {sae.hookpoint} of {sae.model_id}, by latentlake"
    if misfit := misfits_in(export.lake).get(sae.sae):
        about += f". {printable(misfit)}"
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
