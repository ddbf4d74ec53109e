"""Compiled loops that compare the tokens a rule matches with those its feature fires on; `proving` makes rows of
it.

A rule that names tokens is tested only where these occur, using an inverted index of the corpus; if it has no
other clause, their counts per document suffice. A rule that names preceding tokens is tested after these. Where
rule and feature agree is found at the feature's firings, so no loop needs memory for the whole corpus.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.compiled.passes import Tokens
from pipeline.compiled.rules.inverted_index import InvertedIndex, holds_token
from pipeline.compiling import Bytes, Int32s, Ints, compiled, inlined

Bools = npt.NDArray[np.bool_]

FIRES, MATCHES, BOTH = 0, 1, 2
"""The columns of a tally."""

SUMS = np.dtype(
    [
        (name, np.int64)
        for name in (
            "n_fired_documents",
            "n_predicted_documents",
            "n_either_documents",
            "n_fired",
            "n_predicted",
            "n_right",
            "right_right",
            "right_fired",
            "fired_fired",
            "right_predicted",
            "predicted_predicted",
            "right_either",
            "either_either",
            "wrong_wrong",
            "wrong_silent",
            "silent_silent",
            "tokens_tokens",
        )
    ]
)
"""What is summed over the documents of a role, as in `rule_sums.sql`."""


class Rules(NamedTuple):
    """Rules as arrays, by feature.

    Attributes:
        feature: [n_rules], ascending.
        token_starts, token_ids: The tokens that each rule names: index of its first one, [n_rules + 1]; int32 [n].
        token_bits: uint8 [n_rules], the token class that it names, as a bit; 0 for none.
        before_starts, before_ids, before_bits: The same for the preceding tokens.
        n_before: [n_rules], number of preceding tokens that are searched; 0 for no clause on them.
        is_excluded: [n_rules], whether the preceding tokens must not match.
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
    """Counts for rules that name no token, which do not depend on the feature; many rules share a form.

    Attributes:
        of_rule: [n_rules], each rule's form; -1 for a rule that names tokens.
        n_predicted: int32 [n_forms, n_documents], the tokens of each document that a form matches.
    """

    of_rule: Ints
    n_predicted: Int32s


class Corpus(NamedTuple):
    """The corpus by token index and by token; tokens: TOKEN [n_contexts x context_length]."""

    tokens: Tokens
    context_length: int
    by_token: InvertedIndex


class Firings(NamedTuple):
    """A bucket's firings: starts [n_features + 1], the first row of each feature; token_index [n]."""

    starts: Ints
    token_index: Ints


class Named(NamedTuple):
    """The tokens that one rule names, bool [n_tokens] each: as the token itself, and before it."""

    is_own: Bools
    is_before: Bools


class Tally(NamedTuple):
    """Counts for one rule, by document; only the documents with a count need clearing.

    Attributes:
        counts: [n_documents, 3], tokens on which its feature FIRES, that it MATCHES, and BOTH.
        documents: [n_documents], those with a count, in the order in which they were found.
        n: [1], their number.
    """

    counts: Ints
    documents: Ints
    n: Ints


