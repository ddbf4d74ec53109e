"""Where Dagster keeps its history, and the UI that shows it."""

import glob
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import dagster as dg
import yaml
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from assets.processes import end_dead_runs
from pipeline.commands.explore import check_port
from pipeline.config import load_config
from pipeline.errors import ConfigError, LakeError, LatentlakeError

POSTGRES_VARIABLE = "LATENTLAKE_DAGSTER_POSTGRES"
"""The environment variable with the URL of a Postgres database for Dagster's history."""

_POSTGRES_SCHEME = "postgresql+psycopg2://"
"""How the URL must begin: with the driver that dagster-postgres brings, which is not SQLAlchemy's default."""

_OURS, _POSTGRES = (Path(__file__).parents[1] / name for name in ("dagster.yaml", "postgres.yaml"))

CODE_FOLDER = Path(__file__).parents[2]
"""The folder of the packages `assets` and `pipeline`, from which Dagster's processes import them."""


def use_dagster_home() -> None:
    """Use `.dagster/` in the working directory, with our settings, as Dagster's home, unless DAGSTER_HOME is set.

    A folder that DAGSTER_HOME names is created if it does not exist.

    Raises:
        LakeError: Dagster would read the path as a glob pattern, miss the settings in it, and so send telemetry;
            or the Postgres database for its history does not answer, or is not in the user's own settings.
        ConfigError: The package that Dagster needs for Postgres is not installed.
    """
    named = os.environ.get("DAGSTER_HOME")
    home = Path(named or ".dagster").absolute()
    if glob.escape(str(home)) != str(home):
        raise LakeError(
            f"Dagster does not find its settings in '{home}', because the path contains a [, * or ?; set "
            "DAGSTER_HOME to another folder"
        )
    postgres = os.environ.get(POSTGRES_VARIABLE)
    if postgres:
        _check_postgres(postgres)
    settings = home / "dagster.yaml"
    if named and home.is_dir():
        if postgres and not (settings.exists() and "storage:" in settings.read_text(encoding="utf-8")):
            raise LakeError(
                f"{POSTGRES_VARIABLE} is set, but your own '{settings}' configures no storage; add the contents "
                f"of '{_POSTGRES}' to it, or set DAGSTER_HOME to a folder that does not exist yet"
            )
        return
    home.mkdir(parents=True, exist_ok=True)
    parts = [part.read_text(encoding="utf-8") for part in ([_OURS, _POSTGRES] if postgres else [_OURS])]
    settings.write_text("\n".join(parts), encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(home)


def _check_postgres(url: str) -> None:
    """Connect once: Dagster itself would retry for long, and fail with pages of output."""
    if find_spec("dagster_postgres") is None:
        raise ConfigError(f"{POSTGRES_VARIABLE} is set; install latentlake[postgres]")
    if not url.startswith(_POSTGRES_SCHEME):
        raise ConfigError(f"{POSTGRES_VARIABLE} must be {_POSTGRES_SCHEME}USER:PASSWORD@HOST/NAME")
    try:
        engine = create_engine(url, connect_args={"connect_timeout": 5})
        engine.connect().close()
        engine.dispose()
    except OperationalError as error:
        why = str(error.orig).strip()
        raise LakeError(f"the Postgres database that {POSTGRES_VARIABLE} names does not answer: {why}") from None


def open_ui(config: str, port: int) -> NoReturn:
    """Replace this process by `dagster dev` on an experiment, until Ctrl-C.

    Raises LatentlakeError if the config is wrong, the port is taken, or the extra `ui` is not installed.
    """
    name = load_config(config).name
    if find_spec("dagster_webserver") is None:
        raise LatentlakeError("the Dagster UI needs 'dagster_webserver'; install latentlake with its extra 'ui'")
    check_port(port, "dev")
    use_dagster_home()
    with dg.DagsterInstance.get() as instance:
        end_dead_runs(instance)
    os.environ["LATENTLAKE_CONFIG"] = config
    # A `pipeline.py` in the working directory is not ours: `python -m`, here and in the processes that Dagster
    # starts, would import it, and Dagster itself loads from the working directory if no other is given.
    os.environ["PYTHONSAFEPATH"] = "1"
    workspace = _write_workspace(name)
    # Dagster would advise users to run `dg dev` instead, which does not work here.
    quiet = "ignore:Function `dev_command` is superseded"
    command = ["-W", quiet, "-m", "dagster", "dev", "-w", str(workspace), "-p", str(port)]
    os.execv(sys.executable, [sys.executable, *command])


def _write_workspace(experiment: str) -> Path:
    """Write the file that names the experiment's code location; its path.

    Dagster remembers by code location which schedules and sensors are on. So what is switched on in one
    experiment, and may spend money there, stays off in others.
    """
    code = {
        "module_name": "assets.definitions",
        "working_directory": str(CODE_FOLDER),
        "location_name": experiment,
    }
    folder = Path(os.environ["DAGSTER_HOME"]) / "workspaces"
    folder.mkdir(exist_ok=True)
    path = folder / f"{experiment}.yaml"
    path.write_text(yaml.safe_dump({"load_from": [{"python_module": code}]}), encoding="utf-8")
    return path
