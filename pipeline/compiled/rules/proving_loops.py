"""Compiled loops that compare what rules say of tokens with what their features do; `proving` makes rows of it.

A rule that names tokens is asked only where these stand, by a list of every token's places, and one that names
nothing else by how often each document has them; one that names what stands before is asked behind these. Where
rule and feature agree is found at the feature's firings, so no loop needs room for the whole corpus.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled.passes import Placed
from pipeline.compiling import Bytes, Int32s, Ints, compiled, inlined

Bools = npt.NDArray[np.bool_]

FIRES, SAYS, BOTH = 0, 1, 2
"""The columns of a tally."""

SUMS = np.dtype(
    [
        (name, np.int64)
        for name in (
            *("n_fired_documents", "n_predicted_documents", "n_either_documents"),
            *("n_fired", "n_predicted", "n_right"),
            *("right_right", "right_fired", "fired_fired", "right_predicted", "predicted_predicted"),
            *("right_either", "either_either", "wrong_wrong", "wrong_silent", "silent_silent", "tokens_tokens"),
        )
    ]
)
"""What is summed over the documents of a role, as in `rule_sums.sql`."""


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
    token_ids: Int32s
    token_bits: Bytes
    before_starts: Ints
    before_ids: Int32s
    before_bits: Bytes
    n_before: Ints
    is_excluded: Bools
    position_below: Ints


class Forms(NamedTuple):
    """What rules say that name no token, and so do not depend on the feature.

    Attributes:
        of_rule: [n_rules], each rule's form; -1 of a rule that names tokens.
        n_predicted: int32 [n_forms, n_documents], on how many tokens a form says so.
    """

    of_rule: Ints
    n_predicted: Int32s


class Standing(NamedTuple):
    """The corpus by token.

    Attributes:
        starts: [n_tokens + 1], the first place of each token.
        place: int32, int64 in a corpus of 2**31 places, [n]; the places of the tokens that stand in documents,
            ascending for each token, position 0 included.
        run_starts: [n_tokens + 1], the first run of each token.
        runs: int32 [n, 2], a document and how often it has the token, position 0 left out; ascending.
        context_document: int32 [n_contexts], each context's document by number from 0.
        document_role: int64 [n_documents], the number of its role.
        document_tokens: int64 [n_documents], its tokens from position 1 on.
        class_bits: uint8 [n_tokens], the classes that a token is of.
    """

    starts: Ints
    place: npt.NDArray[np.signedinteger[Any]]
    run_starts: Ints
    runs: Int32s
    context_document: Int32s
    document_role: Ints
    document_tokens: Ints
    class_bits: Bytes


class Named(NamedTuple):
    """The tokens that one rule names, bool [n_tokens] each: as the token itself, and before it."""

    is_own: Bools
    is_before: Bools


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


@compiled
def first_places(at: Placed, context_length: int, n_tokens: int) -> Ints:
    """The first of each token's places in a list by token, and the number of places, [n_tokens + 1]."""
    starts = np.zeros(n_tokens + 1, np.int64)
    for place in range(len(at)):
        if at[place].position == place % context_length:  # beyond a context's end no token stands
            starts[at[place].token_id + 1] += 1
    return np.cumsum(starts)


@compiled
def place_tokens(
    at: Placed, context_length: int, starts: Ints, places: npt.NDArray[np.signedinteger[Any]]
) -> None:
    """Fill in the places of the tokens, by token and place; starts: of `first_places`."""
    free = starts.copy()
    for place in range(len(at)):
        if at[place].position == place % context_length:
            token = at[place].token_id
            places[free[token]] = place
            free[token] += 1