@inlined
def _document_at(corpus: Corpus, index: int) -> int:
    """The number of the document of a token index."""
    return int(corpus.by_token.context_document[index // corpus.context_length])


@inlined
def matches(rule: int, index: int, rules: Rules, corpus: Corpus, named: Named) -> bool:
    """Whether a rule matches the token at a token index that holds one."""
    # 1. Its position.
    position, token = np.int64(corpus.tokens[index].position), corpus.tokens[index].token_id
    if position == 0 or position >= rules.position_below[rule]:
        return False
    # 2. The token itself: it is named, or of the named class, or any will do.
    if rules.token_starts[rule] < rules.token_starts[rule + 1]:
        if not named.is_own[token]:
            return False
    elif rules.token_bits[rule] and not corpus.by_token.class_bits[token] & rules.token_bits[rule]:
        return False
    # 3. The tokens before it, as far as the context goes: one of them must be named, or none.
    if rules.n_before[rule] == 0:
        return True
    is_found = False
    for back in range(1, min(rules.n_before[rule], position) + 1):
        before = corpus.tokens[index - back].token_id
        is_found |= named.is_before[before] or corpus.by_token.class_bits[before] & rules.before_bits[rule] > 0
    return bool(is_found != rules.is_excluded[rule])


@compiled
def predicted_by_document(rule: int, rules: Rules, corpus: Corpus, counts: Int32s) -> None:
    """Count, per document and without position 0, the tokens matched by a rule that names no token.

    counts: int32 [n_documents], zeros.
    """
    named = Named(np.zeros(0, np.bool_), np.zeros(len(corpus.by_token.class_bits), np.bool_))
    for index in range(len(corpus.tokens)):
        is_token = holds_token(corpus.tokens, corpus.context_length, index)
        if is_token and matches(rule, index, rules, corpus, named):
            counts[_document_at(corpus, index)] += 1


@compiled
def sum_predictions(
    first: int,
    end: int,
    feature_of: Ints,
    firings: Firings,
    rules: Rules,
    forms: Forms,
    corpus: Corpus,
    sums: npt.NDArray[np.void],
) -> None:
    """Fill in SUMS of the rules from `first` to below `end`, position 0 left out.

    feature_of: [end - first], the index in the bucket of each rule's feature; sums: SUMS [n_rules, n_roles], zeros
    for these rules. The tally counts by document, since answers about one document are correlated; it is all zeros
    before and after each rule.
    """
    by_token = corpus.by_token
    n_tokens, n_documents = len(by_token.class_bits), len(by_token.document_role)
    tally = Tally(np.zeros((n_documents, 3), np.int64), np.empty(n_documents, np.int64), np.zeros(1, np.int64))
    named = Named(np.zeros(n_tokens, np.bool_), np.zeros(n_tokens, np.bool_))
    for rule in range(first, end):
        tokens = rules.token_ids[rules.token_starts[rule] : rules.token_starts[rule + 1]]
        before = rules.before_ids[rules.before_starts[rule] : rules.before_starts[rule + 1]]
        named.is_own[tokens] = True
        named.is_before[before] = True
        # 1. Where its feature fires, and whether it matches there: BOTH, without a look at the rest of the corpus.
        feature = feature_of[rule - first]
        for index in firings.token_index[firings.starts[feature] : firings.starts[feature + 1]]:
            if corpus.tokens[index].position > 0:
                document = _document_at(corpus, index)
                count(tally, document, FIRES, 1)
                if matches(rule, index, rules, corpus, named):
                    count(tally, document, BOTH, 1)
        # 2. Where it matches at all, from what costs least: the counts of its form; the runs of its tokens, where
        #    they alone decide; the places of its tokens; those after its preceding tokens; or every place, where
        #    these must not precede and any other token will do.
        form = forms.of_rule[rule]
        if form >= 0:
            for document in range(n_documents):
                if forms.n_predicted[form, document]:
                    count(tally, document, MATCHES, forms.n_predicted[form, document])
        elif len(tokens) and rules.n_before[rule] == 0 and rules.position_below[rule] >= corpus.context_length:
            for token in tokens:
                for document, n in by_token.runs[by_token.run_starts[token] : by_token.run_starts[token + 1]]:
                    count(tally, document, MATCHES, n)
        elif len(tokens):
            _count_on_tokens(rule, tokens, rules, corpus, named, tally)
        elif rules.is_excluded[rule]:
            _count_everywhere(rule, rules, corpus, named, tally)
        else:
            _count_after_tokens(rule, before, rules, corpus, named, tally)
        # 3. Add up over documents, and forget the rule.
        named.is_own[tokens] = False
        named.is_before[before] = False
        _add_up(tally, by_token, sums[rule])


@compiled
def _count_on_tokens(rule: int, tokens: Int32s, rules: Rules, corpus: Corpus, named: Named, tally: Tally) -> None:
    """Count where a rule matches that names these tokens."""
    for token in tokens:
        for index in corpus.by_token.indices[corpus.by_token.starts[token] : corpus.by_token.starts[token + 1]]:
            if matches(rule, index, rules, corpus, named):
                count(tally, _document_at(corpus, index), MATCHES, 1)


@compiled
def _count_everywhere(rule: int, rules: Rules, corpus: Corpus, named: Named, tally: Tally) -> None:
    """Count where a rule matches, testing every token of the corpus."""
    for index in range(len(corpus.tokens)):
        is_token = holds_token(corpus.tokens, corpus.context_length, index)
        if is_token and matches(rule, index, rules, corpus, named):
            count(tally, _document_at(corpus, index), MATCHES, 1)


@compiled
def _count_after_tokens(
    rule: int, before: Int32s, rules: Rules, corpus: Corpus, named: Named, tally: Tally
) -> None:
    """Count where a rule matches because one of these tokens precedes.

    Each place is counted once, from the nearest of the preceding tokens: a walk from one of them ends at the next.
    """
    for token in before:
        for earlier in corpus.by_token.indices[corpus.by_token.starts[token] : corpus.by_token.starts[token + 1]]:
            for index in range(earlier + 1, min(earlier + rules.n_before[rule] + 1, len(corpus.tokens))):
                is_in_context = corpus.tokens[index].position >= index - earlier
                if not (holds_token(corpus.tokens, corpus.context_length, index) and is_in_context):
                    break  # the context has ended, or the next one has begun
                if matches(rule, index, rules, corpus, named):
                    count(tally, _document_at(corpus, index), MATCHES, 1)
                if named.is_before[corpus.tokens[index].token_id]:
                    break  # it is nearer to what follows, and counts that


@inlined
def count(tally: Tally, document: int, column: int, n: int) -> None:
    """Count n tokens of a document."""
    if tally.counts[document, FIRES] + tally.counts[document, MATCHES] == 0:
        tally.documents[tally.n[0]] = document
        tally.n[0] += 1
    tally.counts[document, column] += n


@compiled
def _add_up(tally: Tally, index: InvertedIndex, sums: npt.NDArray[np.void]) -> None:
    """Add the counts of a rule to its SUMS by role, [n_roles], and clear them.

    The scores of a rule are ratios of sums over documents, and their variances need the sums of squares and
    products (`rule_role_scores.sql`, which adds what documents without a firing or a match contribute).
    """
    for document in tally.documents[: tally.n[0]]:
        fired, predicted, right = tally.counts[document]
        n_tokens = index.document_tokens[document]
        wrong, either, silent = predicted - right, fired + predicted, n_tokens - fired
        own = sums[index.document_role[document]]
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
