"""Scrambled contexts: does a unigram candidate still fire on its tokens among random ones?

The post's verification. SQL draws the texts, one pass of the subject model reads them, and the firings go through
the store's buffer to SQL again. The pass is done in pieces; after a kill it resumes with the current piece.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from pipeline.features.weights import of_weights
from pipeline.firings.buffers import FiringBuffer
from pipeline.firings.forward import encode_batch, open_reader
from pipeline.lake import SCHEMA_FILE, Lake, Published
from pipeline.make_table import make_table, read_rows
from pipeline.models.tokenising import bos_prefix
from pipeline.progress import progress
from pipeline.subject.contexts import pad_contexts
from pipeline.subject.forward import load_subject, pass_tokens
from pipeline.tables.stages import STAGES

PIECE_TOKENS = 1 << 17
"""Tokens whose firings become one file: the most that a killed pass loses."""


@of_weights
def write_scrambled_contexts(lake: Lake, sae: str) -> Published:
    """Verify an SAE's unigram candidates among random tokens. Raises LakeError if an input is not complete."""
    table = "scrambled_contexts"
    lake.require(*STAGES[table].inputs, sae=sae)
    texts = read_rows(lake, "scrambled_texts", sae=sae, bos_token_id=bos_prefix(lake.config)).sort_by("context_id")
    with lake.resumable(f"{table}-{lake.folder(table, sae).name}-{sae}") as folder:
        _write_firings(lake, sae, texts, folder)
        files = [lake.folder("activation_shards", sae) / SCHEMA_FILE, *sorted(folder.glob("*/*.parquet"))]
        published = make_table(lake, table, sae=sae, given={"scrambled_texts": texts, "scrambled_firings": files})
    return replace(published, figures={"texts_read": texts.num_rows, **published.figures})


def _write_firings(lake: Lake, sae: str, texts: pa.Table, folder: Path) -> None:
    """Leave the firings on each piece of the texts (context_id from 0, all of one length) in its own folder."""
    if not texts.num_rows:
        return
    length = len(texts["token_ids"][0])
    piece_rows = max(1, PIECE_TOKENS // length)
    batch_rows = max(1, pass_tokens(lake.config) // length)
    subject = load_subject(lake.config.subject, lake.config.device)
    readers = {sae: open_reader(lake.config, lake.config.sae(sae), subject.device)}
    with progress(texts.num_rows, f"scrambled contexts of {sae}", "texts") as bar:
        for start in range(0, texts.num_rows, piece_rows):
            target = folder / f"{start:08d}"
            end = min(start + piece_rows, texts.num_rows)
            if not target.exists():
                with lake.writing(target) as temporary:
                    buffer = FiringBuffer(temporary, sae, readers[sae].coder.n_features)
                    for first, last in pairwise([*range(start, end, batch_rows), end]):
                        rows = texts["token_ids"][first:last].to_pylist()
                        batch = pad_contexts(list(enumerate(rows, first)), length)
                        for _, firings in encode_batch(batch, subject, readers):
                            buffer.add(firings)
                    buffer.flush()
            bar.update(end - start)
