"""The tokens that rules match, compared with those their features fire on: the rows of two SQL files from arrays.

Rules that name no token, only a class or a position, have few forms, which many features share: the matches of a
form in the whole corpus are counted once. SQL would join rules with tokens and test each pair. A test compares the
two.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.compiled.inputs import Inputs
from pipeline.compiled.rules.arrays import NO_TOKEN, class_bits, flattened, token_class_bits
from pipeline.compiled.rules.inverted_index import InvertedIndex, index_by_token
from pipeline.compiled.rules.proving_loops import (
    SUMS,
    Corpus,
    Firings,
    Forms,
    Rules,
    predicted_by_document,
    sum_predictions,
)
from pipeline.compiling import Int32s
from pipeline.firings.buckets import mapped, read_features

_ANYWHERE = 1 << 30
"""A position that no token reaches, for a rule without a clause on the position."""


def rule_sums(inputs: Inputs) -> pa.Table:
    """`sql/compiled/rule_sums.sql`."""
    rows = inputs.table("proved_rules").sort_by("feature")
    roles, sums = _sum(inputs, rows)
    rule, role = np.nonzero(sums["n_either_documents"])
    columns = {name: sums[name][rule, role] for name in SUMS.names or ()}
    return pa.table(
        {"rule_id": rows["rule_id"].take(pa.array(rule)), "role": pa.array(roles).take(pa.array(role)), **columns}
    )


def window_counts(inputs: Inputs) -> pa.Table:
    """`sql/compiled/window_counts.sql`."""
    rows = inputs.table("mined_rules")
    rows = rows.filter(pa.array(np.nan_to_num(rows["n_before"].to_numpy()) > 1)).sort_by("feature")
    roles, sums = _sum(inputs, rows)
    train = sums[:, roles.index("train")] if "train" in roles else np.zeros(len(rows), SUMS)
    counts = {name: train[name] for name in ("n_predicted", "n_right")}
    return pa.table({"rule_id": rows["rule_id"], **counts})


def _sum(inputs: Inputs, rows: pa.Table) -> tuple[list[str], npt.NDArray[np.void]]:
    """The roles of the documents, and the sums of rules sorted by feature: SUMS [n_rules, n_roles]."""
    roles, index = inputs.kept("inverted_index", lambda: _invert(inputs))
    corpus = Corpus(inputs.corpus.tokens, inputs.corpus.context_length, index)
    sums = np.zeros((len(rows), len(roles)), SUMS)
    if not len(rows):
        return roles, sums
    rules = rules_of(rows, class_bits(inputs))
    forms = _forms(inputs, rules, corpus)
    features = np.unique(rules.feature)
    for bucket in read_features(inputs.lake, inputs.sae, features):
        low, high = np.searchsorted(rules.feature, [bucket.features[0], bucket.features[-1] + 1])
        feature_of = np.searchsorted(bucket.features, rules.feature[low:high])
        firings = Firings(bucket.starts, bucket.token_index)
        sum_predictions(low, high, feature_of, firings, rules, forms, corpus, sums)
    return roles, sums


def _forms(inputs: Inputs, rules: Rules, corpus: Corpus) -> Forms:
    """The forms of the rules that name no token; each is counted once per run."""
    n_documents = len(corpus.by_token.document_role)
    known: dict[tuple[int, ...], Int32s] = inputs.kept("forms", dict)
    names_none = (np.diff(rules.token_starts) == 0) & (np.diff(rules.before_starts) == 0)
    clauses = (rules.token_bits, rules.before_bits, rules.n_before, rules.is_excluded, rules.position_below)
    of_rule = np.full(len(rules.feature), -1)
    numbers: dict[tuple[int, ...], int] = {}
    for rule in names_none.nonzero()[0]:
        form = tuple(int(clause[rule]) for clause in clauses)
        if form not in known:
            known[form] = mapped(inputs.lake, n_documents, np.dtype(np.int32))
            predicted_by_document(rule, rules, corpus, known[form])
        of_rule[rule] = numbers.setdefault(form, len(numbers))
    n_predicted = mapped(inputs.lake, len(numbers) * n_documents, np.dtype(np.int32)).reshape(-1, n_documents)
    for form, number in numbers.items():
        n_predicted[number] = known[form]
    return Forms(of_rule, n_predicted)


def rules_of(rows: pa.Table, bit_of: dict[str, int]) -> Rules:
    """Rows of rules, sorted by feature, as arrays."""
    token_starts, token_ids = flattened(rows["token_ids"])
    before_starts, before_ids = flattened(rows["previous_token_ids"])
    token_bits, before_bits = (
        np.array([bit_of.get(name, NO_TOKEN) if name else 0 for name in rows[column].to_pylist()], np.uint8)
        for column in ("token_class", "previous_class")
    )
    return Rules(
        feature=rows["feature"].to_numpy().astype(np.int64),
        token_starts=token_starts,
        token_ids=token_ids,
        token_bits=token_bits,
        before_starts=before_starts,
        before_ids=before_ids,
        before_bits=before_bits,
        n_before=rows["n_before"].fill_null(0).to_numpy().astype(np.int64),
        is_excluded=rows["is_excluded"].to_numpy().astype(bool),
        position_below=rows["position_below"].fill_null(_ANYWHERE).to_numpy().astype(np.int64),
    )


def _invert(inputs: Inputs) -> tuple[list[str], InvertedIndex]:
    """The roles of the documents, and the corpus by token."""
    tokens, length = inputs.corpus.tokens, inputs.corpus.context_length
    documents = inputs.table("corpus_documents")  # sorted by their first context
    encoded = documents["role"].combine_chunks().cast(pa.string()).dictionary_encode()
    roles = sorted(encoded.dictionary.to_pylist())
    order = np.array([roles.index(role) for role in encoded.dictionary.to_pylist()], np.int64)
    first_context = documents["document_number"].to_numpy()
    contexts = np.arange(len(tokens) // length)
    context_document = np.searchsorted(first_context, contexts, side="right").astype(np.int32) - 1
    bits = token_class_bits(inputs)
    by_token = index_by_token(inputs.lake, tokens, length, context_document, len(bits))
    role = order[encoded.indices.to_numpy()]
    n_tokens = documents["n_tokens"].to_numpy().astype(np.int64)
    return roles, InvertedIndex(*by_token, context_document, role, n_tokens, bits)
