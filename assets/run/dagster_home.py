"""Where Dagster keeps its history, and the UI on it."""

import glob
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from pipeline.commands.explore import check_port
from pipeline.config import load_config
from pipeline.errors import ConfigError, LakeError

POSTGRES_VARIABLE = "LATENTLAKE_DAGSTER_POSTGRES"
"""The URL of a Postgres database for Dagster's history, beginning with `POSTGRES_SCHEME`."""

POSTGRES_SCHEME = "postgresql+psycopg2://"
"""It names the driver that dagster-postgres brings: SQLAlchemy's own choice is another."""

_OURS, _POSTGRES = (Path(__file__).parents[1] / name for name in ("dagster.yaml", "postgres.yaml"))


def use_dagster_home() -> None:
    """Make `.dagster/` here Dagster's home, with our settings in it, unless DAGSTER_HOME names another.

    One that is named and is not there yet is made as well.

    Raises:
        LakeError: Dagster would take the path for a pattern, not find the settings there, and so send telemetry;
            or the Postgres that is named for its history does not answer, or is not in the settings.
        ConfigError: What Dagster needs for Postgres is not installed.
    """
    named = os.environ.get("DAGSTER_HOME")
    home = Path(named or ".dagster").absolute()
    if glob.escape(str(home)) != str(home):
        raise LakeError(
            f"Dagster does not find its settings in '{home}', which has a [, a * or a ? in it; let DAGSTER_HOME "
            "name another folder"
        )
    postgres = os.environ.get(POSTGRES_VARIABLE)
    if postgres:
        _check_postgres(postgres)
    settings = home / "dagster.yaml"
    if named and home.is_dir():
        if postgres and not (settings.exists() and "storage:" in settings.read_text(encoding="utf-8")):
            raise LakeError(
                f"{POSTGRES_VARIABLE} is set, but '{settings}', which is yours, names no storage; put into it "
                f"what stands in '{_POSTGRES}', or let DAGSTER_HOME name a folder that is not there yet"
            )
        return
    home.mkdir(parents=True, exist_ok=True)
    parts = [part.read_text(encoding="utf-8") for part in ([_OURS, _POSTGRES] if postgres else [_OURS])]
    settings.write_text("\n".join(parts), encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(home)


def _check_postgres(url: str) -> None:
    """Connect once: Dagster itself tries again for long, and ends with pages."""
    if find_spec("dagster_postgres") is None:
        raise ConfigError(f"{POSTGRES_VARIABLE} is set: install latentlake[postgres]")
    if not url.startswith(POSTGRES_SCHEME):
        raise ConfigError(f"{POSTGRES_VARIABLE} must be {POSTGRES_SCHEME}USER:PASSWORD@HOST/NAME")
    try:
        engine = create_engine(url, connect_args={"connect_timeout": 5})
        engine.connect().close()
        engine.dispose()
    except OperationalError as error:
        why = str(error.orig).strip()
        raise LakeError(f"the Postgres of {POSTGRES_VARIABLE} does not answer: {why}") from None


def open_ui(config: str, port: int) -> NoReturn:
    """Become `dagster dev` on an experiment; it ends with Ctrl-C. Raises LatentlakeError (config, port)."""
    load_config(config)
    check_port(port, "dev")
    use_dagster_home()
    os.environ["LATENTLAKE_CONFIG"] = config
    # Dagster would tell users to type `dg dev`, a command that this project has no use for.
    quiet = "ignore:Function `dev_command` is superseded"
    command = ["-W", quiet, "-m", "dagster", "dev", "-m", "assets.definitions", "-p", str(port)]
    os.execv(sys.executable, [sys.executable, *command])
