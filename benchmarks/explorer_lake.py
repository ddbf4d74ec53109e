"""A lake of any size with rows in every table, made by SQL in a minute, for trying the explorer's pages.

Its values are meaningless, but its sizes, files and row groups are those of a real lake. Every feature has an
explanation by rule and by keywords; one in `one_in` also has one by a model, with windows, answers and requests.
Token 7 is ' t7'. `hostile` replaces the texts of the first tokens and is part of every explanation.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Config
from pipeline.lake import LEDGER_FOLDER, Lake
from pipeline.tables import TABLES
from pipeline.tables.inputs import CONTROLS
from pipeline.tables.versions import SourceHashes

SAE = "synthetic"
BATCH = 1024
CONTEXT_LENGTH = 256

_MACROS = """
    create macro draw(a, b, n) as (hash(a * 1000003 + b) % n)::int;
    create macro context_of(feature, slot, n) as (draw(feature, 0, n) + slot) % n;
    create macro share(a, b) as (hash(a * 1000003 + b) % 100000) / 100000.0;
    create macro spelled(token) as coalesce(getvariable('hostile')[token + 1], ' t' || token);
    create macro is_asked(feature) as feature % getvariable('one_in') = 0;
"""

_OF_SAE = {
    "saes": """
        select $sae as sae, 'layers.9' as hookpoint, 'sparsify' as format, 'topk' as architecture, 576 as d_in,
            $n_features as n_features, 32 as k, 'made' as source, 'none' as weights_hash
    """,
    "sae_fit": """
        select $sae as sae, 'layers.9' as hookpoint, false as is_centred, 'own' as normalisation, 'own' as weights,
            false as prepend_bos, 0.2 as fvu, 32 as l0, 32 as declared_l0, 0.1 as dead_share, 1 as norm_ratio,
            1000 as n_tokens, true as is_configured, true as fits, 0.95 as loss_recovered, 3.5 as loss,
            3.9 as loss_spliced, 12.0 as loss_ablated, 500 as n_loss_tokens, null as loss_reason
    """,
    "feature_stats": """
        select $sae as sae, feature, 50 + draw(feature, 1, 400) as n_active, 0 as n_active_first,
            40 as n_active_train, 30 as n_slots_train, 30 as n_slots_test, 20 as n_contexts_train,
            20 as n_contexts_test, 15 as n_documents_train, 15 as n_documents_test,
            power(10, -1 - 4 * share(feature, 2)) as density, density as density_train,
            5 + 60 * share(feature, 3) as max_activation, max_activation as max_activation_train,
            max_activation / 3 as mean_activation, [1, 2, 3, 4, 5, 6, 7, 8, 9]::double[] as activation_deciles,
            0.001 as position_information_nats, 0.001 as position_information_train_nats,
            0.001 as position_bias_nats, 0.0 as position_score,
            20 as n_top_tokens, 30 as n_mass_tokens, 40 as n_top_previous_tokens,
            list_transform(range(10), lambda number: {
                'token_id': draw(feature, number, $n_tokens),
                'text': spelled(draw(feature, number, $n_tokens)),
                'n_active': 20 - number, 'n_tokens': 100, 'fire_share': (20 - number) / 100.0,
                'mean_activation': 5.0
            }) as top_tokens,
            false as is_unigram, false as is_previous_token, false as is_positional
        from range($n_features) as features (feature)
    """,
    "feature_logits": """
        select $sae as sae, feature, 'residual' as path,
            list_transform(range(10), lambda number: {
                'token_id': draw(feature, number + 50, $n_tokens),
                'text': spelled(draw(feature, number + 50, $n_tokens)),
                'logit': 1.0 - number / 20.0
            }) as promoted,
            list_transform(promoted, lambda each: {
                'token_id': each.token_id, 'text': each.text, 'logit': -each.logit
            }) as suppressed
        from range($n_features) as features (feature)
    """,
    "feature_rules": """
        select $sae as sae, feature, 'token' as kind, max_tokens, target, [1, 2, 3] as token_ids,
            'one of the tokens " t' || feature || '", " t2"' as rule, 0.8 as train_precision, 0.7 as train_recall,
            share(feature, 5) as train_f1, 0.01 as always_f1, max_tokens = 5 and target = 'any' as is_chosen
        from range($n_features) as features (feature), (select unnest([1, 5, 20, 50]) as max_tokens),
            (select unnest(['any', 'strong']) as target)
        order by feature
    """,
    "rule_scores": """
        select $sae as sae, feature, 100000 as n_tokens, 40 as n_fired, 40 as n_predicted, 30 as n_right,
            15 as n_fired_documents, 0.8 as balanced_accuracy, 0.7 as precision, 0.7 as recall, 0.7 as f1
        from range($n_features) as features (feature)
    """,
    "feature_routes": """
        select $sae as sae, feature,
            ['llm', 'llm', 'rule', 'dead', 'too_rare'][draw(feature, 6, 5) + 1] as route, 'made' as reason
        from range($n_features) as features (feature)
    """,
    "selected_features": """
        select $sae as sae, feature, feature // $batch as batch, 1 as place, 0 as priority
        from range($n_features) as features (feature)
        where is_asked(feature)
    """,
    "feature_neighbours": """
        select $sae as sae, feature, (feature + rank * 17) % $n_features as neighbour, rank,
            0.9 - rank / 20 as cosine
        from range($n_features) as features (feature), range(1, 11) as ranks (rank)
        order by feature, rank
    """,
    "feature_cofirings": """
        select $sae as sae, feature, (feature + rank * 23) % $n_features as other, rank, 30 - rank as n_both,
            2.5 as n_expected, 50 as n_feature, 60 as n_other, 100000 as n_tokens
        from range($n_features) as features (feature), range(1, 21) as ranks (rank)
        order by feature, rank
    """,
    "scrambled_contexts": """
        select $sae as sae, feature, place as token_id, place, 'corpus' as fillers, 10 as n_contexts,
            9 as n_active, 5.0 as mean_activation, 100 as n_fillers, 1 as n_fillers_active, 0.9 as fire_share
        from range(least($n_features, 1000)) as features (feature), range(3) as places (place)
        order by feature
    """,
    "example_index": """
        select $sae as sae, feature, context_of(feature, slot, $n_contexts) as context_id,
            1 + slot % 7 * 32 as start,
            60 - slot as peak, if(slot % 2 = 0, 'train', 'test') as role, 10 - slot // 6 as decile,
            slot // 2 + 1 as rank, slot + 1 as draw, 100 as n_slots
        from range($n_features) as features (feature), range(60) as slots (slot)
        order by feature, context_id, start
    """,
}

_OF_BATCH = {
    "examples": """
        select md5($sae || feature || '-' || slot) as example_id, $sae as sae, feature,
            -- All but the strongest six of the index.
            context_of(feature, slot + 6, $n_contexts) as context_id, 1 + (slot + 6) % 7 * 32 as start,
            if(slot < 40, 54 - slot, null) as peak, if(slot % 2 = 0, 'train', 'test') as role,
            if(slot < 40, 'activating', ['same_token', 'neighbour', 'random'][1 + slot % 3]) as kind,
            if(slot < 40, 10 - slot // 4, null) as decile, if(slot < 40, slot // 2 + 1, null) as rank,
            slot as draw, 100 as n_slots, 'd' || feature % 50 as doc_id,
            list_transform(range(32), lambda number: draw(feature, slot * 50 + number, $n_tokens)) as token_ids,
            list_transform(range(32), lambda number: if(slot < 40 and number % 9 = 4, 54 - slot, 0)) as activations
        from range($first, $end) as features (feature), range(80) as slots (slot)
        where is_asked(feature)
        order by feature, slot
    """,
    "steered_texts": """
        select $sae as sae, feature, mode, if(mode = 'steer', 0.5, null) as target_kl,
            if(mode = 'steer', 40.0, null) as strength, prompt_id, 0 as context_id, $hostile as prompt,
            'more ' || $hostile as continuation, 'less ' || $hostile as unsteered, 'ok' as status
        from range($first, $end) as features (feature), (select unnest(['ablate', 'steer']) as mode),
            range(4) as prompts (prompt_id)
        where is_asked(feature)
        order by feature, mode, prompt_id
    """,
    "scores": """
        select md5($sae || feature || '-' || explainer) as explanation_id, $sae as sae, feature, explainer, scorer,
            'test' as role,
            if(scorer = 'simulation', null, 0.5 + 0.5 * share(feature, length(explainer))) as balanced_accuracy,
            greatest(0, balanced_accuracy - 0.1) as ci_low, least(1, balanced_accuracy + 0.1) as ci_high,
            if(scorer = 'simulation', 0.61, null) as correlation, 0.4 as correlation_low, 0.8 as correlation_high,
            0.8 as precision, 0.8 as recall, 0.8 as f1, 40 as n_scored, 0 as n_unscored, 1.0 as coverage
        from range($first, $end) as features (feature), (select unnest($explainers) as explainer),
            (select unnest($scorers) as scorer)
        where explainer in ('rule', 'keywords') or is_asked(feature)
        order by feature, explainer, scorer
    """,
}

_OF_EXPLAINER = """
    select md5($sae || feature || '-' || $part || if(draw = 0, '', '-1')) as explanation_id, $sae as sae, feature,
        $part as explainer, draw, draw = 0 as is_chosen, if(is_draft, 0.8 - draw / 10, null) as train_score,
        $hostile || ' ' || list_aggregate(list_transform(range(12), lambda number:
            spelled(draw(feature, number + length($part), 3000))), 'string_agg', ' '
        ) as explanation,
        []::varchar[] as example_ids, 'ok' as status,
        if(is_draft and draw = 0, feature || '-0', null) as request_id
    from range($first, $end) as features (feature),
        (select $part = 'default' as is_draft, unnest(range(if(is_draft, 2, 1))) as draw)
    where $part in ('rule', 'keywords') or is_asked(feature)
    order by feature, draw
"""

_OF_CONTROLS = """
    select md5($sae || feature || '-' || explainer) as explanation_id, $sae as sae, feature, explainer, 0 as draw,
        true as is_chosen, if(explainer = 'empty', '', 'words of another') as explanation,
        []::varchar[] as example_ids, 'ok' as status, null as request_id
    from range($first, $end) as features (feature), (select unnest(['empty', 'other_feature']) as explainer)
    where feature % 64 = 0
    order by feature
"""

_OF_SCORER = """
    select md5($sae || feature || '-' || explainer) as explanation_id, $sae as sae, feature, $part as scorer,
        'test' as role, md5($part || explainer || feature || '-' || slot) as question_id,
        md5($sae || feature || '-' || slot) as example_id, slot < 40 as label,
        $part = 'simulation' as is_simulated,
        if(slot = 41 or is_simulated, null, (share(feature, slot) > 0.3) = (slot < 40)) as prediction,
        if(is_simulated, null, share(feature, slot)) as probability,
        if(is_simulated, list_transform(range(32), lambda number: (number % 9 = 4)::int * 7 + number / 10), null)
            as values,
        if(slot = 41, 'unparsed', 'ok') as status, if($part = 'detection', feature || '-1', null) as request_id
    from range($first, $end) as features (feature), (select unnest($explainers) as explainer),
        range(1, 80, 2) as slots (slot)
    where is_asked(feature)
    order by feature, explainer
"""

_OF_GENERATION = """
    select md5($sae || feature || '-' || explainer) as explanation_id, $sae as sae, feature, $part as scorer,
        'test' as role, md5($part || explainer || feature || '-' || slot) as question_id, slot < 3 as label,
        list_transform(range(12), lambda number: draw(feature, slot + number, 12)) as tokens,
        list_aggregate(list_transform(tokens, lambda token: spelled(token)), 'string_agg', ' ') as text,
        if(slot = 2, 'repeated', 'ok') as status, if(slot = 2, null, slot in (0, 3)) as prediction,
        if(slot = 2, null, slot in (0, 3))::int * 30 as probability, if(slot = 2, null, tokens) as token_ids,
        if(slot = 2, null, list_transform(range(12), lambda number: (number = 4)::int * probability)) as values
    from range($first, $end) as features (feature), (select unnest($explainers) as explainer),
        range(6) as slots (slot)
    where is_asked(feature)
    order by feature, explainer
"""

_FIRINGS = """
    select $sae as sae, feature, token_index, max(activation) as activation
    from (
        select feature,
            draw(feature, firing, $n_contexts) * 256 + 1 + draw(feature, firing + 7, 255) as token_index,
            (1 + draw(feature, firing, 60))::float as activation
        from range($first, $end) as features (feature), range(200) as firings (firing)
        union all
        -- Where the index says that it fires.
        select feature, context_of(feature, slot, $n_contexts) * 256 + 1 + slot % 7 * 32 + draw(feature, slot, 16),
            (60 - slot)::float
        from range($first, $end) as features (feature), range(60) as slots (slot)
    )
    group by feature, token_index
    order by feature, token_index
"""


def make_lake(
    config: Config, hostile: Sequence[str] = (), n_contexts: int = 2000, n_tokens: int = 50_000, one_in: int = 8
) -> Lake:
    """Fill every table of a lake.

    Args:
        config: A config with one SAE, `synthetic`, and its number of features.
        hostile: Texts of the first tokens; each explanation contains all of them.
        n_contexts: Number of contexts in the corpus.
        n_tokens: Size of the vocabulary.
        one_in: One in this many features is explained by a model and has windows, answers and requests.
    """
    lake = Lake(config, SourceHashes("made", {SAE: "made"}, "float32"))
    n_features = config.saes[0].n_features
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        connection.execute("set variable hostile = $texts::varchar[]", {"texts": list(hostile)})
        connection.execute("set variable one_in = $one_in", {"one_in": one_in})
        connection.execute(_MACROS)
        values = {
            "sae": SAE,
            "n_features": n_features,
            "n_tokens": n_tokens,
            "n_contexts": n_contexts,
            "batch": BATCH,
            "one_in": one_in,
            "hostile": " ".join(hostile),
            "explainers": list(config.explaining.explainers),
            "scorers": list(config.scoring.scorers),
        }
        _write_corpus(lake, connection, values)
        for name, text in _OF_SAE.items():
            _write(lake, name, _rows(connection, text, values), sae=SAE)
        for batch in range(config.n_batches):
            bounds = {"first": batch * BATCH, "end": min(n_features, (batch + 1) * BATCH)}
            _write_batch(lake, connection, values | bounds, batch)
        _write_summary(lake, connection, values)
    lake.refresh_catalog()
    return lake


def _write_corpus(lake: Lake, connection: duckdb.DuckDBPyConnection, values: dict[str, Any]) -> None:
    tokens = """
        select token_id, spelled(token_id) as text, encode(text) as bytes, false as is_special
        from range($n_tokens) as tokens (token_id)
        order by token_id
    """
    _write(lake, "tokens", _rows(connection, tokens, values))
    contexts = """
        select context_id, 'd' || context_id % 50 as doc_id, 0 as shard,
            list_transform(range(256), lambda number: draw(context_id, number, $n_tokens)) as token_ids
        from range($n_contexts) as contexts (context_id)
        order by context_id
    """
    _write(lake, "contexts", _rows(connection, contexts, values), shard=0)
    slots = """
        select context_id, start, 32 as n_tokens, 'd' || context_id % 50 as doc_id,
            if(context_id % 2 = 0, 'train', 'test') as role, false as is_copied, true as is_candidate
        from range($n_contexts) as contexts (context_id), range(1, 225, 32) as starts (start)
        order by context_id, start
    """
    _write(lake, "slots", _rows(connection, slots, values))


def _write_batch(lake: Lake, connection: duckdb.DuckDBPyConnection, values: dict[str, Any], batch: int) -> None:
    for name, text in _OF_BATCH.items():
        _write(lake, name, _rows(connection, text, values), sae=SAE, batch=batch)
    for part in lake.parts("explanations"):
        text = _OF_CONTROLS if part == CONTROLS else _OF_EXPLAINER
        rows = _rows(connection, text, values | {"part": part})
        _write(lake, "explanations", rows, sae=SAE, batch=batch, part=part)
    for part in lake.parts("predictions"):
        text = _OF_GENERATION if part == "generation" else _OF_SCORER
        rows = _rows(connection, text, values | {"part": part})
        _write(lake, "predictions", rows, sae=SAE, batch=batch, part=part)
    firings = _rows(connection, _FIRINGS, values)
    lake.ensure_schema_file("activations", SAE)
    folder = lake.path("activations", sae=SAE)
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(_whole("activations", firings), folder / f"{batch:05d}.parquet")
    _write_requests(lake, values["first"], values["end"], values["one_in"])


def _write_requests(lake: Lake, first: int, end: int, one_in: int) -> None:
    """Write three requests about each feature that a model is asked about."""
    folder = lake.root / LEDGER_FOLDER / "predictions" / SAE
    folder.mkdir(parents=True, exist_ok=True)
    messages = [
        {"role": "system", "content": "Does it fire?\n" * 40},
        {"role": "user", "content": "A window.\n" * 40},
    ]
    with (folder / f"{first}-{end - 1}.jsonl").open("w", encoding="utf-8") as file:
        for feature in range(-(-first // one_in) * one_in, end, one_in):
            for number, purpose in enumerate(("explain", "detection", "detection")):
                record = {
                    "request_id": f"{feature}-{number}",
                    "purpose": purpose,
                    "sae": SAE,
                    "feature": feature,
                    "model": "made",
                    "messages": messages,
                    "response": "yes",
                    "status": "ok",
                    "attempts": 1,
                    "prompt_tokens": None if number else 300,
                    "completion_tokens": 3,
                    "cost_usd": 0.0001,
                    "duration_ms": 500,
                    "requested_at": "2026-01-01T00:00:00Z",
                }
                file.write(json.dumps(record) + "\n")


def _write_summary(lake: Lake, connection: duckdb.DuckDBPyConnection, values: dict[str, Any]) -> None:
    summary = """
        select $sae as sae, route, explainer, scorer, 'balanced_accuracy' as metric, 100 as n_features,
            if(explainer in ('empty', 'other_feature'), 0.52, 0.75) as mean, mean - 0.03 as ci_low,
            mean + 0.03 as ci_high, 0.5 as p10, 0.7 as p50, 0.9 as p90, 1.0 as coverage
        from (select unnest(['llm', 'rule']) as route), (select unnest($explainers || ['empty', 'other_feature'])
            as explainer), (select unnest($scorers) as scorer)
    """
    _write(lake, "summary", _rows(connection, summary, values))


def _rows(connection: duckdb.DuckDBPyConnection, text: str, values: dict[str, Any]) -> pa.Table:
    used = {name: value for name, value in values.items() if f"${name}" in text}
    return connection.sql(text, params=used).to_arrow_table()


def _whole(table: str, rows: pa.Table) -> pa.Table:
    """Rows with all the columns of a table; missing ones are null."""
    names = set(rows.schema.names)
    columns = [
        rows[field.name].cast(field.type) if field.name in names else pa.nulls(rows.num_rows, field.type)
        for field in TABLES[table].schema
    ]
    return pa.table(columns, schema=TABLES[table].schema)


def _write(lake: Lake, table: str, rows: pa.Table, **partition: Any) -> None:
    lake.write(table, _whole(table, rows), **partition)


def write_config(folder: Path, n_features: int, batch_size: int = BATCH) -> Path:
    """Write the config of such a lake below a folder; no model or SAE exists."""
    path = folder / "synthetic.yaml"
    path.write_text(
        json.dumps(
            {
                "name": "synthetic",
                "subject": {"model": "none"},
                "saes": [{"name": SAE, "source": "none", "hookpoint": "layers.9", "n_features": n_features}],
                "corpus": {
                    "sources": [{"kind": "text", "path": "none"}],
                    "context_length": CONTEXT_LENGTH,
                    "shards": 1,
                },
                "selection": {"batch_size": batch_size},
                "explaining": {"explainers": ["default", "keywords", "rule"], "model": "none"},
                "scoring": {"scorers": ["detection", "fuzzing", "simulation", "generation"], "model": "none"},
                "machine": {"lake": str(folder / "lake")},
            }
        ),
        encoding="utf-8",
    )
    return path
