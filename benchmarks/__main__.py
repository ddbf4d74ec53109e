"""`make bench`: every benchmark of a scale, one after another, each in its own process."""

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

_OTHERS = {"__main__", "pictures", "report"}
"""Commands of this folder that measure nothing."""


def main() -> int:
    """Run the named benchmarks, or all of a scale; returns the number of failures."""
    commands = (path for path in Path(__file__).parent.glob("*.py") if "\ndef main()" in path.read_text("utf-8"))
    known = sorted(path.stem for path in commands if path.stem not in _OTHERS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"any of {', '.join(known)}; default: all of the scale")
    parser.add_argument("--scale", choices=("small", "large"), default="small")
    given = parser.parse_args()
    unknown = set(given.names) - set(known)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = 0
    for name in given.names or known:
        scales = getattr(importlib.import_module(f"benchmarks.{name}"), "SCALES", ("small",))
        if given.scale in scales:
            command = [sys.executable, "-m", f"benchmarks.{name}"]
            command += ["--scale", given.scale] if len(scales) > 1 else []
            failed += subprocess.run(command, check=False).returncode != 0
        elif given.names:
            print(f"{name} has no scale '{given.scale}'; it has {', '.join(scales)}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
