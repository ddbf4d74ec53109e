"""`python -m assets.run CONFIG`."""

import os
import sys
from pathlib import Path

from assets.run.experiment import main
from assets.stopping import catch_signals

if __name__ == "__main__":
    os.environ.setdefault("DAGSTER_HOME", str(Path(".dagster").absolute()))
    catch_signals()
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is published and closed. duckdb 2.0's bindings print pages of "leaked instance" when they are
    # torn down after Dagster, so the interpreter is not torn down.
    os._exit(exit_code)
