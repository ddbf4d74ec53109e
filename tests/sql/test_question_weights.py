"""What a question stands for: windows are taken documents in turn, and weights undo what that prefers.

Each feature is one draw from the same silent slots, through the pipeline's own SQL; the mean over features is the
expected figure.
"""

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from .rows import SAE, Database
from .score_reference import fill_index

N_DRAWS = 150
ASKED = (20, 45)
SIZES = np.array([1] * 30 + [2] * 15 + [5] * 8 + [20] * 4)
"""Slots of each document: more documents than 45, so that some are left out."""
N_SLOTS = int(SIZES.sum())
PROPERTIES = {
    "crowded": np.repeat(SIZES >= 5, SIZES),
    "alone": np.repeat(SIZES == 1, SIZES),
    "regardless": np.arange(N_SLOTS) % 3 == 0,
}
"""Of each slot: of a document of many, of a document of one, and what has nothing to do with its document."""


def drawn_database(**values):
    """Slots taken for N_DRAWS features, whose draws differ."""
    database = Database(scoring_n_questions=max(ASKED), **values)
    draws = np.argsort(np.random.default_rng(7).random((N_DRAWS, N_SLOTS)), axis=1) + 1
    feature, slot = (each.ravel().astype(np.int32) for each in np.indices(draws.shape))
    index = pa.table({"feature": feature, "slot": slot, "draw": draws.ravel().astype(np.int32)})
    document = np.repeat(np.arange(len(SIZES)), SIZES)
    database.fill("contexts", [
        {"context_id": place, "doc_id": f"d{number}"} for place, number in enumerate(document.tolist())
    ])  # fmt: skip
    database.connection.register("given", index)
    database.connection.execute(f"""
        create or replace temp table batch_index as
            select *, '{SAE}' as sae, slot::bigint as context_id, 1 as start, 8 as n_tokens, null::float as peak,
                'test' as role, null::tinyint as decile, null::int as rank, {N_SLOTS} as n_slots
            from given
            where false;
        create or replace temp table candidate_slots as
            select distinct slot, slot::bigint as context_id, 1 as start, 8 as n_tokens, 'test' as role from given;
        create or replace temp table silent_strata as
            select feature, slot, 'random' as kind, draw, {N_SLOTS} as n_slots from given;
    """)
    database.connection.unregister("given")
    database.make("slots_in_turn", "test_slots", "taken_slots")
    return database


def expected_shares(**values):
    """By number of questions and property: the share by weights and without, the least and most sum of weights."""
    database = drawn_database(**values)
    database.connection.register("of_slots", pa.table({"context_id": np.arange(N_SLOTS)} | PROPERTIES))
    database.connection.execute(f"""
        create or replace temp table examples as
            select *, '{SAE}' as sae, concat_ws(' ', feature, context_id) as example_id from taken_slots;
        create or replace temp table predictions as
            select concat_ws(' ', feature, asked) as explanation_id, 'detection' as scorer, 'test' as role,
                false as label, example_id as question_id, example_id, false as prediction, 'ok' as status,
                null::double[] as "values", asked, context_id
            from examples
            cross join (select unnest({list(ASKED)}) as asked)
            where draw <= asked
    """)
    database.make("question_weights")
    found = database.connection.sql(f"""
        with rows as (
            unpivot (
                select explanation_id, asked, weight, {", ".join(PROPERTIES)}
                from question_weights
                join predictions using (explanation_id, question_id)
                join of_slots using (context_id)
            ) on {", ".join(PROPERTIES)} into name property value has_it
        ),
        shares as (
            select asked, property, sum(weight * has_it::int) / sum(weight) as by_weight,
                avg(has_it::int) as plain, sum(weight) as total
            from rows
            group by explanation_id, asked, property
        )
        select asked, property, avg(by_weight), avg(plain), min(total), max(total) from shares group by all
    """).fetchall()
    database.connection.unregister("of_slots")
    return {(asked, name): figures for asked, name, *figures in found}


def test_weights_undo_that_documents_come_in_turn():
    found = expected_shares()
    assert len(found) == len(ASKED) * len(PROPERTIES)
    for (asked, name), (by_weight, plain, least, most) in sorted(found.items()):
        truth = PROPERTIES[name].mean()
        print(f"{asked} questions, {name}: truth {truth:.3f}, by weight {by_weight:.3f}, without {plain:.3f}")
        assert least == pytest.approx(N_SLOTS) and most == pytest.approx(N_SLOTS)
        assert by_weight == pytest.approx(truth, abs=0.03)
        if name != "regardless":
            assert abs(plain - truth) > 0.1


def test_silent_windows_drawn_at_random_weigh_alike():
    for by_weight, plain, _, _ in expected_shares(scoring_silent="random").values():
        assert by_weight == pytest.approx(plain)


CHANCES = {"level": np.full(len(SIZES), 0.8), "by size": 0.95 - 0.35 * (SIZES - 1) / 19}
"""By document, how likely the answers about it are right."""


def right_answers(rng, chance, rho):
    """Right or wrong [N_DRAWS, N_SLOTS]: those about a document go together by rho."""
    strength = 1 / rho - 1
    of_document = rng.beta(chance * strength, (1 - chance) * strength, (N_DRAWS, len(SIZES)))
    return rng.random((N_DRAWS, N_SLOTS)) < np.repeat(of_document, SIZES, axis=1)


def test_intervals_hold_at_these_weights():
    rng = np.random.default_rng(3)
    database = drawn_database()
    answers = np.stack([right_answers(rng, chance, 0.1) for chance in CHANCES.values()])
    number, feature, slot = (each.ravel() for each in np.indices(answers.shape))
    given = {"number": number, "feature": feature, "context_id": slot, "is_right": answers.ravel()}
    database.connection.register("given", pa.table(given))
    database.connection.execute(f"""
        create or replace temp table examples as
            select *, '{SAE}' as sae, concat_ws(' ', feature, context_id) as example_id from taken_slots;
        create or replace temp table predictions as
            select concat_ws(' ', number, asked, feature) as explanation_id, 'detection' as scorer, 'test' as role,
                concat_ws(' ', number, asked, example_id) as question_id, example_id, false as label,
                not is_right as prediction, 'ok' as status, null::double as probability, null::int as n_choices,
                null::varchar[] as strata, null::varchar as cluster, null::double[] as "values", feature
            from given
            join examples using (feature, context_id)
            cross join (select unnest({list(ASKED)}) as asked)
            where draw <= asked;
        create or replace temp table explanations as
            select distinct explanation_id, '{SAE}' as sae, feature, 'default' as explainer from predictions
    """)
    database.connection.unregister("given")
    fill_index(database.connection)
    database.make(
        *("question_answers", "rate_intervals", "balanced_accuracies", "choice_scores", "ranked_scores"),
        *("sample_scores", "question_weights"),
    )
    truths = [1 - (chance * SIZES).sum() / N_SLOTS for chance in CHANCES.values()]
    held = defaultdict(list)
    for row in database.rows("population_scores"):
        number, asked, _ = map(int, row["explanation_id"].split())
        low, high = row["false_positive_rate_low"], row["false_positive_rate_high"]
        held[number, asked].append(low <= truths[number] <= high)
    shares = {point: round(np.mean(each), 3) for point, each in held.items()}
    print(shares)
    assert len(shares) == len(CHANCES) * len(ASKED) and {len(each) for each in held.values()} == {N_DRAWS}
    assert 0.93 <= np.mean(list(shares.values())) <= 0.98
    assert min(shares.values()) >= 0.88
