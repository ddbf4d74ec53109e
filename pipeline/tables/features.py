"""Tables about all features of an SAE: statistics, rules, routes, neighbours, logits."""

import pyarrow as pa

from pipeline.tables.schema import FEATURE, LOGIT, SAE, Column, Law, Table, bounded, count, flag, number, text

_TOP_TOKEN = pa.struct(
    [
        ("token_id", pa.int32()),
        ("text", pa.string()),
        ("n_active", pa.int64()),
        ("n_tokens", pa.int64()),
        ("fire_share", pa.float64()),
        ("mean_activation", pa.float64()),
    ]
)

_PROVED = (
    count("n_tokens", "tokens of test documents, including copied text, without position 0", "tokens"),
    count("n_fired", "of these, tokens on which the feature fires", "tokens"),
    count("n_predicted", "tokens that the rule matches", "tokens"),
    count("n_right", "of n_predicted, tokens on which the feature fires", "tokens"),
    count(
        "n_fired_documents",
        "test documents that it fires in; below 10, no intervals are given",
        "documents",
    ),
    *bounded("balanced_accuracy", "mean of recall and 1 - false_positive_rate"),
    *bounded("precision", "n_right / n_predicted; null if the rule matches nothing"),
    *bounded("recall", "n_right / n_fired; null if the feature does not fire"),
    *bounded("false_positive_rate", "share of tokens without a firing that the rule matches"),
    *bounded("f1", "harmonic mean of precision and recall"),
    number("always_f1", "F1 of 'always fires' on the same tokens, 2d/(1+d)"),
    text("reason", "why a figure is null; null if none is"),
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
                "which is added to the stream; `none`: neither, so the unembedding does not apply",
            ),
            Column(
                "promoted",
                pa.list_(LOGIT),
                "highest logits first: change per unit of activation, minus the mean over the vocabulary, "
                "ignoring the final norm's scale; null if path is `none` or the direction is zero",
            ),
            Column("suppressed", pa.list_(LOGIT), "the same, lowest logits first"),
        ),
        ("sae", "feature"),
        "sae",
        group="prepare",
    ),
    Table(
        "feature_tokens",
        "One row per feature and token that it fires on in train documents (without position 0).",
        (
            SAE,
            FEATURE,
            Column("token_id", pa.int32(), "the token"),
            count("n_active", "firings on it", "tokens"),
            count("n_top", "of these, firings in the feature's top share by rank", "tokens"),
            count("n_strong", "of these, strong firings: above 30% of the feature's train maximum", "tokens"),
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
            number("density", "n_active / all tokens of the corpus, position 0 included", "share of tokens"),
            number(
                "density_train",
                "n_active_train / tokens of train documents, position 0 left out; decides the route `dense`",
                "share of tokens",
            ),
            number("max_activation", "largest in all documents, position 0 included; null if dead"),
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
                "post; null if dead",
                "nats",
            ),
            number(
                "position_information_train_nats",
                "the same in train documents, position 0 left out; null if it does not fire there",
                "nats",
            ),
            number(
                "position_bias_nats",
                "expected position_information_train_nats under independence, with the same margins",
                "nats",
            ),
            number(
                "position_score",
                "(position_information_train_nats - position_bias_nats) / entropy of firing; decides the "
                "route `positional`",
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
            count("n_top_previous_tokens", "n_top_tokens for the preceding token: train", "tokens"),
            Column(
                "top_tokens",
                pa.list_(_TOP_TOKEN),
                "tokens with the largest summed activation: train, position 0 left out; fire_share is the share "
                "of the token's occurrences on which the feature fires",
            ),
            flag("is_unigram", "by the post's threshold: few n_top_tokens, and enough train firings"),
            flag("is_previous_token", "by the post's threshold: few n_top_previous_tokens, enough train firings"),
            flag("is_positional", "by the post's threshold on position_information_nats"),
        ),
        ("sae", "feature"),
        "sae",
        group="prepare",
        laws=(Law("every_feature_has_stats", "Every feature of the SAE has exactly one row."),),
    ),
    Table(
        "scrambled_contexts",
        "One row per unigram candidate, token and position: how often the feature fires on the token among "
        "random ones.",
        (
            SAE,
            FEATURE,
            Column("token_id", pa.int32(), "one of the tokens of its top firings"),
            Column(
                "place",
                pa.int32(),
                "position of the token in the text; never the first position of the random tokens",
            ),
            text("fillers", "where the random tokens come from: `vocabulary` or `corpus`"),
            count("n_contexts", "texts with the token at this position", "texts"),
            count("n_active", "of these, texts in which the feature fires on the token", "texts"),
            number("mean_activation", "mean over those; null if it never fires"),
            count("n_fillers", "random tokens in the texts, position 0 left out", "tokens"),
            count("n_fillers_active", "of these, tokens on which the feature fires: the base rate", "tokens"),
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
            count("n_verified", "of these, verified: all, or a sample of scrambling.max_features", "features"),
            count("n_independent", "of these, features that reach the threshold", "features"),
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
        "One row per feature, kind, size limit and target: the rule with the best F1 on train documents.",
        (
            SAE,
            FEATURE,
            text(
                "kind",
                "what it names: `token`; `class`; `previous`, the preceding token; `window`, one of several "
                "preceding; `token_and_previous`, `token_and_window`, `class_and_previous`, `class_and_window`; "
                "`token_not_after`, a token not preceded by another; `position`",
            ),
            Column("max_tokens", pa.int32(), "size limit of the token set that was searched for"),
            text("target", "`any` firing, or `strong` ones"),
            Column("token_ids", pa.list_(pa.int32()), "the rule's tokens, best first; null: any"),
            Column("previous_token_ids", pa.list_(pa.int32()), "tokens of which one must precede; null: any"),
            text("rule", "the rule in words, in the rule grammar"),
            number("train_precision", "share of the train tokens it matches on which the feature fires"),
            number("train_recall", "share of the target's train firings that it matches"),
            number("train_f1", "harmonic mean of the two"),
            number("always_f1", "F1 of 'always fires' on the same tokens, 2d/(1+d)"),
            flag(
                "is_chosen",
                "the feature's one chosen rule: for target `any`, the simplest with nearly the best F1",
            ),
            text("token_class", "class of the token; null: any"),
            text("previous_class", "class of a token that must come before; null: any, or a token of the list"),
            Column(
                "n_before",
                pa.int32(),
                "how many preceding tokens are considered; 1: only the previous one; null: none",
            ),
            flag("is_excluded", "true if the preceding tokens must not match"),
            Column("position_below", pa.int32(), "the position in the context must be below this; null: any"),
        ),
        ("sae", "feature", "kind", "max_tokens", "target"),
        "sae",
        group="prepare",
    ),
    Table(
        "rule_scores",
        "One row per feature with a chosen rule: how well the rule predicts the feature's firings on every test "
        "token.",
        (
            SAE,
            FEATURE,
            *_PROVED,
        ),
        ("sae", "feature"),
        "sae",
        group="prepare",
    ),
    Table(
        "stated_rule_scores",
        "One row per feature and explainer whose explanation, in a file of the config, is a rule: how well it "
        "predicts the feature's firings on every test token.",
        (SAE, FEATURE, text("explainer", "the explainer, such as `imported`"), *_PROVED),
        ("sae", "feature", "explainer"),
        "sae",
        group="prepare",
    ),
    Table(
        "feature_routes",
        "One row per feature: its route and the reason. Every feature has exactly one route.",
        (
            SAE,
            FEATURE,
            text("route", "dead, dense, positional, unigram, previous_token, too_rare, rule or llm"),
            text("reason", "the reason, with figures"),
        ),
        ("sae", "feature"),
        "sae",
        group="prepare",
        laws=(Law("every_feature_routed_once", "Every feature of the SAE is routed exactly once."),),
    ),
    Table(
        "selected_features",
        "One row per feature selected to be explained.",
        (
            SAE,
            FEATURE,
            Column("batch", pa.int32(), "batch of features that contains it"),
            Column("place", pa.int32(), "its rank in the batch, in random order, from 1"),
            Column("priority", pa.int32(), "batches with higher priority come first"),
        ),
        ("sae", "feature"),
        "sae",
        group="prepare",
        is_always_made=True,  # depends on settings that its version does not cover
        laws=(Law("selected_have_examples", "Selected llm and rule features have slots in both roles."),),
    ),
    Table(
        "feature_neighbours",
        "One row per feature and near neighbour, ten at most, by the cosine of their directions, 0.01 or more.",
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
        "One row per feature and other feature that fires on the same tokens more often than by chance, in all "
        "documents without position 0.",
        (
            SAE,
            FEATURE,
            Column("other", pa.int32(), "the other feature"),
            Column("rank", pa.int32(), "1 has the largest n_both - n_expected"),
            count("n_both", "tokens on which both fire", "tokens"),
            number("n_expected", "n_feature x n_other / n_tokens: tokens expected by chance", "tokens"),
            count("n_feature", "tokens on which the feature fires", "tokens"),
            count("n_other", "tokens on which the other fires", "tokens"),
            count("n_tokens", "tokens counted: all but position 0, or a sample chosen by hash", "tokens"),
        ),
        ("sae", "feature", "other"),
        "sae",
        group="prepare",
    ),
)
