"""config/post.yaml, rehearsed on a small stand-in to its report; and the post's figures, which are never ours."""

from pathlib import Path

import dagster as dg
import pytest
import yaml
from runs import materialise_all
from tiny import hand_set_entry, rows_of, write_corpus, write_hand_set_sae

from pipeline.config import load_config
from pipeline.shipped import SHIPPED_FOLDER, find
from pipeline.show.report import REPORT_FILE, write_report

POST = SHIPPED_FOLDER / "config" / "post.yaml"


@pytest.mark.whole
def test_the_posts_settings_go_to_a_report_with_its_figures_beside(tmp_path: Path, tiny_subject: Path) -> None:
    write_hand_set_sae(tmp_path / "sae")
    stand_in = {
        "extends": str(POST),
        "subject": {"model": str(tiny_subject), "dtype": "float32"},
        "saes": [hand_set_entry(tmp_path / "sae") | {"fit": "accept"}],
        "corpus": {
            "sources": [{"kind": "text", "path": str(write_corpus(tmp_path / "corpus", n_documents=120))}],
            "min_document_tokens": 1, "shards": 1,
        },
        "selection": {"quotas": {"llm": 8, "rule": 8, "unigram": 8, "dense": 8}},
        "explaining": {"provider": "oracle", "dtype": "float32"},
        "scoring": {"provider": "oracle", "dtype": "float32", "pilot_features": 0},
        "machine": {"lake": str(tmp_path / "lake"), "device": "cpu"},
    }  # fmt: skip
    path = tmp_path / "stand-in.yaml"
    path.write_text(yaml.safe_dump(stand_in), encoding="utf-8")
    config = load_config(path)
    with dg.DagsterInstance.ephemeral() as instance:
        lake = materialise_all(config, instance)
    asked = rows_of(
        lake,
        "select scorer, label, count(*) as n from predictions join explanations using (explanation_id) "
        "where explainer = 'default' and label is not null group by scorer, label, explanation_id",
    )
    most = {scorer: [max(row["n"] for row in asked if row["scorer"] == scorer and row["label"] == label)
                     for label in (True, False)] for scorer in ("detection", "fuzzing")}  # fmt: skip
    assert most == {"detection": [50, 20], "fuzzing": [50, 20]}
    assert {row["scorer"] for row in rows_of(lake, "from scores")} >= {*config.scoring.scorers}
    page = (write_report(lake).folder / REPORT_FILE).read_text(encoding="utf-8")
    beside = page[page.index('<section id="beside">') :].partition("</section>")[0]
    assert "EleutherAI" in beside and "0.61" in beside and "A rehearsal" in beside


def test_the_rehearsal_has_the_posts_settings_and_asks_nobody() -> None:
    own, post = load_config(find("config/post-rehearsal.yaml")), load_config(POST)
    oracles = {"provider": "oracle", "model": "oracle"}
    assert (own.explaining.provider, own.scoring.provider) == ("oracle", "oracle")
    assert own.explaining == post.explaining.model_copy(update=oracles)
    differing = {name for name in type(post.scoring).model_fields
                 if getattr(post.scoring, name) != getattr(own.scoring, name)}  # fmt: skip
    assert differing == {"provider", "model", "pilot_features"} and own.report == post.report