@compiled
def first_runs(
    at: Placed,
    context_length: int,
    starts: Ints,
    places: npt.NDArray[np.signedinteger[Any]],
    context_document: Int32s,
) -> Ints:
    """The first of each token's runs, and the number of runs, [n_tokens + 1]; places: of `place_tokens`."""
    n_runs = np.zeros(len(starts), np.int64)
    for token in range(len(starts) - 1):
        last = -1
        for place in places[starts[token] : starts[token + 1]]:
            document = context_document[place // context_length]
            if at[place].position > 0 and document != last:
                n_runs[token + 1] += 1
                last = document
    return np.cumsum(n_runs)


@compiled
def count_runs(
    at: Placed,
    context_length: int,
    starts: Ints,
    places: npt.NDArray[np.signedinteger[Any]],
    context_document: Int32s,
    runs: Int32s,
) -> None:
    """Fill in the runs of the tokens, by token and document; runs: int32 [n, 2], zeros."""
    end = 0
    for token in range(len(starts) - 1):
        last = -1
        for place in places[starts[token] : starts[token + 1]]:
            document = context_document[place // context_length]
            if at[place].position > 0:
                if document != last:
                    runs[end, 0] = last = document
                    end += 1
                runs[end - 1, 1] += 1


@inlined
def says_so(rule: int, place: int, rules: Rules, standing: Standing, at: Placed, named: Named) -> bool:
    """Whether a rule says so at a place that holds a token."""
    position, token = np.int64(at[place].position), at[place].token_id
    if position == 0 or position >= rules.position_below[rule]:
        return False
    if rules.token_starts[rule] < rules.token_starts[rule + 1]:
        if not named.is_own[token]:
            return False
    elif rules.token_bits[rule] and not standing.class_bits[token] & rules.token_bits[rule]:
        return False
    if rules.n_before[rule] == 0:
        return True
    is_there = False
    for back in range(1, min(rules.n_before[rule], position) + 1):
        before = at[place - back].token_id
        is_there |= named.is_before[before] or standing.class_bits[before] & rules.before_bits[rule] > 0
    return bool(is_there != rules.is_excluded[rule])


@compiled
def predicted_by_document(
    rule: int, rules: Rules, standing: Standing, at: Placed, context_length: int, counts: Int32s
) -> None:
    """Count on how many tokens of each document, position 0 left out, a rule says so that names none.

    counts: int32 [n_documents], zeros.
    """
    named = Named(np.zeros(0, np.bool_), np.zeros(len(standing.class_bits), np.bool_))
    for place in range(len(at)):
        if at[place].position == place % context_length and says_so(rule, place, rules, standing, at, named):
            counts[standing.context_document[place // context_length]] += 1


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
    sums: npt.NDArray[np.void],
) -> None:
    """Fill in SUMS of the rules from `first` to below `end`, position 0 left out.

    feature_of: [end - first], each rule's feature as its number in the bucket; firing_starts, token_index: the
    bucket's firings; sums: SUMS [n_rules, n_roles], zeros for these rules.
    """
    n_tokens, n_documents = len(standing.class_bits), len(standing.document_role)
    tally = Tally(np.zeros((n_documents, 3), np.int64), np.empty(n_documents, np.int64), np.zeros(1, np.int64))
    named = Named(np.zeros(n_tokens, np.bool_), np.zeros(n_tokens, np.bool_))
    for rule in range(first, end):
        tokens = rules.token_ids[rules.token_starts[rule] : rules.token_starts[rule + 1]]
        before = rules.before_ids[rules.before_starts[rule] : rules.before_starts[rule + 1]]
        named.is_own[tokens] = True
        named.is_before[before] = True
        # 1. Where its feature fires, and whether it says so there.
        feature = feature_of[rule - first]
        for place in token_index[firing_starts[feature] : firing_starts[feature + 1]]:
            if at[place].position > 0:
                document = standing.context_document[place // context_length]
                count(tally, document, FIRES, 1)
                if says_so(rule, place, rules, standing, at, named):
                    count(tally, document, BOTH, 1)
        # 2. Where it says so at all: what its form says of every document, or a look at each place in question.
        form = forms.of_rule[rule]
        if form >= 0:
            for document in range(n_documents):
                if forms.n_predicted[form, document]:
                    count(tally, document, SAYS, forms.n_predicted[form, document])
        elif len(tokens) and rules.n_before[rule] == 0 and rules.position_below[rule] >= context_length:
            for token in tokens:
                for document, n in standing.runs[standing.run_starts[token] : standing.run_starts[token + 1]]:
                    count(tally, document, SAYS, n)
        elif len(tokens):
            count_where_tokens_stand(rule, tokens, rules, standing, at, context_length, named, tally)
        elif rules.is_excluded[rule]:
            count_anywhere(rule, rules, standing, at, context_length, named, tally)
        else:
            count_behind_tokens(rule, before, rules, standing, at, context_length, named, tally)
        named.is_own[tokens] = False
        named.is_before[before] = False
        add_up(tally, standing, sums[rule])


@compiled
def count_where_tokens_stand(
    rule: int,
    tokens: Int32s,
    rules: Rules,
    standing: Standing,
    at: Placed,
    context_length: int,
    named: Named,
    tally: Tally,
) -> None:
    """Count where a rule says so whose own tokens these are."""
    for token in tokens:
        for place in standing.place[standing.starts[token] : standing.starts[token + 1]]:
            if says_so(rule, place, rules, standing, at, named):
                count(tally, standing.context_document[place // context_length], SAYS, 1)


@compiled
def count_anywhere(
    rule: int, rules: Rules, standing: Standing, at: Placed, context_length: int, named: Named, tally: Tally
) -> None:
    """Count where a rule says so, of all places that hold a token."""
    for place in range(len(at)):
        if at[place].position == place % context_length and says_so(rule, place, rules, standing, at, named):
            count(tally, standing.context_document[place // context_length], SAYS, 1)


@compiled
def count_behind_tokens(
    rule: int,
    before: Int32s,
    rules: Rules,
    standing: Standing,
    at: Placed,
    context_length: int,
    named: Named,
    tally: Tally,
) -> None:
    """Count where a rule says so because one of these tokens stands before."""
    for token in before:
        for earlier in standing.place[standing.starts[token] : standing.starts[token + 1]]:
            for place in range(earlier + 1, min(earlier + rules.n_before[rule] + 1, len(at))):
                position = at[place].position
                if position != place % context_length or position < place - earlier:
                    break  # the context has ended
                if says_so(rule, place, rules, standing, at, named):
                    count(tally, standing.context_document[place // context_length], SAYS, 1)
                if named.is_before[at[place].token_id]:
                    break  # what follows stands behind this one, too, and is counted there


@inlined
def count(tally: Tally, document: int, column: int, n: int) -> None:
    """Count n tokens of a document."""
    if tally.counts[document, FIRES] + tally.counts[document, SAYS] == 0:
        tally.documents[tally.n[0]] = document
        tally.n[0] += 1
    tally.counts[document, column] += n


@compiled
def add_up(tally: Tally, standing: Standing, sums: npt.NDArray[np.void]) -> None:
    """Add what was counted of a rule to its SUMS by role, [n_roles], and forget it."""
    for document in tally.documents[: tally.n[0]]:
        fired, predicted, right = tally.counts[document]
        n_tokens = standing.document_tokens[document]
        wrong, either, silent = predicted - right, fired + predicted, n_tokens - fired
        own = sums[standing.document_role[document]]
        own.n_fired_documents += fired > 0
        own.n_predicted_documents += predicted > 0
        own.n_either_documents += 1
        own.n_fired += fired
        own.n_predicted += predicted
        own.n_right += right
        own.right_right += right * right
        own.right_fired += right * fired
        own.fired_fired += fired * fired
        own.right_predicted += right * predicted
        own.predicted_predicted += predicted * predicted
        own.right_either += right * either
        own.either_either += either * either
        own.wrong_wrong += wrong * wrong
        own.wrong_silent += wrong * silent
        own.silent_silent += silent * silent
        own.tokens_tokens += n_tokens * n_tokens
        tally.counts[document] = 0
    tally.n[0] = 0
