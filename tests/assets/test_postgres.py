"""Dagster's history in Postgres: a whole run on a real server, read back from it."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
from postgres_server import IS_HERE, postgres_server
from tiny import write_experiment

from assets.command import run_command
from assets.graph.build import JOBS
from assets.graph.missing import tables_of
from assets.run import dagster_home
from assets.run.dagster_home import POSTGRES_VARIABLE, use_dagster_home
from pipeline.config import load_config
from pipeline.errors import ConfigError, LakeError

ASKED = {"provider": "oracle", "model": "oracle"}


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("dagster_postgres", reason="latentlake[postgres] is not installed")
    if not IS_HERE:
        pytest.skip("no initdb, pg_ctl and postgres on the PATH")
    with postgres_server() as found:
        monkeypatch.setenv(POSTGRES_VARIABLE, found)
        yield found


@pytest.mark.postgres
def test_a_run_has_its_history_in_postgres(
    url: str, tmp_path: Path, tiny_subject: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    scoring = {**ASKED, "scorers": ["detection"]}
    path = write_experiment(tmp_path, subject={"model": str(tiny_subject)}, explaining=ASKED, scoring=scoring)
    assert run_command(["run", str(path)]) == 0
    config = load_config(path)
    made = {table.name for job in JOBS for table in tables_of(config, job)}
    with dg.DagsterInstance.get() as instance:
        assert type(instance.run_storage).__module__.startswith("dagster_postgres")
        runs = instance.get_runs()
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        assert {run.job_name for run in runs} >= {"corpus", "cache", "prepare", "explain_and_score"}
        seen = {
            key.path[-1] for key in instance.all_asset_keys() if instance.get_latest_materialization_event(key)
        }
    assert seen == made
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("select count(*) from runs")).scalar_one() == len(runs)
    engine.dispose()
    assert not list((tmp_path / "dagster").rglob("*.db"))  # SQLite keeps nothing beside


@pytest.mark.postgres
def test_settings_of_the_user_without_a_storage_are_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with pytest.raises(LakeError, match=r"configures no storage; add the contents of '.*postgres\.yaml'"):
        use_dagster_home()


def test_what_is_wrong_with_postgres_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv(POSTGRES_VARIABLE, "postgresql://user:secret@host/name")
    monkeypatch.setattr(dagster_home, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"install latentlake\[postgres\]"):
        use_dagster_home()
    monkeypatch.setattr(dagster_home, "find_spec", lambda name: name)
    with pytest.raises(ConfigError, match=r"must be postgresql\+psycopg2://USER"):
        use_dagster_home()
    assert not (tmp_path / "dagster").exists()
