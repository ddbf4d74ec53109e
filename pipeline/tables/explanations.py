"""Explanations, the requests sent to LLMs, and those that a run would send."""

import hashlib

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


def explanation_id(sae: str, feature: int, explainer: str, draw: int = 0) -> str:
    """The id of an explanation, 32 hex digits."""
    return hashlib.sha256(f"{sae} {feature} {explainer} {draw}".encode()).hexdigest()[:32]


_PURPOSE = text(
    "purpose",
    "`explain` (explainer `default`), or the name of another explainer or of a scorer; `<explainer>_judging`: "
    "questions about train windows, used to choose among drafts; `thresholds`: the pilot's questions about "
    "controls",
)

EXPLANATIONS = (
    Table(
        "estimate",
        "One row per SAE, batch of the next run, and purpose, controls apart: the requests that the run would "
        "send, and their price.",
        (
            SAE,
            Column("batch", pa.int32(), "batch of feature ids"),
            text(
                "purpose",
                f"{_PURPOSE.meaning}; for tables that the subject model makes, such as `steered_texts`, and for "
                "scorers that ask no LLM, such as `embedding`: work by a model in this process",
            ),
            flag("is_control", "whether scorers ask them about controls"),
            text("model", "the model to be asked"),
            count("n_features", "features asked about", "features"),
            count("n_llm_features", "of these, features with route `llm`", "features"),
            count(
                "requests",
                "requests to be sent; an upper bound if scoring or an explainer's search may end early",
            ),
            count("least_requests", "of these, requests that are sent however early a search ends"),
            count("known_requests", "requests already answered in the ledger"),
            count("prompt_tokens", "tokens of the prompts to be sent", "tokens"),
            count(
                "cached_tokens",
                "of these, expected from a prefix cache, at the share seen in the latest answers",
                "tokens",
            ),
            count("completion_tokens", "expected tokens of the answers", "tokens"),
            count("max_completion_tokens", "maximum tokens of the answers", "tokens"),
            number("cost_usd", "expected price; null if the price file has none", "USD"),
            number("max_cost_usd", "price with answers of maximum length and no cache", "USD"),
            number(
                "seconds", "time at the rate of the latest answers, or as measured in this process; else null", "s"
            ),
            count(
                "batch_waits",
                "number of provider batches waited for in sequence (up to a day each); null if none",
            ),
            count(
                "subject_tokens",
                "tokens that the subject model reads in additional passes: written texts, steered texts",
                "tokens",
            ),
            number(
                "requests_a_feature",
                "per feature with route `llm`, in the ledger or not, without controls and rules",
            ),
            number("prompt_tokens_a_feature", "the same for tokens of the prompts", "tokens"),
            number("completion_tokens_a_feature", "the same for expected tokens of the answers", "tokens"),
            number("cost_usd_a_feature", "the same for the expected price, without any cache", "USD"),
            text("tokens_by", "how tokens were counted"),
        ),
        ("sae", "batch", "purpose", "is_control"),
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
            Column("draw", pa.int32(), "number of the explanation among those of the same explainer, from 0"),
            text("explanation", "the explanation; null unless the status is `ok`"),
            Column("example_ids", pa.list_(pa.string()), "the examples shown to the explainer; all train"),
            text(
                "status",
                f"{STATUS.meaning}; `no_input`: there is nothing for the explainer to show; `not_asked`: no "
                "explainer in the config covers the feature (one row, of the first explainer)",
            ),
            REQUEST_ID,
            flag("is_chosen", "whether it is its explainer's choice for the feature: one draw is, by train_score"),
            number("train_score", "balanced accuracy on the judging train windows; null if it was not judged"),
            Column("same_as_draw", pa.int32(), "the first draw with the same text; null if this is the first"),
            Column("judge_request_ids", pa.list_(pa.string()), "requests that judged it on train windows"),
            PLACE,
            GENERATION,
        ),
        ("explanation_id",),
        "sae_batch",
        group="explain_and_score",
    ),
    Table(
        "llm_requests",
        "One row per request sent to an LLM, with its last answer.",
        (
            text("request_id", "hash of model, messages, parameters and draw"),
            _PURPOSE,
            text("sae", "the SAE it is about"),
            count("feature", "the feature it is about"),
            text("model", "the model requested"),
            text("resolved_model", "the model that answered, according to the server"),
            Column(
                "messages",
                pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
                "the prompt",
            ),
            text("response", "the raw answer"),
            STATUS,
            text("finish_reason", "why the answer ended"),
            count("attempts", "times it was sent before this answer came"),
            count("prompt_tokens", "tokens of the prompt, over all attempts with a token count", "tokens"),
            count("cached_tokens", "of these, read from a cache", "tokens"),
            count("completion_tokens", "tokens written, including reasoning and failed attempts", "tokens"),
            count("reasoning_tokens", "of these, reasoning tokens", "tokens"),
            number("choice_mass", "total probability of all choices at the first token; at least 0.01"),
            number("cost_usd", "its price; null if unknown", "USD"),
            count("duration_ms", "time until the answer", "ms"),
            text("requested_at", "when, UTC"),
            count("draw", "number of the draw, if the same prompt is sent several times"),
            text(
                "repeats",
                "the earlier request with an unusable answer that this one repeats with another draw; or null",
            ),
            text("error", "why there is no usable answer; null if there is one"),
            text("batch_id", "the provider batch that it was part of, at batch price; null if sent by itself"),
        ),
        ("request_id",),
        "ledger",
        group="explain_and_score",
        lines_folder="ledger",
    ),
)
