"""The texts on which strengths are found, and those that are continued."""

from .rows import Database

N_TOKENS = 16


def prompts(database, **given):
    """Rows as dictionaries, with 4 continued texts unless told otherwise."""
    own = {"n_held_out": 6, "prompt_tokens": N_TOKENS, "n_trials": 2, "set_size": 2, **given}
    named = {f"scoring_intervention_{name}": value for name, value in own.items()}
    return database.rows("steering_prompts", seed=0, **named)


def filled(n_documents, n_contexts):
    """A lake of documents, every second one of role test, with so many contexts each."""
    database = Database()
    database.fill(
        "documents", [{"doc_id": str(doc), "role": ("train", "test")[doc % 2]} for doc in range(n_documents)]
    )
    database.fill(
        "contexts",
        [
            {"doc_id": str(doc), "context_id": doc * 100 + turn, "token_ids": [doc] * 40}
            for doc in range(n_documents)
            for turn in range(n_contexts)
        ],
    )
    return database


def documents_of(rows, role):
    return [row["token_ids"][0] for row in rows if row["role"] == role]


def test_each_document_has_its_turn_before_one_has_a_second():
    rows = prompts(filled(8, 3))  # 4 train documents with 12 contexts
    train = documents_of(rows, "train")
    assert len(train) == 6 and len({*train[:4]}) == 4 and {*train} == {0, 2, 4, 6}
    assert len({row["context_id"] for row in rows}) == len(rows)
    assert all(len(row["token_ids"]) == N_TOKENS for row in rows)


def test_continued_texts_are_of_distinct_test_documents_though_there_be_more_contexts():
    rows = prompts(filled(6, 5))  # 3 test documents, 4 texts wanted
    test = documents_of(rows, "test")
    assert sorted(test) == [1, 3, 5]


def test_contexts_that_are_too_short_are_left_out():
    rows = prompts(filled(8, 3), prompt_tokens=41)
    assert rows == []
