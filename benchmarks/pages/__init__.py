"""The generated pages of docs/, which stay true because they come from the code, from results or from a lake.

`make docs` writes `tables.md` and `config.md` (`references`), `cost.md`, `explainers.md` and
`scorers.md`; `make cookbook` writes `cookbook.md`. `benchmarks.report` writes `performance.md`.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RESULTS = ROOT / "benchmarks" / "results"
