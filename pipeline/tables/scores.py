"""How well explanations predict: every answer, the scores, and their summary."""

import pyarrow as pa

from pipeline.tables.schema import (
    EXPLAINER,
    EXPLANATION_ID,
    FEATURE,
    GENERATION,
    PLACE,
    REQUEST_ID,
    SAE,
    SCORER,
    STATUS,
    TEXT_ROLE,
    Column,
    Derived,
    Table,
    bounded,
    count,
    flag,
    number,
    text,
)

SCORES = (
    Table(
        "scorer_rhos",
        "One row per SAE and scorer, from a pilot: the correlation of answers about one document, the threshold "
        "for a yes, and the form of its prompts.",
        (
            SAE,
            SCORER,
            text("model", "the model that it asks; null if none"),
            count("n_features", "randomly drawn features that it judged in the pilot", "features"),
            count(
                "n_explanations",
                "their explanations; with fewer than 32, or fewer than 8 features, rho is the config's",
                "explanations",
            ),
            count("n_questions", "answers about them", "questions"),
            count("n_repeated", "of these, all but the first about each document", "questions"),
            count("n_failed", "pilot requests that failed in transit or for lack of budget", "requests"),
            number("rho_found", "correlation of correct answers within a document (analysis of variance)"),
            number("standard_error", "of rho_found (jackknife over features)"),
            number(
                "rho",
                "the correlation used for intervals and for early stopping: rho_found shrunk towards "
                "scoring.rho, never below it",
            ),
            text("reason", "why rho is the config's; null if it is the pilot's"),
            number(
                "threshold",
                "probability at and above which an answer counts as yes; null if its questions are not yes/no",
            ),
            count("n_control_answers", "answers about controls that have a probability", "questions"),
            count("n_control_failed", "questions about controls that failed like n_failed", "questions"),
            text("threshold_reason", "why the threshold is 0.5; null if it was found from the controls"),
            text(
                "form",
                "form of the prompts in every batch, settled by the pilot's first answer: questions per prompt, "
                "or the method of simulation; null if the config sets it or the pilot could not determine it",
            ),
        ),
        ("sae", "scorer"),
        "sae",
        group="pilot",
    ),
    Table(
        "predictions",
        "One row per question to a scorer: the correct answer and the scorer's.",
        (
            EXPLANATION_ID,
            SAE,
            FEATURE,
            SCORER,
            TEXT_ROLE,
            text("question_id", "hash of (explanation, scorer, example, marks)"),
            text("example_id", "the window asked about"),
            Column("marked", pa.list_(pa.int32()), "marked positions, for fuzzing; else null"),
            Column("label", pa.bool_(), "the correct answer; true for a choice; null if there is none"),
            Column(
                "prediction",
                pa.bool_(),
                "the scorer's answer; for a choice, whether it is correct; null unless the status is `ok`",
            ),
            number(
                "probability",
                "the scorer's probability of yes, or of the correct choice; or its ranking score: cosine for "
                "`embedding`, the text's peak activation for `generation`, gain in nats per token for `surprisal` "
                "and in nats for `intervention_surprisal`",
            ),
            Column(
                "values",
                pa.list_(pa.float64()),
                "for simulation, the predicted activation of each token, 0 to 10; for graded, the grade; for "
                "generation, the feature's activation on each token of the text; else null",
            ),
            Column("n_choices", pa.int32(), "number of choices; null for yes/no questions"),
            Column(
                "strata",
                pa.list_(pa.string()),
                "additional strata of score_details that it belongs to; or null",
            ),
            text(
                "cluster",
                "questions about an explanation with the same value are about the same texts, and intervals are "
                "widened accordingly (`intervention`: a trial at every target); null: by the window's document",
            ),
            text("text", "the judged text, if the scorer wrote it (`generation`); else null"),
            Column("token_ids", pa.list_(pa.int32()), "its tokens, as read by the subject model; or null"),
            Column(
                "decile",
                pa.int8(),
                "the train decile that its peak reaches; null if the feature does not fire",
            ),
            text(
                "status",
                f"{STATUS.meaning}; `repeated`: its answer has a text twice; `no_input`: there is nothing to ask "
                "about; `not_asked`: no scorer in the config asks about the explanation (a row per scorer, "
                "without a question)",
            ),
            REQUEST_ID,
        ),
        ("explanation_id", "scorer", "question_id"),
        "sae_batch",
        group="explain_and_score",
    ),
    Table(
        "scores",
        "One row per explanation, scorer and role: how well the explanation predicts where the feature fires.",
        (
            EXPLANATION_ID,
            SAE,
            FEATURE,
            EXPLAINER,
            SCORER,
            TEXT_ROLE,
            number("balanced_accuracy", "mean of true positive and true negative rate, on the sample"),
            number("ci_low", "lower end of its interval (Wilson, MOVER, design effect)"),
            number("ci_high", "upper end"),
            number("precision", "on the sample"),
            number("recall", "on the sample"),
            number("f1", "on the sample"),
            number("auroc", "over the answers with a probability"),
            number("auroc_low", "lower end of its interval (DeLong and Hanley-McNeil, logit, design effect)"),
            number("auroc_high", "upper end"),
            number("average_precision", "over the answers with a probability"),
            number(
                "auroc_coverage",
                "share of questions answered with a probability; below min_coverage auroc is null",
            ),
            number("correlation", "correlation of predicted and true activations over tokens, for simulation"),
            number("correlation_low", "lower end of its interval (jackknife over documents, Fisher)"),
            number("correlation_high", "upper end"),
            *bounded("accuracy", "share of correct choices, for scorers that choose among several"),
            number("chance", "the accuracy of guessing: 1 / n_choices"),
            count("n_scored", "questions with a usable answer", "questions"),
            count("n_unscored", "questions without one", "questions"),
            number("coverage", "share of the questions with a usable answer"),
            text("reason", "why figures are null"),
            number("balanced_accuracy_all_wrong", "if every unscored question were answered wrong"),
            number("balanced_accuracy_all_right", "if every unscored question were answered right"),
            number("accuracy_all_wrong", "if every unscored choice were wrong"),
            number("accuracy_all_right", "if every unscored choice were right"),
            PLACE,
            GENERATION,
        ),
        ("explanation_id", "scorer", "role"),
        "sae_batch",
        group="explain_and_score",
    ),
    Table(
        "score_details",
        "One row per explanation, scorer, role, metric, stratum and weighting: the scores in detail.",
        (
            EXPLANATION_ID,
            SAE,
            FEATURE,
            EXPLAINER,
            SCORER,
            TEXT_ROLE,
            text(
                "metric",
                "of all questions (stratum `all`): `balanced_accuracy`, `precision`, `recall`, "
                "`false_positive_rate`, `f1`, `auroc`, `average_precision`; `accuracy`: share of correct answers "
                "in a stratum, and in `all` for choices; `coverage`: share of all activating or silent slots that "
                "lie in strata with answers; for simulation `correlation`, `explained`, `explained_calibrated`; "
                "for graded `responsiveness`, `purity`",
            ),
            text(
                "stratum",
                "`all`; for accuracy `decile 1` (weakest peaks) to `decile 10` of the activating windows, "
                "`activating`, or a kind of silent windows: `same_token`, `neighbour`, `random`; for auroc a kind "
                "of silent windows, against which alone the activating ones are ranked; for coverage "
                "`activating`, `silent`; for simulation `top`, `random`; and a scorer's own, such as `rank 1` "
                "(neighbours) or `kl 0.5` (intervention)",
            ),
            text("weighting", "`sample`, or `population` (weighted by slots)"),
            number(
                "value",
                "the figure; null if the scorer only ranks, so that no answer is correct or wrong (`embedding`, "
                "`surprisal`: all but auroc and average_precision), if it is not defined (the precision of no "
                "yes), if fewer than min_coverage of its questions were answered, or if a population figure's "
                "interval is wider than max_interval",
            ),
            number("ci_low", "lower end of its interval"),
            number("ci_high", "upper end"),
            count("n", "questions (tokens for rule_exact) it is computed from"),
        ),
        ("explanation_id", "scorer", "role", "metric", "stratum", "weighting"),
        "sae_batch",
        derived=(
            Derived(
                "decile",
                r"try_cast(regexp_extract(stratum, '^decile ([0-9]+)$', 1) as tinyint)",
                "the decile as a number, 1 to 10, if the stratum is one; else null",
            ),
        ),
        group="explain_and_score",
    ),
    Table(
        "summary",
        "One row per SAE, route, explainer and scorer: mean scores with intervals, and what they cost.",
        (
            SAE,
            text("route", "route of the features"),
            EXPLAINER,
            SCORER,
            text(
                "metric",
                "the scorer's main metric: `auroc` if it ranks, `accuracy` if it chooses, `correlation` for "
                "simulation, else `balanced_accuracy`",
            ),
            number("chance", "the metric's value under guessing: 0.5, or 1 / n_choices for `accuracy`"),
            count("n_features", "features with a score; where no graded window fits, it is chance", "features"),
            number("mean", "mean of the metric over them"),
            number("ci_low", "lower end of its interval (Student t)"),
            number("ci_high", "upper end"),
            number("p10", "10th percentile"),
            number("p50", "median"),
            number("p90", "90th percentile"),
            number("coverage", "share of all questions with a usable answer"),
            number("mean_all_wrong", "mean if every unscored question were answered wrong"),
            number("mean_all_right", "mean if every unscored question were answered right"),
            number("rho_found", "correlation of correct answers within a document, over all features"),
            number("cost_usd", "price of its requests; null if the price of any is unknown", "USD"),
            count("prompt_tokens", "tokens of their prompts", "tokens"),
            count("cached_tokens", "of these, read from a cache", "tokens"),
            count("completion_tokens", "tokens of their answers", "tokens"),
            number(
                "search_cost_usd",
                "part of cost_usd spent on the draws not chosen and on judging draws",
                "USD",
            ),
            count("search_tokens", "tokens of these requests and their answers", "tokens"),
            count(
                "n_searched_features",
                "features with several draws, or with a draw that train windows judged",
                "features",
            ),
            number(
                "search_gain",
                "over these, mean of the chosen draw's train_score minus the first draw's, 0 if that is chosen; "
                "flattering, because the same windows chose; a first draw that could not be used is left out",
            ),
            count("n_asked_features", "features of the route that the explainer was to explain", "features"),
            count("n_echoed_features", "of these, features whose answer repeats the prompt", "features"),
            count("n_unscored_features", "features judged without a score, as too few answers came", "features"),
            number("explained_share", "share of n_asked_features that it explained; means are over these"),
            number("mean_failed_at_chance", "mean if what has no explanation or no score scored at chance"),
        ),
        ("sae", "route", "explainer", "scorer"),
        "all",
        group="explain_and_score",
    ),
    Table(
        "scorer_agreements",
        "One row per SAE and pair of scorers that judged the same explanations: how their scores correlate.",
        (
            SAE,
            SCORER,
            text("other_scorer", "the other one, later in the alphabet"),
            count("n_explanations", "explanations that both judged, controls left out", "explanations"),
            count("n_features", "features of these; the unit of the intervals", "features"),
            *bounded("pearson", "correlation of the two scorers' main metrics (see summary.metric)"),
            *bounded("spearman", "rank correlation of the same"),
        ),
        ("sae", "scorer", "other_scorer"),
        "all",
        group="explain_and_score",
    ),
    Table(
        "ratings",
        "One row per rating of an explanation by a reader. A reader's last rating of the same text counts.",
        (
            EXPLANATION_ID,
            text(
                "explanation_sha256",
                "SHA-256 of the explanation shown; null for ratings made by older versions",
            ),
            text("rater", "the reader's name, as typed"),
            text("verdict", "`fits`, `too_broad`, `too_narrow`, `wrong` or `unreadable`"),
            flag("is_blind", "whether explainer, feature and scores were hidden"),
            text("rated_at", "when, UTC"),
        ),
        ("explanation_id", "rater", "rated_at"),
        "ledger",
        group="explain_and_score",
        lines_folder="readers",
    ),
    Table(
        "explainer_comparisons",
        "One row per SAE, scorer, route and pair of explainers, on the features that both explained; in both "
        "orders.",
        (
            SAE,
            SCORER,
            text("route", "the features' route; `all`: those of every route, in the proportions that were drawn"),
            text("explainer_a", "an explainer, or a control"),
            text("explainer_b", "the explainer or control it is compared with"),
            text("metric", "what is compared, as in `summary`"),
            count("n_features", "features that both explained and have a score of", "features"),
            number("mean_a", "mean of A's scores over them"),
            number("mean_b", "mean of B's scores over them"),
            number("difference", "mean over features of A's score minus B's"),
            number("ci_low", "lower end of its interval (Student t over features)"),
            number("ci_high", "upper end"),
            number("share_better", "share of features for which A's score is higher"),
            number("share_equal", "share of features for which both are equal"),
            count(
                "n_features_failed_at_chance",
                "features that both were asked about and at least one has a score of",
                "features",
            ),
            number(
                "difference_failed_at_chance",
                "mean difference over them, where an explanation that failed or has too few answers counts as one "
                "that scores at chance",
            ),
            number("ci_low_failed_at_chance", "lower end of its interval"),
            number("ci_high_failed_at_chance", "upper end"),
            number("cost_usd_a", "price of A's explanations of them, including a search", "USD"),
            number("cost_usd_b", "the same for B", "USD"),
            count("n_tokens_a", "tokens of A's requests for them and their answers", "tokens"),
            count("n_tokens_b", "the same for B", "tokens"),
        ),
        ("sae", "scorer", "route", "explainer_a", "explainer_b"),
        "all",
        group="explain_and_score",
    ),
)
