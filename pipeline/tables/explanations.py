"""What was asked of LLMs, what a run would ask, and the explanations."""

import pyarrow as pa

from pipeline.tables.schema import (
    EXPLAINER,
    EXPLANATION_ID,
    FEATURE,
    GENERATION,
    PLACE,
    REQUEST_ID,
    SAE,
    STATUS,
    Column,
    Table,
    count,
    flag,
    number,
    text,
)

_PURPOSE = text(
    "purpose",
    "`explain` (of explainer `default`), or the name of another explainer or of a scorer; `<explainer>_judging`: "
    "questions about train windows by which it chooses; `thresholds`: questions about controls, of the pilot",
)

EXPLANATIONS = (
    Table(
        "estimate",
        "One row per SAE, batch of the next run, and purpose: what the run would send, and its price.",
        (
            SAE,
            Column("batch", pa.int32(), "batch of feature ids"),
            text(
                "purpose",
                f"{_PURPOSE.meaning}; `steered_texts`, and a scorer that asks nobody, such as `embedding`: what a "
                "model does in this process",
            ),
            text("model", "the model to be asked"),
            count("n_features", "features that are asked about", "features"),
            count("n_llm_features", "of these, features of route `llm`", "features"),
            count("requests", "requests to be sent; at most, where scoring or an explainer's search ends early"),
            count("least_requests", "of these, those that are sent wherever a search ends"),
            count("known_requests", "requests whose answers are in the ledger already"),
            count("prompt_tokens", "tokens of the prompts to be sent", "tokens"),
            count("cached_tokens", "of these, from a prefix cache, by the share of the last answers", "tokens"),
            count("completion_tokens", "tokens of the answers as expected", "tokens"),
            count("max_completion_tokens", "tokens of the answers at most", "tokens"),
            number("cost_usd", "price as expected; null where the price file has none", "USD"),
            number("max_cost_usd", "price of the longest answers, without any cache", "USD"),
            number(
                "seconds", "time at the rate of the last answers, or as measured in this process; else null", "s"
            ),
            count("batch_waits", "waits for provider's batches, one after another, each a day at most; or null"),
            count(
                "subject_tokens",
                "tokens that the subject model reads for it, in passes of its own: written texts, steered texts",
                "tokens",
            ),
            number(
                "requests_a_feature",
                "per feature of route `llm`, in the ledger or not, without controls and rules",
            ),
            number("prompt_tokens_a_feature", "likewise, tokens of the prompts", "tokens"),
            number("completion_tokens_a_feature", "likewise, tokens of the answers as expected", "tokens"),
            number("cost_usd_a_feature", "likewise, price as expected, without any cache", "USD"),
            text("tokens_by", "how tokens were counted"),
        ),
        ("sae", "batch", "purpose"),
        "sae",
        group="prepare",
        is_always_made=True,
    ),
    Table(
        "explanations",
        "One row per feature, explainer and draw: an explanation in words, or why there is none.",
        (
            EXPLANATION_ID,
            SAE,
            FEATURE,
            EXPLAINER,
            Column("draw", pa.int32(), "0, and counting up for further explanations of the same explainer"),
            text("explanation", "the explanation; null unless the status is `ok`"),
            Column("example_ids", pa.list_(pa.string()), "the examples that it was shown; all train"),
            text(
                "status",
                f"{STATUS.meaning}; `no_input`: what its explainer shows is not there; `not_asked`: none of the "
                "config's explainers explains the feature (a row of the first of them)",
            ),
            REQUEST_ID,
            flag("is_chosen", "whether it is its explainer's choice for the feature: one draw is, by train_score"),
            number("train_score", "balanced accuracy on the train windows that judge; null where none judged it"),
            Column("same_as_draw", pa.int32(), "the first draw that says the same; null where it is the first"),
            Column("judge_request_ids", pa.list_(pa.string()), "requests by which it was judged on train windows"),
            PLACE,
            GENERATION,
        ),
        ("explanation_id",),
        "sae_batch",
        group="explain_and_score",
    ),
    Table(
        "llm_requests",
        "One row per request that was sent to an LLM, with its last answer.",
        (
            text("request_id", "hash of model, messages, parameters and draw"),
            _PURPOSE,
            text("sae", "the SAE that it was asked for"),
            count("feature", "the feature that it was asked for"),
            text("model", "the model asked for"),
            text("resolved_model", "the model that the server says answered"),
            Column(
                "messages",
                pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
                "the prompt",
            ),
            text("response", "the raw answer"),
            STATUS,
            text("finish_reason", "why the answer ended"),
            count("attempts", "times it was sent until this answer"),
            count("prompt_tokens", "tokens of the prompt, over all attempts that were counted", "tokens"),
            count("cached_tokens", "of these, read from a cache", "tokens"),
            count("completion_tokens", "tokens written, thinking and failed attempts included", "tokens"),
            count("reasoning_tokens", "of these, thinking", "tokens"),
            number("choice_mass", "probability of all choices together at the first token; 0.01 is the least"),
            number("cost_usd", "its price; null where no price is known", "USD"),
            count("duration_ms", "time until the answer", "ms"),
            text("requested_at", "when, UTC"),
            count("draw", "number of the draw, where the same is asked several times"),
            text("repeats", "the request of which it is a further draw, as its answer could not be used; or null"),
            text("error", "why there is no usable answer; null where there is one"),
            text("batch_id", "the provider's batch that it came in, at that price; null where it came by itself"),
        ),
        ("request_id",),
        "ledger",
        group="explain_and_score",
        lines_folder="ledger",
    ),
)
