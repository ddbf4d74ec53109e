"""Where Dagster keeps its history, and the UI on it."""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

_FOLDER = Path(__file__).parents[1]


def use_dagster_home() -> None:
    """Make `.dagster/` here Dagster's home, with our settings in it, unless DAGSTER_HOME names another."""
    if os.environ.get("DAGSTER_HOME"):
        return
    home = Path(".dagster").absolute()
    home.mkdir(exist_ok=True)
    shutil.copy(_FOLDER / "dagster.yaml", home)
    os.environ["DAGSTER_HOME"] = str(home)


def open_ui(config: str) -> NoReturn:
    """Become `dagster dev` on an experiment; it ends with Ctrl-C."""
    use_dagster_home()
    os.environ["LATENTLAKE_CONFIG"] = config
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", "-m", "assets.definitions"])
