"""The built-in default corpus: English text in every Python installation.

The language reference by topic (`pydoc_data.topics`), the standard library's docstrings by module, and the
READMEs in installed packages' metadata. Sources are parsed, not imported. As installed packages change, a lake
keeps the texts that its first run found (see `sources`).
"""

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

from pipeline.texts.text import Text

_NO_PROSE = {"test", "tests", "idlelib", "lib2to3", "site-packages", "dist-packages", "pydoc_data", "__pycache__"}


def python_texts() -> Iterator[Text]:
    """All texts, ordered by the hash of their unit, so that any prefix is a fair sample."""
    texts = [*_topics(), *_docstrings(), *_readmes()]
    yield from sorted(texts, key=lambda text: hashlib.sha256(text.unit.encode()).digest())


def _topics() -> Iterator[Text]:
    from pydoc_data.topics import topics

    for name, text in topics.items():
        yield Text("python topics", f"topic {name}", text)


def _docstrings() -> Iterator[Text]:
    library = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if _NO_PROSE.intersection(relative.parts):
            continue
        module = ".".join(relative.with_suffix("").parts).removesuffix(".__init__")
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # some installations have templates that are not Python
            continue
        pieces = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node)
                if docstring:
                    pieces.append(f"{getattr(node, 'name', module)}\n{docstring}")
        if pieces:
            yield Text("python docstrings", f"module {module}", "\n\n".join(pieces))


def _readmes() -> Iterator[Text]:
    for distribution in distributions():
        metadata = distribution.metadata
        text = metadata.get("Description") or metadata.get_payload()  # type: ignore[attr-defined]
        if isinstance(text, str) and text.strip() and text.strip() != "UNKNOWN":
            yield Text("package READMEs", f"readme {metadata['Name']}", text)
