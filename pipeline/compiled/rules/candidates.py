"""The inputs of rule mining, and candidates, as arrays."""

from typing import NamedTuple

from pipeline.compiling import Bytes, Doubles, Int32s, Ints


class Windows(NamedTuple):
    """The tokens before each token of the train documents.

    Attributes:
        sizes: [n_windows], number of preceding tokens in each window, ascending.
        starts: [n_windows, n_tokens + 1], the first pair of each token, and the number of pairs.
        before: int32 [n], the other token of each pair of a window, ascending for each token.
        n_tokens: int32 [n], number of tokens that have it in the window.
        class_bits: uint8 [n_tokens].
        anywhere: [n_windows, n_classes + 1, n_tokens], number of tokens that have each token in the window: of all
            tokens, and of those of each class.
        position_tokens: [context_length], tokens at each position.
    """

    sizes: Ints
    starts: Ints
    before: Int32s
    n_tokens: Int32s
    class_bits: Bytes
    anywhere: Ints
    position_tokens: Ints


class Wanted(NamedTuple):
    """The features whose contexts are counted, by feature.

    Attributes:
        floor: The F1 that a rule must reach.
        starts: [n_features x N_SETS + 1], the first token of each of its sets.
        tokens: int32 [n].
    """

    floor: Doubles
    starts: Ints
    tokens: Int32s


class Limits(NamedTuple):
    """Limits on candidates.

    Attributes:
        min_support: Minimum firings with it before.
        discount: Subtracted from these.
        max_tokens: Maximum tokens of a rule's set; twice as many are candidates.
    """

    min_support: int
    discount: float
    max_tokens: int


class Sets(NamedTuple):
    """Chosen sets.

    Attributes:
        purpose, limit: [n_sets], indices of its purpose and its size limit.
        starts: [n_sets + 1], the first token of each.
        token_ids: int32 [n], best token first.
        sums: [n_sets, 2], hits and tokens, with those of the base.
    """

    purpose: Ints
    limit: Ints
    starts: Ints
    token_ids: Int32s
    sums: Doubles


class Candidates(NamedTuple):
    """Candidates as columns, [n]: feature as its number in the bucket; condition 0: any token, then the classes,
    then the sets; window -1: a position instead of a token; is_excluded: it must not precede."""

    codes: Ints
    sums: Doubles
