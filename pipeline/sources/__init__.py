"""What a lake was made from: its corpus, SAEs and subject model, fixed at the first run."""

from pipeline.sources.fixing import fix_sources, look_at_sources
from pipeline.sources.reading import corpus_texts, new_documents
from pipeline.sources.record import SOURCES_FILE, open_sources, passed_checks, recorded_lake, sources_to_read

__all__ = [
    "SOURCES_FILE",
    "corpus_texts",
    "fix_sources",
    "look_at_sources",
    "new_documents",
    "open_sources",
    "passed_checks",
    "recorded_lake",
    "sources_to_read",
]
