"""Carries paid-for results over to a new generation of the corpus by linking their files."""

import contextlib
import shutil
from pathlib import Path

from pipeline.lake.files import Files
from pipeline.tables import TABLES


def carry_over(lake: Files) -> None:
    """Link batches made with an earlier generation into the current versions, together with the scorers' rhos.

    So paid-for results stay visible, and adding documents remakes no batch. The column `generation` shows which
    generation a batch's rows were made with.
    """
    bought = [name for name, table in TABLES.items() if table.partition == "sae_batch"]
    for name in (*bought, "scorer_rhos") if lake.generation else ():
        for sae in lake.config.sae_names:
            for part in lake.parts(name):
                current = lake.folder(name, sae, part)
                for generation in reversed(range(lake.generation)):
                    old = lake.folder(name, sae, part, generation)
                    for path in lake.files_below(old):
                        _link(lake, path, current / path.relative_to(old))


def _link(lake: Files, path: Path, target: Path) -> None:
    if lake.is_there(target):
        return
    if lake.objects is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # a file system without links
            target.hardlink_to(path)
            return
    with lake.writing(target) as temporary:
        shutil.copy2(lake.fetched(path), temporary)
