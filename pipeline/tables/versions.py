"""The hash that names a table's version.

A version covers what defines a table's rows (`definitions`) and the versions of its inputs (`inputs`), for the
partition's own SAE only. At the two roots it covers content: the corpus's texts and the SAE's weights (`sources`).
So equal hash, equal table; a change anywhere upstream makes a new folder (`lake.paths`), and leaves the old one
alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.config import Config
from pipeline.tables import TABLES
from pipeline.tables.definitions import definition_of, digest_of_json
from pipeline.tables.inputs import inputs_of_part, parts_of, parts_read
from pipeline.tables.stages import STAGES


@dataclass(frozen=True)
class SourceHashes:
    """What a lake was made from, fixed at its first run.

    Attributes:
        corpus: Digest of the corpus's texts.
        saes: Digest of each SAE's files.
        dtype: The precision that `auto` stands for; None until a run has determined it.
        generations: Digests of added documents, one per generation after the first.
    """

    corpus: str = ""
    saes: Mapping[str, str] = field(default_factory=dict)
    dtype: str | None = None
    generations: tuple[str, ...] = ()

    def at(self, generation: int) -> "SourceHashes":
        """What the lake was made from as of a generation of the corpus."""
        return replace(self, generations=self.generations[:generation])


class Versions:
    """The versions of a config's tables; each is computed once.

    With empty `hashes` and no SAE they cover definitions only, which are known before any file is read: Dagster's
    `code_version`. `known` are versions by table, SAE and part that are not to be computed.
    """

    def __init__(
        self,
        config: Config,
        hashes: SourceHashes,
        known: Mapping[tuple[str, str | None, str | None], str] | None = None,
    ) -> None:
        self._config = config
        self._hashes = hashes
        self._known = {**(known or {})}

    def of(self, table: str, sae: str | None = None, part: str | None = None) -> str:
        """The version of a table as 12 hex digits; for a table of an SAE, of that SAE's part of it.

        A table made by plug-ins has a version per plug-in (`part`), so that adding a scorer or changing a prompt
        does not remake other scorers' rows. The version of the whole table, which its readers' versions include,
        covers all parts. Rows made by no plug-in have the version without a part.
        """
        if (table, sae, part) not in self._known:
            self._known[table, sae, part] = digest_of_json(self._covered(table, sae, part))[:12]
        return self._known[table, sae, part]

    def _covered(self, table: str, sae: str | None, part: str | None) -> dict[str, Any]:
        """What a version covers, as JSON can hold it."""
        config, stage, parts = self._config, STAGES[table], parts_of(self._config, table)
        if part is None and None not in parts:
            return {str(each): self.of(table, sae, each) for each in parts}
        covered = definition_of(config, table, part)
        read = inputs_of_part(config, table, part)
        covered["inputs"] = {name: self._of_input(table, sae, part, name) for name in read}
        if stage.plugins and stage.makes_unwritten:
            # They may read the table itself, which does not exist yet when they are made unwritten.
            itself = {(table, sae, part): "", (table, sae, None): ""}
            without = Versions(config, self._hashes, {**self._known, **itself})
            made = stage.makes_unwritten
            covered["unwritten"] = {name: without._of_input(table, sae, part, name) for name in made}
        if (content := self._content(table, sae)) is not None:
            covered["content"] = content
        return covered

    def _content(self, table: str, sae: str | None) -> Any:
        """The content of the files that a table at the root is made from; None for all other tables."""
        hashes = self._hashes
        if table == "documents":
            return [hashes.corpus, *hashes.generations] if hashes.generations else hashes.corpus
        if table == "saes" and sae is not None:
            own = self._config.sae(sae)
            return [own.name, own.hookpoint, own.centred, own.format, hashes.saes.get(sae, "")]
        return None

    def _of_input(self, table: str, sae: str | None, part: str | None, name: str) -> Any:
        """The version of an input; of every SAE's part where a table over all SAEs reads a table of one."""
        parts = parts_read(self._config, table, part, name)
        reads_all = TABLES[table].partition == "all" and TABLES[name].partition in {"sae", "sae_batch"}
        if reads_all and self._hashes.saes:
            return {each: self._of_parts(name, each, parts) for each in self._config.sae_names}
        return self._of_parts(name, sae, parts)

    def _of_parts(self, table: str, sae: str | None, parts: tuple[str | None, ...]) -> Any:
        if len(parts) == 1:
            return self.of(table, sae, parts[0])
        return {str(each): self.of(table, sae, each) for each in parts}
