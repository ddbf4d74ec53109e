"""Where Dagster keeps its history, and the UI on it."""

import glob
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from pipeline.errors import LakeError

_FOLDER = Path(__file__).parents[1]


def use_dagster_home() -> None:
    """Make `.dagster/` here Dagster's home, with our settings in it, unless DAGSTER_HOME names another.

    One that is named and is not there yet is made as well.

    Raises LakeError for a path that Dagster takes for a pattern: it would not find the settings there, and so send
    telemetry.
    """
    named = os.environ.get("DAGSTER_HOME")
    home = Path(named or ".dagster").absolute()
    if glob.escape(str(home)) != str(home):
        raise LakeError(
            f"Dagster does not find its settings in '{home}', which has a [, a * or a ? in it; let DAGSTER_HOME "
            "name another folder"
        )
    if named and home.is_dir():
        return
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(_FOLDER / "dagster.yaml", home)
    os.environ["DAGSTER_HOME"] = str(home)


def open_ui(config: str) -> NoReturn:
    """Become `dagster dev` on an experiment; it ends with Ctrl-C."""
    use_dagster_home()
    os.environ["LATENTLAKE_CONFIG"] = config
    # Dagster would tell users to type `dg dev`, a command that this project has no use for.
    quiet = "ignore:Function `dev_command` is superseded"
    os.execv(sys.executable, [sys.executable, "-W", quiet, "-m", "dagster", "dev", "-m", "assets.definitions"])
