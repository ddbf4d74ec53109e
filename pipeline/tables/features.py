"""What is said about all features of an SAE: statistics, rules, routes, neighbours, logits."""

import pyarrow as pa

from pipeline.tables.schema import FEATURE, LOGIT, SAE, Column, Law, Table, bounded, count, flag, number, text

TOP_TOKEN = pa.struct(
    [
        ("token_id", pa.int32()),
        ("text", pa.string()),
        ("n_active", pa.int64()),
        ("n_tokens", pa.int64()),
        ("fire_share", pa.float64()),
        ("mean_activation", pa.float64()),
    ]
)

FEATURES = (
    Table(
        "feature_logits",
        "One row per feature: the tokens whose logits its decoder direction raises and lowers most.",
        (
            SAE,
            FEATURE,
            text(
                "path",
                "`residual`: a direction of the residual stream; `direct`: an attention or MLP block's output, "
                "which is added to it; `none`: neither, so that the unembedding does not apply",
            ),
            Column(
                "promoted",
                pa.list_(LOGIT),
                "highest logits first, per unit of activation, less their mean over the vocabulary, but for the "
                "final norm's division; null on path none, and for a direction of zeros",
            ),
            Column("suppressed", pa.list_(LOGIT), "lowest logits first, likewise"),
        ),
        ("sae", "feature"),
        "sae",
        group="prepare",
    ),
    Table(
        "feature_tokens",
        "One row per feature and token that it fires on in train documents (position 0 left out).",
        (
            SAE,
            FEATURE,
            Column("token_id", pa.int32(), "the token"),
            count("n_active", "firings on it", "tokens"),
            count("n_top", "of these, in the feature's top share of firings by rank", "tokens"),
            count("n_strong", "of these, above the strong share of the feature's train maximum", "tokens"),
            number("sum_activation", "summed activation on it"),
        ),
        ("sae", "feature", "token_id"),
        "sae",
        group="prepare",
    ),
    Table(
        "feature_stats",
        "One row per feature, dead ones included: counts, quantiles and heuristics.",
        (
            SAE,
            FEATURE,
            count("n_active", "firings in all documents, position 0 included", "tokens"),
            count("n_active_first", "of these, on position 0: all documents", "tokens"),
            count("n_active_train", "firings in train documents, position 0 left out", "tokens"),
            count("n_slots_train", "candidate slots that it fires in, train", "slots"),
            count("n_slots_test", "candidate slots that it fires in, test", "slots"),
            count("n_contexts_train", "contexts of these slots, train", "contexts"),
            count("n_contexts_test", "contexts of these slots, test", "contexts"),
            count("n_documents_train", "documents of these slots, train", "documents"),
            count("n_documents_test", "documents of these slots, test", "documents"),
            number("density", "n_active over all tokens of the corpus, position 0 included", "share of tokens"),
            number(
                "density_train",
                "n_active_train over the tokens of train documents, position 0 left out; by it features are routed "
                "`dense`",
                "share of tokens",
            ),
            number("max_activation", "largest in all documents, position 0 included; null where dead"),
            number("max_activation_train", "largest in train documents, position 0 left out"),
            number("mean_activation", "mean over its firings in all documents, position 0 included"),
            Column(
                "activation_deciles",
                pa.list_(pa.float64()),
                "the nine inner deciles of its firings in all documents, position 0 included",
            ),
            number(
                "position_information_nats",
                "plug-in mutual information of firing and position: all documents, position 0 included, as in the "
                "post; null where dead",
                "nats",
            ),
            number(
                "position_information_train_nats",
                "the same in train documents, position 0 left out; null where it does not fire there",
                "nats",
            ),
            number(
                "position_bias_nats",
                "expectation of position_information_train_nats under independence, same margins",
                "nats",
            ),
            number(
                "position_score",
                "(position_information_train_nats - position_bias_nats) / entropy of firing; by it features are "
                "routed `positional`",
                "share",
            ),
            count(
                "n_top_tokens",
                "distinct tokens among the top share of firings by rank: train, position 0 left out",
                "tokens",
            ),
            count(
                "n_mass_tokens",
                "distinct tokens that carry the top share of the activation mass: train, position 0 left out",
            ),
            count(
                "n_top_previous_tokens", "the same by rank for the token before: train, from position 1 on", "tokens"
            ),
            Column(
                "top_tokens",
                pa.list_(TOP_TOKEN),
                "tokens with the largest summed activation: train, position 0 left out; fire_share is the share of "
                "the token's occurrences on which the feature fires",
            ),
            flag("is_unigram", "by the post's threshold: few n_top_tokens, and enough train firings"),
            flag("is_previous_token", "by the post's threshold: few n_top_previous_tokens, and enough train firings"),
            flag("is_positional", "by the post's threshold on position_information_nats"),
        ),
        ("sae", "feature"),
        "sae",
        group="prepare",
        laws=(Law("every_feature_has_stats", "Every feature of the SAE has exactly one row."),),
    ),
    Table(
        "scrambled_contexts",
        "One row per unigram candidate, token and position: how often it fires on the token among random tokens.",
        (
            SAE,
            FEATURE,
            Column("token_id", pa.int32(), "one of the tokens of its top firings"),
            Column("place", pa.int32(), "position of the token in the text; never the first of the random ones"),
            text("fillers", "where the random tokens come from: `vocabulary` or `corpus`"),
            count("n_contexts", "texts with the token at this place", "texts"),
            count("n_active", "of these, in which the feature fires on the token", "texts"),
            number("mean_activation", "mean over those; null where it never fires"),
            count("n_fillers", "random tokens in the texts, position 0 left out", "tokens"),
            count("n_fillers_active", "of these, on which the feature fires: what it would do anyway", "tokens"),
            number("fire_share", "p(fire | token) in train documents, to compare n_active / n_contexts with"),
        ),
        ("sae", "feature", "token_id", "place"),
        "sae",
        group="prepare",
    ),
    Table(
        "context_independence",
        "One row per SAE and threshold: features that fire in at least this share of their scrambled contexts.",
        (
            SAE,
            number("threshold", "0.1 to 0.9", "share of contexts"),
            count("n_features", "features of the SAE", "features"),
            count("n_candidates", "of these, with the unigram flag", "features"),
            count("n_verified", "of these, verified: all, or a draw of scrambling.max_features", "features"),
            count("n_independent", "of these, that reach the threshold", "features"),
            number("share_of_candidates", "n_independent / n_verified"),
            number("ci_low", "lower end of its Wilson interval"),
            number("ci_high", "upper end"),
            number("share_of_features", "share_of_candidates x n_candidates / n_features: the post's figure"),
        ),
        ("sae", "threshold"),
        "sae",
        group="prepare",
    ),
    Table(
        "feature_rules",
        "One row per feature, kind, size limit and target: the rule of best F1 on train documents.",
        (
            SAE,
            FEATURE,
            text(
                "kind",
                "what it names: `token`; `class`; `previous`, a token before; `window`, one of several before; "
                "`token_and_previous`, `token_and_window`, `class_and_previous`, `class_and_window`; "
                "`token_not_after`, a token that another one is not before; `position`",
            ),
            Column("max_tokens", pa.int32(), "size limit of the token set that was searched for"),
            text("target", "`any` firing, or `strong` ones"),
            Column("token_ids", pa.list_(pa.int32()), "the tokens of the rule, best first; null: any"),
            Column("previous_token_ids", pa.list_(pa.int32()), "tokens one of which must come before; null: any"),
            text("rule", "the rule in words, as the grammar has them"),
            number("train_precision", "share of the train tokens it matches that fire"),
            number("train_recall", "share of the target's train firings that it matches"),
            number("train_f1", "harmonic mean of the two"),
            number("always_f1", "F1 of 'always fires' on the same tokens, 2d/(1+d)"),
            flag("is_chosen", "the feature's one rule: of target any, the simplest with about the best F1"),
            text("token_class", "class that the token is of; null: any"),
            text("previous_class", "class of which one must come before; null: any, or a token of the list"),
            Column("n_before", pa.int32(), "how many tokens before are considered; 1: the previous; null: none"),
            flag("is_excluded", "what it names before must not be there"),
            Column("position_below", pa.int32(), "the position in the context is below this; null: any"),
        ),
        ("sae", "feature", "kind", "max_tokens", "target"),
        "sae",
        group="prepare",
    ),
    Table(
        "rule_scores",
        "One row per feature with a chosen rule: how well the rule predicts, on every test token, where it fires.",
        (
            SAE,
            FEATURE,
            count("n_tokens", "tokens of test documents, position 0 left out", "tokens"),
            count("n_fired", "of these, on which the feature fires", "tokens"),
            count("n_predicted", "of these, that the rule matches", "tokens"),
            count("n_right", "of these, on which the feature fires", "tokens"),
            count("n_fired_documents", "test documents that it fires in; no interval under 10", "documents"),
            *bounded("balanced_accuracy", "mean of recall and 1 - false_positive_rate"),
            *bounded("precision", "n_right / n_predicted; null where the rule matches nothing"),
            *bounded("recall", "n_right / n_fired; null where the feature does not fire"),
            *bounded("false_positive_rate", "share of the tokens without a firing that the rule matches"),
            *bounded("f1", "harmonic mean of precision and recall"),
            number("always_f1", "F1 of 'always fires' on the same tokens, 2d/(1+d)"),
            text("reason", "why a figure is null; null where none is"),
        ),
        ("sae", "feature"),
        "sae",
        group="prepare",
    ),
    Table(
        "feature_routes",
        "One row per feature: its route, and the reason. Every feature has exactly one.",
        (
            SAE,
            FEATURE,
            text("route", "dead, dense, positional, unigram, previous_token, too_rare, rule or llm"),
            text("reason", "why, in words and figures"),
        ),
        ("sae", "feature"),
        "sae",
        group="prepare",
        laws=(Law("every_feature_routed_once", "Every feature of the SAE is routed exactly once."),),
    ),
    Table(
        "selected_features",
        "One row per feature that is selected to be explained.",
        (
            SAE,
            FEATURE,
            Column("batch", pa.int32(), "batch of features that it is in"),
            Column("place", pa.int32(), "its place in the batch, drawn at random, from 1"),
            Column("priority", pa.int32(), "batches with a higher one come first"),
        ),
        ("sae", "feature"),
        "sae",
        group="prepare",
        is_always_made=True,  # it depends on settings outside its version
        laws=(Law("selected_have_examples", "Selected llm and rule features have slots in both roles."),),
    ),
    Table(
        "feature_neighbours",
        "One row per feature and near neighbour, by the cosine of their decoder directions.",
        (
            SAE,
            FEATURE,
            Column("neighbour", pa.int32(), "the other feature"),
            Column("rank", pa.int32(), "1 is the nearest"),
            Column("cosine", pa.float32(), "cosine of the two decoder directions"),
        ),
        ("sae", "feature", "neighbour"),
        "sae",
        group="prepare",
    ),
    Table(
        "feature_cofirings",
        "One row per feature and other feature that fires on the same tokens more often than by chance: all "
        "documents, position 0 left out.",
        (
            SAE,
            FEATURE,
            Column("other", pa.int32(), "the other feature"),
            Column("rank", pa.int32(), "1 is the one with the largest n_both - n_expected"),
            count("n_both", "tokens on which both fire", "tokens"),
            number("n_expected", "n_feature x n_other / n_tokens: how many by chance", "tokens"),
            count("n_feature", "tokens on which the feature fires", "tokens"),
            count("n_other", "tokens on which the other fires", "tokens"),
            count("n_tokens", "tokens that all counts are of: all past position 0, or some by hash", "tokens"),
        ),
        ("sae", "feature", "other"),
        "sae",
        group="prepare",
    ),
)
