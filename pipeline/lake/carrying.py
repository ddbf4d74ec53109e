"""Carries paid-for results over to a new generation of the corpus by linking their files."""

import contextlib
import shutil
from pathlib import Path

from pipeline.lake.files import Files
from pipeline.tables import TABLES

_BOUGHT = [name for name, table in TABLES.items() if table.partition == "sae_batch"]


def carry_over(lake: Files) -> None:
    """Link batches made with an earlier generation into the current versions, together with the scorers' rhos.

    So paid-for results stay visible, and adding documents remakes no batch. The column `generation` shows which
    generation a batch's rows were made with.
    """
    for name in (*_BOUGHT, "scorer_rhos") if lake.generation else ():
        for sae in lake.config.sae_names:
            for part in lake.parts(name):
                current = lake.folder(name, sae, part)
                for generation in reversed(range(lake.generation)):
                    old = lake.folder(name, sae, part, generation)
                    for path in lake.files_below(old):
                        _link(lake, path, current / path.relative_to(old))


def carry_batch_over(lake: Files, sae: str, batch: int) -> None:
    """Link one batch, which a run that began before the corpus grew may have made since `carry_over`."""
    for name in _BOUGHT if lake.generation else ():
        for part in lake.parts(name):
            target, *old = [
                lake.path(name, sae=sae, batch=batch, part=part, generation=generation)
                for generation in reversed(range(lake.generation + 1))
            ]
            for path in filter(lake.is_there, old):
                _link(lake, path, target)


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
