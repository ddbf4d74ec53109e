"""`make docs`: the pages that need no lake."""

from benchmarks.pages import DOCS
from benchmarks.pages.cost import cost_page
from benchmarks.pages.explainers import explainers_page
from benchmarks.pages.references import config_page, tables_page
from benchmarks.pages.scorers import scorers_page

for name, page in (
    ("tables", tables_page),
    ("config", config_page),
    ("cost", cost_page),
    ("explainers", explainers_page),
    ("scorers", scorers_page),
):
    (DOCS / f"{name}.md").write_text(page(), encoding="utf-8")
