"""What each explainer writes about the same three features of the demo, for `docs/explainers.md`.

The first features drawn from the demo's route llm are explained by every explainer that needs no file, each with
its default settings; the embedded model is too small for this. It needs the tables of a demo run: `make demo`
first. Explanations and scores go to `results/explainers.json`; `make docs` writes the page.
"""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.borrowed import borrowed_lake, plain_errors
from benchmarks.figures import RESULTS, machine, scale_parser
from benchmarks.models import at_scale
from pipeline.asking.windows import load_vocabulary
from pipeline.config import Config
from pipeline.config.explaining import ExplainingConfig
from pipeline.explainers.write import write_explanations
from pipeline.features.token_changes import write_token_changes
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.make_table import make_table

SCALES = ("small", "large")
N_FEATURES = 3
N_WINDOWS = 3
EXPLAINERS = (
    *("rule", "keywords", "default", "with_activations", "logit_weights", "chain_of_thought", "token_pairs"),
    *("contrastive", "combined", "best_of_k", "refinement", "output_centric"),
)
CHANGED = "output_centric, tokens: changed"


@plain_errors()
def main() -> None:
    """Ask, and write the explanations."""
    parser = scale_parser("explainers", __doc__)
    parser.add_argument("--ledger", type=Path, help="a folder that keeps the answers, to continue a run")
    parser.add_argument("--max-requests", type=int, help="maximum requests; the others are shown as `budget`")
    given = parser.parse_args()
    sections: dict[str, dict[str, Any]] = {
        "explaining": {"explainers": EXPLAINERS, "max_features": None, **_default_limits()},
        "budget": {"max_requests": given.max_requests},
    }
    with borrowed_lake(N_FEATURES, **sections) as lake:
        content = asked(lake, given.scale, given.ledger)
    path = RESULTS / "explainers.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path}: {len(content['explanations'])} explanations")


def _default_limits() -> dict[str, Any]:
    """The defaults of the settings that the demo lowers to be quick."""
    fields = ExplainingConfig.model_fields
    return {name: fields[name].default for name in ("max_tokens", "n_examples")}


def asked(lake: Lake, scale: str, ledger: Path | None = None) -> dict[str, Any]:
    """What every explainer writes about the lake's selected features, and the model that was asked."""
    if ledger:
        ledger.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(lake.root / LEDGER_FOLDER, ignore_errors=True)  # nothing was asked yet
        (lake.root / LEDGER_FOLDER).symlink_to(ledger.absolute())
    lake = Lake(at_scale(lake.config, scale), lake.hashes)
    model = lake.config.in_process(lake.config.explaining)
    return {
        "model": f"{model.model} in {model.precision}" if model.precision else model.model,
        "max_tokens": lake.config.explaining.max_tokens,
        "n_examples": lake.config.explaining.n_examples,
        "features": list(_features(lake)),
        "explanations": [*_explained(lake), *_explained(_setting_features(lake), CHANGED)],
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _setting_features(lake: Lake) -> Lake:
    """The same lake with `output_centric` alone, which uses what changes when a feature is set."""
    explaining = lake.config.explaining
    own = explaining.output_centric.model_copy(update={"tokens": "changed"})  # type: ignore[attr-defined]
    keys = {"explainers": ("output_centric",), "output_centric": own}
    config: Config = lake.config.model_copy(update={"explaining": explaining.model_copy(update=keys)})
    changed, [sae] = Lake(config, lake.hashes), config.sae_names
    if not changed.has("examples", sae=sae, batch=0):  # a version without judges' windows
        make_table(changed, "examples", sae=sae, batch=0)
    return changed


def _explained(lake: Lake, name: str | None = None) -> Iterator[dict[str, Any]]:
    """The rows of `explanations` with the text of an answer; `name` replaces the explainer's name."""
    [sae] = lake.config.sae_names
    write_token_changes(lake, sae, 0)
    write_explanations(lake, sae, 0)
    explainers = lake.config.explaining.explainers
    with lake.connect(sae, 0) as connection:
        rows = connection.sql("from explanations order by feature, draw").pl().to_dicts()
    kept = ("feature", "draw", "explanation", "status", "is_chosen", "train_score", "same_as_draw")
    for explainer in explainers:
        for row in rows:
            if row["explainer"] == explainer:
                yield {"explainer": name or explainer, **{key: row[key] for key in kept}}


def _features(lake: Lake) -> Iterator[dict[str, Any]]:
    """The features, each with the test windows in which it fires most strongly."""
    vocabulary, share = load_vocabulary(lake), lake.config.explaining.marked_share
    with lake.connect(lake.config.sae_names[0], 0) as connection:
        windows = connection.sql(
            "from examples where role = 'test' and kind = 'activating' "
            f"qualify row_number() over (partition by feature order by peak desc, example_id) <= {N_WINDOWS} "
            "order by feature, peak desc, example_id"
        ).pl()
    for (feature,), some in windows.group_by("feature", maintain_order=True):
        shown = [
            vocabulary.render(
                row["token_ids"],
                [position for position, each in enumerate(row["activations"]) if each > share * row["peak"]],
            )
            for row in some.iter_rows(named=True)
        ]
        yield {"feature": feature, "windows": shown}


if __name__ == "__main__":
    main()
