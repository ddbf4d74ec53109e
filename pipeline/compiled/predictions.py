"""What rules say of every token, against what their features do: the rows of two SQL files from arrays.

A rule that names tokens looks only where these stand, by a list of every token's places; one that names what
stands before looks behind these. One that names no token at all, but a class or a position, is of few forms, which
many features share: where a form says so in the whole corpus is counted once. In SQL, rules and places would be
joined, and each pair tested. A test compares the two.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.passes import Placed
from pipeline.compiled.segments import Function, Ints, compiled
from pipeline.firings.buckets import mapped, read_features

Bits = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int32]

ANYWHERE = 1 << 30
"""A position that none reaches: of a rule without a clause on the position."""


class Rules(NamedTuple):
    """Rules as arrays, by feature.

    Attributes:
        feature: [n_rules], ascending.
        token_starts, token_ids: The tokens of each rule: its first one, [n_rules + 1]; int32 [n].
        token_bits: uint8 [n_rules], the class that it names, as a bit; 0 where it names none.
        before_starts, before_ids, before_bits: Likewise what stands before.
        n_before: [n_rules], tokens before that are looked at; 0: it has no clause on them.
        is_excluded: [n_rules].
        position_below: [n_rules].
    """

    feature: Ints
    token_starts: Ints
    token_ids: Numbers
    token_bits: Bits
    before_starts: Ints
    before_ids: Numbers
    before_bits: Bits
    n_before: Ints
    is_excluded: npt.NDArray[np.bool_]
    position_below: Ints


class Forms(NamedTuple):
    """What rules say that name no token, and so do not depend on the feature.

    Attributes:
        of_rule: [n_rules], each rule's form; -1 of a rule that names tokens.
        n_predicted: [n_forms, n_documents], on how many tokens a form says so.
    """

    of_rule: Ints
    n_predicted: Ints


class Standing(NamedTuple):
    """The corpus by token.

    Attributes:
        starts: [n_tokens + 1], the first place of each token.
        place: int32 [n], the places of the tokens that stand in documents, position 0 included.
        context_document: int32 [n_contexts], each context's document by number from 0.
        document_role: int64 [n_documents], the number of its role.
        document_tokens: int64 [n_documents], its tokens from position 1 on.
        class_bits: uint8 [n_tokens], the classes that a token is of.
    """

    starts: Ints
    place: Numbers
    context_document: Numbers
    document_role: Ints
    document_tokens: Ints
    class_bits: Bits


class Tally(NamedTuple):
    """What is counted of one rule, by document; nothing has to be cleared but the documents with a count.

    Attributes:
        counts: [n_documents, 3], on how many tokens its feature FIRES, on how many it SAYS so, on how many BOTH.
        documents: [n_documents], those with a count, in the order in which they were met.
        n: [1], how many these are.
    """

    counts: Ints
    documents: Ints
    n: Ints


FIRES, SAYS, BOTH = 0, 1, 2

SUMS = (
    *("n_fired_documents", "n_predicted_documents", "n_either_documents", "n_fired", "n_predicted", "n_right"),
    *("right_right", "right_fired", "fired_fired", "right_predicted", "predicted_predicted", "right_either"),
    *("either_either", "wrong_wrong", "wrong_silent", "silent_silent", "tokens_tokens"),
)
"""What is summed over the documents of a role, as in `rule_sums.sql`."""


def _inlined(function: Function) -> Function:
    """A compiled step, put into its loop: a call would count references to every array that it is given."""
    return cast(Function, numba.njit(cache=True, nogil=True, forceinline=True)(function))


def rule_sums(inputs: Inputs) -> pa.Table:
    """`sql/compiled/rule_sums.sql`."""
    rows = inputs.table("proved_rules").sort_by("feature")
    roles, sums = _sum(inputs, rows)
    rule, role = np.nonzero(sums[:, :, SUMS.index("n_either_documents")])
    columns = {name: sums[rule, role, number] for number, name in enumerate(SUMS)}
    return pa.table(
        {"rule_id": rows["rule_id"].take(pa.array(rule)), "role": pa.array(roles).take(pa.array(role)), **columns}
    )


def window_counts(inputs: Inputs) -> pa.Table:
    """`sql/compiled/window_counts.sql`."""
    rows = inputs.table("mined_rules")
    rows = rows.filter(pa.array(np.nan_to_num(rows["n_before"].to_numpy()) > 1)).sort_by("feature")
    roles, sums = _sum(inputs, rows)
    train = sums[:, roles.index("train")] if "train" in roles else np.zeros((len(rows), len(SUMS)), np.int64)
    counts = {name: train[:, SUMS.index(name)] for name in ("n_predicted", "n_right")}
    return pa.table({"rule_id": rows["rule_id"], **counts})


def _sum(inputs: Inputs, rows: pa.Table) -> tuple[list[str], Ints]:
    """The roles of the documents, and what came of rules, by feature: [n_rules, n_roles, SUMS]."""
    documents = inputs.table("corpus_documents")
    roles = sorted(set(documents["role"].to_pylist()))
    sums = np.zeros((len(rows), len(roles), len(SUMS)), np.int64)
    if not len(rows):
        return roles, sums
    rules = _rules(rows, _class_bits(inputs))
    standing = inputs.kept("standing", lambda: _standing(inputs, documents, roles))
    forms = _forms(inputs, rules, standing)
    features = np.unique(rules.feature)
    for bucket in read_features(inputs.lake, inputs.sae, features):
        low, high = np.searchsorted(rules.feature, [bucket.features[0], bucket.features[-1] + 1])
        which = np.searchsorted(bucket.features, rules.feature[low:high])
        of_bucket = low, high, which, bucket.starts, bucket.token_index
        sum_predictions(*of_bucket, rules, forms, standing, inputs.places.at, inputs.places.context_length, sums)
    return roles, sums


def _forms(inputs: Inputs, rules: Rules, standing: Standing) -> Forms:
    """The forms of the rules that name no token; each is counted once in a run."""
    at, length = inputs.places.at, inputs.places.context_length
    known: dict[tuple[int, ...], Ints] = inputs.kept("forms", dict)
    names_none = (np.diff(rules.token_starts) == 0) & (np.diff(rules.before_starts) == 0)
    clauses = (rules.token_bits, rules.before_bits, rules.n_before, rules.is_excluded, rules.position_below)
    of_rule = np.full(len(rules.feature), -1)
    numbers: dict[tuple[int, ...], int] = {}
    for rule in names_none.nonzero()[0]:
        form = tuple(int(clause[rule]) for clause in clauses)
        if form not in known:
            known[form] = predicted_by_document(rule, rules, standing, at, length)
        of_rule[rule] = numbers.setdefault(form, len(numbers))
    counts = [known[form] for form in numbers] or [np.empty(0, np.int64)]
    return Forms(of_rule, np.stack(counts))


def _class_bits(inputs: Inputs) -> dict[str, int]:
    """The bit of each class."""
    names = sorted(set(inputs.table("token_classes")["token_class"].to_pylist()))
    return {name: 1 << number for number, name in enumerate(names)}


def token_class_bits(inputs: Inputs) -> Bits:
    """The classes that each token is of, as bits, uint8 [n_tokens]."""
    rows, bit_of = inputs.table("token_classes"), _class_bits(inputs)
    token_id = rows["token_id"].to_numpy()
    bits = np.zeros(max(inputs.places.n_tokens, token_id.max(initial=-1) + 1), np.uint8)
    names = np.asarray(rows["token_class"].to_pylist())
    for name, bit in bit_of.items():
        bits[token_id[names == name]] |= bit
    return bits


def _rules(rows: pa.Table, bit_of: dict[str, int]) -> Rules:
    """Rows of rules, by feature, as arrays."""
    token_starts, token_ids = flattened(rows["token_ids"])
    before_starts, before_ids = flattened(rows["previous_token_ids"])
    token_bits, before_bits = (
        np.array([bit_of.get(name, 0) for name in rows[column].to_pylist()], np.uint8)
        for column in ("token_class", "previous_class")
    )
    return Rules(
        feature=rows["feature"].to_numpy().astype(np.int64),
        token_starts=token_starts,
        token_ids=token_ids,
        token_bits=np.where(np.diff(token_starts) > 0, 0, token_bits).astype(np.uint8),
        before_starts=before_starts,
        before_ids=before_ids,
        before_bits=before_bits,
        n_before=rows["n_before"].fill_null(0).to_numpy().astype(np.int64),
        is_excluded=rows["is_excluded"].to_numpy().astype(bool),
        position_below=rows["position_below"].fill_null(ANYWHERE).to_numpy().astype(np.int64),
    )


def flattened(column: pa.ChunkedArray) -> tuple[Ints, Numbers]:
    """Lists, null for an empty one, as the first value of each, [n + 1], and all values."""
    lists = column.combine_chunks()
    lengths = lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    return np.concatenate([[0], np.cumsum(lengths)]), lists.flatten().to_numpy().astype(np.int32)


def _standing(inputs: Inputs, documents: pa.Table, roles: Sequence[str]) -> Standing:
    """The corpus by token; documents: `corpus_documents`, by their first context."""
    places = inputs.places
    n_contexts = len(places.at) // places.context_length
    first_context = documents["document_number"].to_numpy()
    context_document = np.searchsorted(first_context, np.arange(n_contexts), side="right") - 1
    starts = first_places(places.at, places.context_length, places.n_tokens)
    place = mapped(inputs.lake, int(starts[-1]), np.dtype(np.int32))
    place_tokens(places.at, places.context_length, starts, place)
    role = np.searchsorted(roles, documents["role"].to_pylist()).astype(np.int64)
    n_tokens = documents["n_tokens"].to_numpy().astype(np.int64)
    bits = token_class_bits(inputs)
    return Standing(starts, place, context_document.astype(np.int32), role, n_tokens, bits)


@compiled
def first_places(at: Placed, context_length: int, n_tokens: int) -> Ints:
    """The first of each token's places in a list by token, and the number of places, [n_tokens + 1]."""
    starts = np.zeros(n_tokens + 1, np.int64)
    for place in range(len(at)):
        if at[place].position == place % context_length:  # beyond a context's end no token stands
            starts[at[place].token_id + 1] += 1
    return np.cumsum(starts)


