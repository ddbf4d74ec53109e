"""A scorer, an explainer and an SAE format of somebody else's package: each a folder or a file, and no edit here.

The package lies in a temporary folder, found through its entry points, and runs in processes of its own.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from tiny import ANIMAL, COLOUR, N_FEATURES, STOP, write_experiment, write_hand_set_sae

from pipeline import open_lake
from pipeline.sae import load_sparse_coder

pytestmark = pytest.mark.whole

ROOT = Path(__file__).parents[2]
SAE = "foreign"

SCORER_FILES = {
    "__init__.py": '''
        """Is the text one of the explanation's, of those whose first firing comes late?"""

        from pipeline.scorers.yes_no import YesNo

        scorer = YesNo("latecomers")
    ''',
    "settings.py": '''
        """`scoring.latecomers`."""

        from typing import ClassVar

        from pydantic import BaseModel, ConfigDict, Field


        class Settings(BaseModel):
            """Windows that fire late."""

            model_config = ConfigDict(frozen=True, extra="forbid")
            scored_as: ClassVar[str] = "population"

            first_place: int = Field(2, ge=0, description="First position at which an activating window may fire")
    ''',
    "one.txt": """
        An explanation describes when a feature fires, which it does late in a text. Does it fire in this one?
        Answer Yes or No.
    """,
    "many.txt": """
        An explanation describes when a feature fires, which it does late in a text. In which of these does it?
        Answer with one JSON object that has the number of every text as a key, and true or false: {"1": true}
    """,
    "questions.sql": """
        -- One row per question: a silent window, or one whose first firing is not before a position.
        select
            e.explanation_id,
            e.feature,
            md5(concat_ws(' ', e.explanation_id, 'latecomers', x.example_id)) as question_id,
            x.example_id,
            null::int[] as marked,
            x.kind = 'activating' as label,
            x.draw
        from scored_explanations as e
        join examples as x using (feature)
        where
            x.role = 'test'
            and x.draw <= $scoring_n_questions
            and len(list_filter(x.activations[1:$scoring_latecomers_first_place], lambda a: a > 0)) = 0
    """,
}
EXPLAINER_FILES = {
    "__init__.py": '''
        """Asks for a few words, about the first windows only."""

        from pathlib import Path

        from pipeline.asking.batches import ToAsk
        from pipeline.asking.prompts import load_prompt
        from pipeline.explainers.answers import read_explanation
        from pipeline.explainers.base import Explanation
        from pipeline.explainers.examples import example_lines
        from pipeline.llm import Message, Request

        PROMPT = load_prompt(Path(__file__).parent / "prompt.txt")


        class Brief:
            name = "brief"
            role = "explainer"

            def explain(self, features, tools):
                n_windows = tools.config.explaining.brief.n_windows
                shown = {each.feature: each.shown[:n_windows] for each in features if each.shown}
                to_ask = [self._to_ask(feature, windows, tools) for feature, windows in shown.items()]
                answers = tools.ask(to_ask)
                for (feature, windows), each in zip(shown.items(), to_ask, strict=True):
                    answer = answers[each.request.request_id]
                    words, status = self._read(answer, windows, tools)
                    ids = [window.example_id for window in windows]
                    yield Explanation(feature, words, status, ids, answer.request_id)

            def _to_ask(self, feature, windows, tools):
                explaining = tools.config.explaining
                lines = example_lines(explaining, windows, tools.vocabulary)
                listed = "".join("\\n- " + line.partition(": ")[2] for line in lines)
                message = Message("user", PROMPT.render(examples=listed))
                asked = ("brief", tools.batch.sae, feature, explaining.model, (message,), explaining.max_tokens)
                return ToAsk(
                    Request(*asked),
                    lambda answer: self._read(answer, windows, tools).status == "ok",
                    f"[EXPLANATION]: words, number {feature}",
                )

            def _read(self, answer, windows, tools):
                texts = [tools.vocabulary.text(window.token_ids) for window in windows]
                return read_explanation(answer, PROMPT.own_texts, texts)


        explainer = Brief()
    ''',
    "settings.py": '''
        """`explaining.brief`."""

        from pydantic import BaseModel, ConfigDict, Field


        class Settings(BaseModel):
            """A few words from a few windows."""

            model_config = ConfigDict(frozen=True, extra="forbid")

            n_windows: int = Field(3, ge=1, description="Windows shown")
    ''',
    "oracle.py": '''
        """The oracle reads windows behind dashes, which no other prompt has."""

        from pipeline.llm.oracle.prompts import plain


        def answer(prompt, oracle):
            if not prompt.startswith("In a few words"):
                return None
            return "[EXPLANATION]: " + oracle.explanation([plain(text) for text in prompt.split("\\n- ")[1:]])
    ''',
    "prompt.txt": """
        In a few words after [EXPLANATION]: what is marked in all of these?
        {examples}
    """,
}
FORMAT = '''
    """A folder with one file, `coder.safetensors`, whose tensors have names of one letter."""

    from pipeline.sae import SparseCoder, TopK

    FILES = ("coder.safetensors",)


    def load(files):
        stored = files.tensors("coder.safetensors")
        encoder = stored.take("e", None, None)
        n_features, d_in = encoder.shape
        return SparseCoder(
            hookpoint=None,
            encoder=encoder,
            encoder_bias=stored.take("b", n_features),
            decoder=stored.take("d", n_features, d_in),
            input_bias=stored.take("x", d_in),
            activation=TopK(int(stored.take("k").item())),
        )
