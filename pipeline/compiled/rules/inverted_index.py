"""The corpus by token: where each token occurs, and how often in which document.

It is made by counting sorts, in two passes each: one counts how many entries a token has, which gives the first of
each; the other puts every entry in the next free row of its token. Tokens are read in the order of the corpus, so
the entries of a token ascend.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled.passes import Tokens
from pipeline.compiling import Bytes, Int32s, Ints, compiled, inlined
from pipeline.firings.buckets import mapped
from pipeline.lake import Lake

Indices = npt.NDArray[np.signedinteger[Any]]


class InvertedIndex(NamedTuple):
    """The corpus by token.

    Attributes:
        starts: [n_tokens + 1], the first entry of each token in `indices`.
        indices: int32, or int64 for a corpus of 2**31 token indices, [n]; the token indices at which each token
            occurs in documents, ascending, position 0 included.
        run_starts: [n_tokens + 1], the first run of each token.
        runs: int32 [n, 2], a document and how often the token occurs in it, position 0 excluded; ascending.
        context_document: int32 [n_contexts], the document number of each context.
        document_role: int64 [n_documents], the number of its role.
        document_tokens: int64 [n_documents], its tokens from position 1 on.
        class_bits: uint8 [n_tokens], the classes that each token is in.
    """

    starts: Ints
    indices: Indices
    run_starts: Ints
    runs: Int32s
    context_document: Int32s
    document_role: Ints
    document_tokens: Ints
    class_bits: Bytes


def index_by_token(
    lake: Lake, tokens: Tokens, context_length: int, context_document: Int32s, n_tokens: int
) -> tuple[Ints, Indices, Ints, Int32s]:
    """`starts`, `indices`, `run_starts` and `runs` of an inverted index; the long ones are mapped from files."""
    starts = _first_indices(tokens, context_length, n_tokens)
    number = np.dtype(np.int32 if len(tokens) < 1 << 31 else np.int64)
    indices = mapped(lake, int(starts[-1]), number)
    _list_indices(tokens, context_length, starts, indices)
    run_starts = _first_runs(tokens, context_length, starts, indices, context_document)
    runs = mapped(lake, 2 * int(run_starts[-1]), np.dtype(np.int32)).reshape(-1, 2)
    _count_runs(tokens, context_length, starts, indices, context_document, runs)
    return starts, indices, run_starts, runs


@inlined
def holds_token(tokens: Tokens, context_length: int, index: int) -> bool:
    """Whether there is a token at a token index: beyond a context's end there is none."""
    return bool(tokens[index].position == index % context_length)


@compiled
def _first_indices(tokens: Tokens, context_length: int, n_tokens: int) -> Ints:
    """The first entry of each token in a list of token indices by token, and the list's length, [n_tokens + 1]."""
    starts = np.zeros(n_tokens + 1, np.int64)
    for index in range(len(tokens)):
        if holds_token(tokens, context_length, index):
            starts[tokens[index].token_id + 1] += 1
    return np.cumsum(starts)


@compiled
def _list_indices(tokens: Tokens, context_length: int, starts: Ints, indices: Indices) -> None:
    """Fill in the token indices of each token, ascending; starts: from `_first_indices`."""
    free = starts.copy()
    for index in range(len(tokens)):
        if holds_token(tokens, context_length, index):
            token = tokens[index].token_id
            indices[free[token]] = index
            free[token] += 1


@compiled
def _first_runs(
    tokens: Tokens, context_length: int, starts: Ints, indices: Indices, context_document: Int32s
) -> Ints:
    """The first run of each token, and the number of runs, [n_tokens + 1]; indices: from `_list_indices`."""
    n_runs = np.zeros(len(starts), np.int64)
    for token in range(len(starts) - 1):
        last = -1  # a document's contexts are neighbours: where the document changes, a new run begins
        for index in indices[starts[token] : starts[token + 1]]:
            document = context_document[index // context_length]
            if tokens[index].position > 0 and document != last:
                n_runs[token + 1] += 1
                last = document
    return np.cumsum(n_runs)


@compiled
def _count_runs(
    tokens: Tokens,
    context_length: int,
    starts: Ints,
    indices: Indices,
    context_document: Int32s,
    runs: Int32s,
) -> None:
    """Fill in the runs, by token and document; runs: int32 [n, 2], zeros."""
    end = 0
    for token in range(len(starts) - 1):
        last = -1
        for index in indices[starts[token] : starts[token + 1]]:
            document = context_document[index // context_length]
            if tokens[index].position > 0:
                if document != last:
                    runs[end, 0] = last = document
                    end += 1
                runs[end - 1, 1] += 1
