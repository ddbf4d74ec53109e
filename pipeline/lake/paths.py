"""Where the tables of a lake are kept, and which of them exist.

A table's files are `<table>/<version>/<partition>.parquet`, next to one empty file with the schema so that a
view never fails.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import Config
from pipeline.errors import LakeError
from pipeline.lake.objects import open_objects
from pipeline.tables import TABLES
from pipeline.tables.definitions import code_of
from pipeline.tables.inputs import parts_of
from pipeline.tables.versions import SourceHashes, Versions

SCHEMA_FILE = "schema.parquet"
LEDGER_FOLDER = "ledger"

MADE_FROM = b"made_from"
"""The key, in the metadata of a version's empty file, of what the version was made from."""


class Partition(NamedTuple):
    """The SAE, shard and batch whose rows a file holds; those by which its table is not partitioned are None."""

    sae: str | None = None
    shard: int | None = None
    batch: int | None = None


class Paths:
    """The paths of one experiment's tables; `hashes` is what they were made from (see `sources.fix_sources`).

    `config` is the given one, with `auto` precisions replaced by the one that the lake has fixed.
    """

    def __init__(self, config: Config, hashes: SourceHashes) -> None:
        self.config = config.in_precision(hashes.dtype) if hashes.dtype else config
        self.hashes = hashes
        self.root = config.lake_folder
        self.objects = open_objects(config)
        self._versions_by_generation: dict[int, Versions] = {}

    def parts(self, table: str) -> tuple[str | None, ...]:
        """The plug-ins that make a table, each with files of its own; None for rows made by no plug-in."""
        return parts_of(self.config, table)

    @property
    def generation(self) -> int:
        """The last generation of the corpus: 0 until documents are added."""
        return len(self.hashes.generations)

    def generations(self, table: str) -> range:
        """The generations of the corpus that a table has files for."""
        match TABLES[table].generations:
            case "first":
                return range(1)
            case "each":
                return range(self.generation + 1)
            case "last":
                return range(self.generation, self.generation + 1)

    def folder(
        self, table: str, sae: str | None = None, part: str | None = None, generation: int | None = None
    ) -> Path:
        """The folder of a table's current version; for a table by SAE or plug-in, of one of them.

        `generation` defaults to the last one that the table has files for.
        """
        if generation is None:
            generation = self.generations(table)[-1]
        own = sae if TABLES[table].is_by_sae else None
        return self.root / table / self._versions(generation).of(table, own, part)

    def current(
        self, table: str, saes: Sequence[str] | None = None
    ) -> Iterator[tuple[str | None, str | None, int]]:
        """SAE, plug-in and generation of each folder of a table's current version; of all SAEs, or of some."""
        saes = self.config.sae_names if saes is None else saes
        return product(saes if TABLES[table].is_by_sae else (None,), self.parts(table), self.generations(table))

    def made_from(self, table: str, sae: str | None = None, part: str | None = None) -> dict[str, Any]:
        """What the current version of a table is made from, as JSON holds it, to tell later what has changed."""
        own = sae if TABLES[table].is_by_sae else None
        code = code_of(self.config, table, part)
        return {"sae": own, "part": part, "settings": self.config.own_settings, "code": code}

    def _versions(self, generation: int) -> Versions:
        if generation not in self._versions_by_generation:
            self._versions_by_generation[generation] = Versions(self.config, self.hashes.at(generation))
        return self._versions_by_generation[generation]

    def path(
        self,
        table: str,
        *,
        sae: str | None = None,
        shard: int | None = None,
        batch: int | None = None,
        part: str | None = None,
        generation: int | None = None,
    ) -> Path:
        """The file of a partition, or its folder if it has several files; `part` is the plug-in that makes it."""
        return self.fetched(self._path(table, Partition(sae, shard, batch), part, generation))

    def _path(
        self, table: str, partition: Partition, part: str | None = None, generation: int | None = None
    ) -> Path:
        sae, shard, batch = partition
        folder = self.folder(table, sae, part, generation)
        match TABLES[table].partition:
            case "all":
                return folder / "all.parquet"
            case "shard":
                return folder / f"{shard:05d}.parquet"
            case "sae_shard":
                return folder / f"{sae}" / f"{shard:05d}"
            case "sae":
                return folder / (f"{sae}" if TABLES[table].is_folder else f"{sae}.parquet")
            case "sae_batch":
                return folder / f"{sae}" / f"{batch:05d}.parquet"
            case "ledger":
                return self.root / TABLES[table].lines_folder

    def paths(
        self, table: str, *, sae: str | None = None, shard: int | None = None, batch: int | None = None
    ) -> list[Path]:
        """The files or folders of a partition: one per generation and plug-in."""
        return [
            self.path(table, sae=sae, shard=shard, batch=batch, part=part, generation=generation)
            for generation in self.generations(table)
            for part in self.parts(table)
        ]

    def fetched(self, path: Path) -> Path:
        """The same path, after fetching what an object store has published at or below it."""
        if self.objects is not None:
            self.objects.fetch(path)
        return path

    def fetched_lines(self, folder: Path) -> Path:
        """The same folder, after fetching the lines that other machines have sealed below it."""
        if self.objects is not None:
            self.objects.journals.fetch(folder)
        return folder

    def files_below(self, folder: Path) -> Iterator[Path]:
        """The Parquet files published below a folder; they may not have been fetched yet."""
        if self.objects is None:
            return folder.rglob("*.parquet")
        return (self.root / name for name in self.objects.published(folder) if name.endswith(".parquet"))

    def is_there(self, path: Path) -> bool:
        """Whether a file or folder of the lake is published; it may not have been fetched yet."""
        return path.exists() if self.objects is None else self.objects.has(path)

    def has(
        self,
        table: str,
        *,
        sae: str | None = None,
        shard: int | None = None,
        batch: int | None = None,
        generation: int | None = None,
    ) -> bool:
        """Whether the current version has the partition, from every plug-in, for every generation or one."""
        generations = self.generations(table) if generation is None else [generation]
        return self._has(table, Partition(sae, shard, batch), generations)

    def _has(self, table: str, partition: Partition, generations: Iterable[int]) -> bool:
        return all(
            self.is_there(self._path(table, partition, part, generation))
            for generation in generations
            for part in self.parts(table)
        )

    def missing_generations(self, table: str, *, shard: int | None = None) -> list[int]:
        """The generations for which the partition is not published; all of them if none is missing."""
        all_of_them = self.generations(table)
        missing = [each for each in all_of_them if not self.has(table, shard=shard, generation=each)]
        return missing or list(all_of_them)

    def is_complete(self, table: str, sae: str | None = None, batch: int | None = None) -> bool:
        """Whether every partition of the table exists; with `sae` and `batch`, every one of these."""
        generations = self.generations(table)
        return all(self._has(table, each, generations) for each in self._partitions(table, sae, batch))

    def _partitions(self, table: str, sae: str | None, batch: int | None) -> list[Partition]:
        """The partitions of a table whose files are published; with `sae` and `batch`, those of these."""
        saes = [sae] if sae else self.config.sae_names
        shards = range(self.config.corpus.shards)
        batches = range(self.config.n_batches) if batch is None else [batch]
        match TABLES[table].partition:
            case "all":
                return [Partition()]
            case "shard":
                return [Partition(shard=shard) for shard in shards]
            case "sae_shard":
                return [Partition(each, shard=shard) for each in saes for shard in shards]
            case "sae":
                return [Partition(each) for each in saes]
            case "sae_batch":
                return [Partition(each, batch=number) for each in saes for number in batches]
            case "ledger":
                return []

    def require(self, *tables: str, sae: str | None = None, batch: int | None = None) -> None:
        """Raise LakeError, naming what to materialise, unless these tables are complete."""
        for table in tables:
            if not self.is_complete(table, sae, batch):
                of = f" of SAE '{sae}'" if sae and TABLES[table].is_by_sae else ""
                of += f", batch {batch}" if batch is not None and TABLES[table].partition == "sae_batch" else ""
                raise LakeError(
                    f"table '{table}'{of} is not complete in '{self.root}'; materialise "
                    f"'{self.config.name}/{table}' first, as make run does"
                )

    def require_current(self, *tables: str) -> None:
        """Raise LakeError for a table of which only other versions have rows: they would look like none at all."""
        for table in tables:
            current = {self.folder(table, *of).name for of in self.current(table)}
            files = [path for path in self.files_below(self.root / table) if path.name != SCHEMA_FILE]
            versions = {path.relative_to(self.root / table).parts[0] for path in files}
            if versions and not versions & current:
                raise LakeError(
                    f"the rows of '{table}' in '{self.root}' were made by another config or another version of "
                    "latentlake; run again (recorded answers are not paid for again)"
                )