'''
ENTRY_POINTS = """
    [latentlake.scorers]
    latecomers = newcomers.latecomers

    [latentlake.explainers]
    brief = newcomers.brief

    [latentlake.formats]
    letters = newcomers.letters
"""
VERSIONS = """
    import json, sys

    from pipeline.config import load_config
    from pipeline.tables.definitions import plugin_versions

    for path in sys.argv[1:]:
        config = load_config(path)
        found = {kind: plugin_versions(config, kind) for kind in ("explainers", "scorers")}
        print(json.dumps({**found["explainers"], **found["scorers"]}))
    more = {"newcomers", "pipeline.scorers.fuzzing", "pipeline.explainers.rule", "torch"} & sys.modules.keys()
    assert not more, f"of a plug-in, only its settings are imported with a config, not {more}"
"""

EXPLAINERS, SCORERS = ["brief", "rule"], ["latecomers", "fuzzing"]


class Newcomers(NamedTuple):
    """Where the package lies, and an experiment that uses what is in it."""

    site: Path
    experiment: Path
    sections: dict[str, Any]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in a process that finds the package."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (self.site, ROOT))),
            "DAGSTER_HOME": str(self.site),
            "COLUMNS": "160",
        }
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500,
            check=False,
        )  # fmt: skip

    def written(self, name: str, **changes: Any) -> Path:
        """The experiment's YAML file with keys of `explaining` or `scoring` changed."""
        changed = {section: {**self.sections[section], **keys} for section, keys in changes.items()}
        return write_experiment(self.experiment, name=name, **(self.sections | changed))

    def versions(self, *paths: Path) -> list[dict[str, str]]:
        """The version of each plug-in, by experiment."""
        done = self.run("-c", dedent(VERSIONS), *map(str, paths))
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def newcomers(tmp_path_factory: pytest.TempPathFactory, tiny_subject: Path) -> Newcomers:
    site, experiment = (tmp_path_factory.mktemp(name) for name in ("site", "experiment"))
    package = site / "newcomers"
    for folder, files in (("latecomers", SCORER_FILES), ("brief", EXPLAINER_FILES)):
        (package / folder).mkdir(parents=True)
        for name, text in files.items():
            (package / folder / name).write_text(dedent(text).lstrip())
    (package / "__init__.py").touch()
    (package / "letters.py").write_text(dedent(FORMAT))
    installed = site / "newcomers-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: newcomers\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(dedent(ENTRY_POINTS))
    coder = load_sparse_coder(write_hand_set_sae(site / "sparsify"))
    assert coder.input_bias is not None
    (experiment / "sae").mkdir()
    tensors = {"e": coder.encoder, "b": coder.encoder_bias, "d": coder.decoder, "x": coder.input_bias}
    save_file({**tensors, "k": torch.tensor(coder.k)}, experiment / "sae" / "coder.safetensors")
    sae = {"name": SAE, "source": str(experiment / "sae"), "hookpoint": "embed_tokens", "n_features": N_FEATURES}
    truthful = {"false_positive_rate": 0.0, "false_negative_rate": 0.0}
    made = Newcomers(
        site,
        experiment,
        {
            "subject": {"model": str(tiny_subject)},
            "saes": [sae],
            "explaining": {"provider": "oracle", "explainers": EXPLAINERS, "brief": {"n_windows": 2}},
            "scoring": {"provider": "oracle", "n_questions": 20, "oracle": truthful, "scorers": SCORERS},
        },
    )
    made.written("tiny")
    return made


def test_what_is_installed_beside_is_found_and_run_without_an_edit(newcomers: Newcomers) -> None:
    path = newcomers.experiment / "tiny.yaml"
    done = newcomers.run("-m", "assets.command", "run", str(path))
    assert done.returncode == 0, done.stderr
    assert re.search(r" fuzzing brief \w+ \d 1\.00", " ".join(done.stdout.split())), done.stdout
    lake = open_lake(newcomers.experiment / "lake" / "tiny")
    assert lake.sql("select format from saes").item() == "letters"
    assert lake.sql(f"select max_activation from feature_stats where feature = {STOP}").item() == 4
    brief = lake.sql("from explanations where explainer = 'brief'").to_dicts()
    assert {row["feature"] for row in brief} == {STOP, COLOUR, ANIMAL}
    for row in brief:
        assert row["status"] == "ok" and f"feature {row['feature']}," in row["explanation"]
        assert len(row["example_ids"]) == 2
    scores = lake.sql("from scores where explainer = 'brief' and scorer = 'latecomers'").to_dicts()
    assert len(scores) == 3 and {row["balanced_accuracy"] for row in scores} == {1.0}
    of_all_slots = lake.sql("from score_details where weighting = 'population' and metric = 'recall'")
    assert set(of_all_slots["scorer"]) == {"latecomers", "rule_exact"}
    early = lake.sql(
        "select scorer, count(*) filter (list_max(activations[1:2]) > 0) as n from predictions "
        "join examples using (example_id) group by scorer"
    )
    n_early = dict(early.iter_rows())
    assert n_early["latecomers"] == 0 < n_early["fuzzing"]
    purposes = lake.sql("select distinct purpose from llm_requests order by all").to_series().to_list()
    assert purposes == ["brief", "fuzzing", "latecomers"]
    assert set(lake.sql("from estimate")["purpose"]) <= set(purposes)


def test_a_changed_key_or_prompt_changes_the_version_of_that_plug_in_alone(newcomers: Newcomers) -> None:
    keys = newcomers.written("keys", scoring={"latecomers": {"first_place": 4}})
    windows = newcomers.written("windows", explaining={"brief": {"n_windows": 1}})
    base, other_key, other_windows = newcomers.versions(newcomers.experiment / "tiny.yaml", keys, windows)
    assert base.keys() == {*EXPLAINERS, *SCORERS}
    assert changed(base, other_key) == {"latecomers"}
    assert changed(base, other_windows) == {"brief"}
    prompt = newcomers.site / "newcomers" / "latecomers" / "one.txt"
    before = prompt.read_text()
    prompt.write_text(before + "Think first.\n")
    [other_prompt] = newcomers.versions(newcomers.experiment / "tiny.yaml")
    prompt.write_text(before)
    assert changed(base, other_prompt) == {"latecomers"}


def test_a_wrong_key_of_a_newcomer_is_one_sentence(newcomers: Newcomers) -> None:
    path = newcomers.written("wrong", scoring={"latecomers": {"first_plaze": 4}})
    done = newcomers.run("-m", "assets.command", "run", str(path))
    assert done.returncode == 2 and "Traceback" not in done.stderr
    words = " ".join(done.stderr.split())
    assert "unknown key 'scoring.latecomers.first_plaze'; nearest known: 'first_place'" in words


def test_a_newcomer_that_cannot_be_imported_is_one_sentence_of_every_command(newcomers: Newcomers) -> None:
    settings = newcomers.site / "newcomers" / "brief" / "settings.py"
    before = settings.read_text()
    settings.write_text("import nowhere")
    done = newcomers.run("-m", "assets.command", "sql", str(newcomers.experiment / "tiny.yaml"), "from saes")
    settings.write_text(before)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    words = " ".join(done.stderr.split())
    assert words.startswith(
        f"error: explainer 'brief' cannot be used because of '{settings}': ModuleNotFoundError"
    )


def test_sql_of_a_newcomer_that_cannot_run_is_one_sentence_before_the_run(newcomers: Newcomers) -> None:
    questions = newcomers.site / "newcomers" / "latecomers" / "questions.sql"
    before = questions.read_text()
    questions.write_text(before.replace("x.role", "x.roll"))
    done = newcomers.run("-m", "assets.command", "estimate", str(newcomers.experiment / "tiny.yaml"))
    questions.write_text(before)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    words = " ".join(done.stderr.split())
    assert (
        words.startswith(f"error: SQL file '{questions}' cannot be run: ")
        and '"roll"' in words
        and '"role"' in words
    )


def changed(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name in one if one[name] != other[name]}