@compiled
def place_tokens(at: Placed, context_length: int, starts: Ints, places: Numbers) -> None:
    """Fill in the places of the tokens, by token and place; starts: of `first_places`."""
    free = starts.copy()
    for place in range(len(at)):
        if at[place].position == place % context_length:
            token = at[place].token_id
            places[free[token]] = place
            free[token] += 1


@_inlined
def says_so(
    rule: int, place: int, rules: Rules, standing: Standing, at: Placed, is_before: npt.NDArray[np.bool_]
) -> bool:
    """Whether a rule says so at a place that holds a token, one of its own where it names any.

    is_before: [n_tokens], those that the rule names before.
    """
    position = np.int64(at[place].position)
    if position == 0 or position >= rules.position_below[rule]:
        return False
    bits = rules.token_bits[rule]
    if bits and not standing.class_bits[at[place].token_id] & bits:
        return False
    if rules.n_before[rule] == 0:
        return True
    is_there = False
    for back in range(1, min(rules.n_before[rule], position) + 1):
        token = at[place - back].token_id
        is_there |= is_before[token] or standing.class_bits[token] & rules.before_bits[rule] > 0
    return bool(is_there != rules.is_excluded[rule])


@compiled
def predicted_by_document(rule: int, rules: Rules, standing: Standing, at: Placed, context_length: int) -> Ints:
    """On how many tokens of each document, position 0 left out, a rule says so that names none, [n_documents]."""
    counts = np.zeros(len(standing.document_role), np.int64)
    is_before = np.zeros(len(standing.class_bits), np.bool_)
    for place in range(len(at)):
        if at[place].position == place % context_length and says_so(rule, place, rules, standing, at, is_before):
            counts[standing.context_document[place // context_length]] += 1
    return counts


@compiled
def sum_predictions(
    first: int,
    end: int,
    feature_of: Ints,
    firing_starts: Ints,
    token_index: Ints,
    rules: Rules,
    forms: Forms,
    standing: Standing,
    at: Placed,
    context_length: int,
    sums: Ints,
) -> None:
    """Fill in SUMS of the rules from `first` to below `end`, position 0 left out.

    feature_of: [end - first], each rule's feature as its number in the bucket; firing_starts, token_index: the
    bucket's firings; sums: [n_rules, n_roles, SUMS], zeros for these rules.
    """
    n_documents = len(standing.document_role)
    tally = Tally(np.zeros((n_documents, 3), np.int64), np.empty(n_documents, np.int64), np.zeros(1, np.int64))
    # A mark is the number of the rule that set it, from 1, so that nothing has to be cleared.
    fires, seen = np.zeros(len(at), np.int32), np.zeros(len(at), np.int32)
    is_before = np.zeros(len(standing.class_bits), np.bool_)
    places = np.empty(len(at), np.int32)
    for rule in range(first, end):
        mark, form = np.int32(rule - first + 1), forms.of_rule[rule]
        before = rules.before_ids[rules.before_starts[rule] : rules.before_starts[rule + 1]]
        is_before[before] = True
        # 1. Where its feature fires.
        feature = feature_of[rule - first]
        for place in token_index[firing_starts[feature] : firing_starts[feature + 1]]:
            if at[place].position > 0:
                fires[place] = mark
                document = standing.context_document[place // context_length]
                count(tally, document, FIRES, 1)
                if form >= 0 and says_so(rule, place, rules, standing, at, is_before):
                    count(tally, document, BOTH, 1)
        # 2. Where it says so: what its form says of every document, or a look at each place in question.
        if form >= 0:
            for document in range(n_documents):
                if forms.n_predicted[form, document]:
                    count(tally, document, SAYS, forms.n_predicted[form, document])
        else:
            n_places = list_places(rule, mark, rules, standing, at, context_length, seen, places)
            for place in places[:n_places]:
                if says_so(rule, place, rules, standing, at, is_before):
                    document = standing.context_document[place // context_length]
                    count(tally, document, SAYS, 1)
                    if fires[place] == mark:
                        count(tally, document, BOTH, 1)
        is_before[before] = False
        add_up(tally, standing, sums[rule])


@_inlined
def count(tally: Tally, document: int, column: int, n: int) -> None:
    """Count n tokens of a document."""
    if tally.counts[document, FIRES] + tally.counts[document, SAYS] == 0:
        tally.documents[tally.n[0]] = document
        tally.n[0] += 1
    tally.counts[document, column] += n


@compiled
def list_places(
    rule: int,
    mark: np.int32,
    rules: Rules,
    standing: Standing,
    at: Placed,
    context_length: int,
    seen: Numbers,
    places: Numbers,
) -> int:
    """List, each once, the places where a rule that names tokens may say so; how many they are.

    seen: [n_places], the mark of the rule that listed a place last; places: [n_places], to be filled.
    """
    tokens = rules.token_ids[rules.token_starts[rule] : rules.token_starts[rule + 1]]
    before = rules.before_ids[rules.before_starts[rule] : rules.before_starts[rule + 1]]
    n = 0
    if len(tokens):  # where one of its tokens stands
        for token in tokens:
            for place in standing.place[standing.starts[token] : standing.starts[token + 1]]:
                places[n] = place
                n += 1
    elif rules.is_excluded[rule]:  # anywhere
        for place in range(len(at)):
            if at[place].position == place % context_length:
                places[n] = place
                n += 1
    else:  # behind a token that has to stand before
        for token in before:
            for earlier in standing.place[standing.starts[token] : standing.starts[token + 1]]:
                for place in range(earlier + 1, min(earlier + rules.n_before[rule] + 1, len(at))):
                    position = at[place].position
                    is_token = position == place % context_length and position >= place - earlier
                    if is_token and seen[place] != mark:
                        seen[place] = mark
                        places[n] = place
                        n += 1
    return n


@compiled
def add_up(tally: Tally, standing: Standing, sums: Ints) -> None:
    """Add what was counted of a rule to its SUMS by role, [n_roles, SUMS], and forget it."""
    for document in tally.documents[: tally.n[0]]:
        fired, predicted, right = tally.counts[document]
        n_tokens = standing.document_tokens[document]
        wrong, either, silent = predicted - right, fired + predicted, n_tokens - fired
        own = sums[standing.document_role[document]]
        own[0] += fired > 0
        own[1] += predicted > 0
        own[2] += 1
        own[3] += fired
        own[4] += predicted
        own[5] += right
        own[6] += right * right
        own[7] += right * fired
        own[8] += fired * fired
        own[9] += right * predicted
        own[10] += predicted * predicted
        own[11] += right * either
        own[12] += either * either
        own[13] += wrong * wrong
        own[14] += wrong * silent
        own[15] += silent * silent
        own[16] += n_tokens * n_tokens
        tally.counts[document] = 0
    tally.n[0] = 0
