# ruff: noqa: F811 (the fixtures are imported)
"""The estimate and the run agree: what is counted is what is sent, what is priced is what is recorded."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from llm.batch_oracle import BatchOracle, End
from llm.oracle import Oracle, Reply
from oracles import is_marked, read_question, scorer, sometimes
from test_explain_and_score import SAE, explain_and_score, make, tick  # noqa: F401 (fixtures)
from tiny import ANIMAL, COLOUR, NEVER, STOP, open_lake, rows_of, unfinished_batches, write_experiment
from transformers import AutoTokenizer

from assets.graph.build import build_definitions
from pipeline.asking.spending import spent_budget
from pipeline.commands.estimate import print_estimates
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.estimate.bounds import bounds_of, most_features
from pipeline.estimate.counting import count_requests
from pipeline.estimate.printing import estimate_sentence, waits_sentence
from pipeline.estimate.tokens import foreign_counter, own_counter
from pipeline.estimate.write import estimate
from pipeline.explainers.write import write_explanations
from pipeline.features.selection import select_features, write_selected_features
from pipeline.features.token_changes import write_token_changes
from pipeline.lake import Lake
from pipeline.llm import Message
from pipeline.llm.oracle.judges import literal
from pipeline.make_table import make_table
from pipeline.pilot.write import write_scorer_rhos
from pipeline.plugins import find_plugins
from pipeline.preflight import preflight
from pipeline.scorers.write import load_scorer, write_predictions
from pipeline.summary import write_summary

pytestmark = pytest.mark.whole

TRUTH = scorer(literal)
Make = Callable[..., Config]


def estimated(lake: Lake) -> pl.DataFrame:
    return pl.DataFrame(estimate(lake, SAE))


def requests(rows: pl.DataFrame) -> dict[str, int]:
    """Requests to be sent by purpose, zeros left out."""
    counts = rows.group_by("purpose").agg(pl.col("requests").sum()).iter_rows()
    return {purpose: n for purpose, n in counts if n}


def sent(oracle: Oracle) -> dict[str, int]:
    """Requests that came in, by purpose."""
    found: Counter[str] = Counter()
    for body in oracle.requests:
        asked = read_question(body)
        found["explain" if asked is None else "fuzzing" if is_marked(asked) else "detection"] += 1
    return dict(found)


def price_file(folder: Path, text: str = "oracle: {prompt: 2, cached: 1, completion: 10}") -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prices.yaml").write_text(text)
    return {"prices": str(folder / "prices.yaml")}


@pytest.mark.parametrize("questions_per_prompt", [1, 3])
def test_what_is_estimated_is_sent_and_afterwards_there_are_0_requests(
    make: Make, questions_per_prompt: int
) -> None:
    with Oracle(TRUTH) as oracle:
        config = make(oracle.base_url, scoring={"questions_per_prompt": questions_per_prompt})
        lake = open_lake(config)
        before = estimated(lake)
        assert oracle.n_requests == 0 and not lake.has("examples", sae=SAE, batch=0)
        explain_and_score(config)
        assert requests(before) == sent(oracle)
        after = estimated(lake)
    assert requests(after) == {}
    assert after["known_requests"].to_list() == before["requests"].to_list()
    assert estimate_sentence(after) == "nothing to ask: 0 requests"


def test_a_scorer_that_asks_nobody_has_its_time_until_it_has_been_there(make: Make) -> None:
    with Oracle(TRUTH) as oracle:
        config = make(oracle.base_url, scoring={"scorers": ["detection", "surprisal"]})
        lake = open_lake(config)
        before = estimated(lake).filter(purpose="surprisal")
        assert before["requests"].item() == 0 and before["seconds"].item() > 0
        explain_and_score(config)
        assert estimated(lake).filter(purpose="surprisal")["seconds"].item() == 0


def test_amid_a_run_only_what_is_left_is_counted(make: Make) -> None:
    with Oracle(TRUTH) as oracle:
        config = make(oracle.base_url)
        lake = open_lake(config)
        make_table(lake, "examples", sae=SAE, batch=0)
        make_table(lake, "fuzzing_pairs", sae=SAE, batch=0)
        write_explanations(lake, SAE, 0)
        rest = estimated(lake)
        n_explained = oracle.n_requests
        write_predictions(lake, SAE, 0)
        assert sum(requests(rest).values()) == oracle.n_requests - n_explained
    assert "explain" not in requests(rest)
    assert rest.filter(purpose="explain")["known_requests"].item() == n_explained


def test_what_could_not_be_used_is_counted_where_it_will_be_asked_again(make: Make, tmp_path: Path) -> None:
    with Oracle(sometimes(TRUTH, Reply(fault="refuse"), Reply("perhaps"), every=4)) as oracle:
        lake = explain_and_score(make(oracle.base_url))
    statuses = {row["status"] for row in rows_of(lake, "from predictions")}
    assert statuses >= {"ok", "refused", "unparsed"}
    twice = {"source": tmp_path / "one", "explaining": {"max_draws": 2}, "scoring": {"max_draws": 2}}
    with Oracle(TRUTH) as oracle:
        config = make(oracle.base_url, "twice", **twice)
        before = estimated(open_lake(config))
        explain_and_score(config)
        assert requests(before) == sent(oracle) != {}
        assert requests(estimated(open_lake(config))) == {}


def test_one_draw_is_counted_of_what_nobody_has_answered(make: Make) -> None:
    """Every scorer and searching explainer can use its own stand-in."""
    oracle = {"provider": "oracle", "max_draws": 3}
    scorers = [name for name in find_plugins("scorers") if load_scorer(name).role]
    steering = {"set_size": 2, "n_trials": 2, "prompt_tokens": 4, "new_tokens": 4, "pool": 4}
    config = make(
        "http://127.0.0.1:9",
        explaining={**oracle, "explainers": ["best_of_k", "refinement", "combined", "rule"]},
        scoring={**oracle, "scorers": scorers, "intervention": steering},
    )
    lake = open_lake(config)
    selected = select_features(lake, SAE)
    counted = count_requests(lake, SAE, 0, selected, selected.slice(0, 0)).requests
    assert {each.request.purpose for each in counted} > {*scorers, "best_of_k_judging", "refinement_judging"}
    assert not [each.request for each in counted if each.request.repeats]


def test_refusals_are_counted_with_answers_that_are_cut_at_their_maximum(make: Make) -> None:
    """A refusal has no tokens, and Yes more than one in this tokenizer."""
    scoring = {"provider": "oracle", "oracle": {"refusal_rate": 0.5}, "questions_per_prompt": 1}
    explaining = {"provider": "oracle", "explainers": ["rule"]}
    lake = explain_and_score(make("http://127.0.0.1:9", explaining=explaining, scoring=scoring))
    asked = rows_of(lake, "select distinct request_id, status from predictions where scorer = 'detection'")
    statuses = Counter(row["status"] for row in asked)
    assert statuses["ok"] > 10 and statuses["refused"] > 10
    again = make("http://127.0.0.1:9", explaining=explaining, scoring={**scoring, "max_draws": 2})
    rows = estimated(open_lake(again)).filter(purpose="detection")
    assert rows["requests"].sum() == rows["completion_tokens"].sum() == statuses["refused"]


def test_once_token_changes_are_measured_the_explanations_from_them_are_known(make: Make) -> None:
    changed = {"tokens": "changed", "n_texts": 2, "n_text_tokens": 8}
    explaining = {"provider": "oracle", "explainers": ["output_centric"], "output_centric": changed}
    scoring = {"provider": "oracle", "pilot_features": 3}
    lake = open_lake(make("http://127.0.0.1:9", explaining=explaining, scoring=scoring))
    before = estimated(lake)
    row = before.filter(purpose="token_changes").row(0, named=True)
    assert row["subject_tokens"] == 2 * 8 * (1 + 2 * 3) and row["requests"] == 0
    write_scorer_rhos(lake, SAE)  # before they are measured, so that it asks for none
    write_token_changes(lake, SAE, 0)
    explain_and_score(lake.config)
    recorded = Counter(row["purpose"] for row in rows_of(lake, "from llm_requests"))
    assert requests(before) == recorded and recorded["output_centric"] > 0
    after = estimated(lake)
    assert requests(after) == {} and after.filter(purpose="token_changes").is_empty()
    assert after["known_requests"].sum() == recorded.total()


def test_a_changed_selection_counts_before_the_table_is_made_again(make: Make) -> None:
    lake = open_lake(make("http://127.0.0.1:9"))
    assert estimated(lake)["n_features"].max() > 1
    one = open_lake(make("http://127.0.0.1:9", selection={"where": "feature = 4"}))
    assert set(estimated(one)["n_features"]) == {1}


@pytest.mark.parametrize("left", [0, 1, 4])
def test_of_a_batch_that_is_done_nothing_is_counted_that_a_run_would_not_ask(
    make: Make, tmp_path: Path, left: int
) -> None:
    """As fewer features are selected, others would be controls of each other."""
    with Oracle(TRUTH) as oracle:
        explain_and_score(make(oracle.base_url, explaining={"controls": 2}))
    selection = {"where": f"feature <> {left}"}
    config = make("http://127.0.0.1:9", "fewer", tmp_path / "one", selection=selection, explaining={"controls": 2})
    write_selected_features(open_lake(config), SAE)
    assert not unfinished_batches(config)
    rows = estimated(open_lake(config))
    assert requests(rows) == {} and rows["known_requests"].sum() > 0


def test_every_batch_of_a_run_is_counted_by_itself(make: Make) -> None:
    with Oracle(TRUTH) as oracle:
        config = make(oracle.base_url, selection={"batch_size": 1, "batches_per_run": 2})
        write_selected_features(open_lake(config), SAE)
        rows = estimated(open_lake(config))
        assert set(rows["batch"]) == {0, 1}
        explain_and_score(config, (0, 1))
        assert requests(rows) == sent(oracle)


def test_dollars_are_those_of_the_price_file_and_so_is_what_is_recorded(make: Make, tmp_path: Path) -> None:
    with Oracle(TRUTH) as oracle:
        config = make(oracle.base_url, budget=price_file(tmp_path))
        before = estimated(open_lake(config))
        lake = explain_and_score(config)
        write_summary(lake)
    for row in before.iter_rows(named=True):
        expected = (2 * row["prompt_tokens"] + 10 * row["completion_tokens"]) / 1e6
        assert row["cost_usd"] == pytest.approx(expected, rel=0.01)
        assert row["max_cost_usd"] >= row["cost_usd"] > 0
        assert row["cached_tokens"] == 0 and row["seconds"] is None  # nothing is recorded yet
    recorded = rows_of(lake, "from llm_requests where purpose <> 'probe'")
    for row in recorded:
        fresh = row["prompt_tokens"] - row["cached_tokens"]
        assert row["cost_usd"] == (2 * fresh + row["cached_tokens"] + 10 * row["completion_tokens"]) / 1e6
    # The explanation's own request is in the rows of both scorers, and nothing else is in two.
    explained = sum(row["cost_usd"] for row in recorded if row["purpose"] == "explain")
    total = sum(row["cost_usd"] for row in rows_of(lake, "from summary"))
    assert total == pytest.approx(sum(row["cost_usd"] for row in recorded) + explained)


def test_in_batches_it_costs_half_and_the_waits_are_said(make: Make, tmp_path: Path) -> None:
    with BatchOracle(TRUTH, ends=[End(n_looks=0)]) as oracle:
        endpoint = {"batch": True, "batch_poll_seconds": 0.01}
        lake = open_lake(make(oracle.base_url, endpoint=endpoint, budget=price_file(tmp_path)))
        before = estimated(lake)
        lake = explain_and_score(lake.config)
        assert oracle.n_requests == 0
        assert sum(requests(before).values()) == len(oracle.asked()) == len(set(oracle.asked()))
        assert len(oracle.batches) == before["batch_waits"].sum() == 3
    waits = dict(before.filter(~pl.col("is_control")).select("purpose", "batch_waits").iter_rows())
    assert waits == {"explain": 1, "detection": 1, "fuzzing": 1}
    for row in before.iter_rows(named=True):
        expected = 0.5 * (2 * row["prompt_tokens"] + 10 * row["completion_tokens"]) / 1e6
        assert row["cost_usd"] == pytest.approx(expected, rel=0.01)
    assert "makes a run wait 3 times" in estimate_sentence(before)
    assert waits_sentence(estimated(lake)) is None
    for row in rows_of(lake, "from llm_requests where purpose <> 'probe'"):
        paid = 0.5 * (2 * row["prompt_tokens"] + 10 * row["completion_tokens"]) / 1e6
        assert row["cost_usd"] == pytest.approx(paid) and row["batch_id"] is not None


@pytest.mark.parametrize("threshold", ["half", "controls"])
def test_a_pilot_has_waits_of_its_own_and_asks_about_controls_once(make: Make, threshold: str) -> None:
    with BatchOracle(TRUTH, ends=[End(n_looks=0)]) as oracle:
        scoring = {"scorers": ["detection"], "pilot_features": 2, "threshold": threshold}
        config = make(oracle.base_url, endpoint={"batch": True, "batch_poll_seconds": 0.01}, scoring=scoring)
        before = estimated(open_lake(config))
        write_scorer_rhos(open_lake(config), SAE)
        amid = estimated(open_lake(config))
        n_piloted = len(oracle.batches)
        explain_and_score(config)
        assert sum(requests(before).values()) == len(oracle.asked()) == len(set(oracle.asked()))
    waits = {purpose: n for purpose, n in before.select("purpose", "batch_waits").iter_rows() if n}
    thresholds = {"thresholds": 1} if threshold == "controls" else {}
    assert waits == {"explain": 1, "detection": 2, **thresholds}  # of one explained feature, and rules
    assert len(oracle.batches) == sum(waits.values()) == n_piloted + amid["batch_waits"].sum()
    assert "thresholds" not in requests(amid)


def test_without_a_price_dollars_are_unknown_and_the_rest_is_told(make: Make, tmp_path: Path) -> None:
    lake = open_lake(make("http://127.0.0.1:9", budget=price_file(tmp_path, "")))
    rows = estimated(lake)
    assert rows["cost_usd"].null_count() == rows.height
    assert rows["prompt_tokens"].min() > 0
    assert "USD" not in estimate_sentence(rows)


def test_a_local_models_prompts_are_counted_to_the_token_and_cost_nothing(make: Make, tiny_subject: Path) -> None:
    local = {"provider": "local", "model": str(tiny_subject)}
    explaining = {**local, "max_tokens": 4, "n_examples": 4, "controls": 2}
    config = make("http://127.0.0.1:9", explaining=explaining, scoring={**local, "questions_per_prompt": 1})
    lake = open_lake(config)
    before = estimated(lake)
    explain_and_score(config)
    spent = rows_of(lake, "select purpose, sum(prompt_tokens) as n from llm_requests group by purpose")
    by_purpose = {row["purpose"]: row["n"] for row in spent}
    assert before.filter(purpose="explain")["prompt_tokens"].item() == by_purpose["explain"]
    assert set(before["cost_usd"]) == {0.0}
    assert {row["cost_usd"] for row in rows_of(lake, "from llm_requests")} == {0.0}
    assert requests(estimated(lake)) == {}


def test_tokens_of_a_foreign_model_are_corrected_by_what_its_server_counted(tiny_subject: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_subject)
    chats = [[Message("user", f"the cat and the dog, {number}")] for number in range(5)]
    own = own_counter(tokenizer).prompts(chats)
    bare = foreign_counter(tokenizer, [], is_of_texts=False)
    assert bare.prompts(chats) == own and "nothing is recorded" in bare.by
    recorded = [(chat, round(1.5 * n)) for chat, n in zip(chats, own, strict=True)]
    corrected = foreign_counter(tokenizer, recorded, is_of_texts=False)
    assert corrected.prompts(chats) == pytest.approx([1.5 * n for n in own], rel=0.03)
    assert "times 1.5" in corrected.by and "5 recorded prompts" in corrected.by


def test_recorded_answers_tell_cached_tokens_lengths_and_time(make: Make) -> None:
    with Oracle(TRUTH) as oracle:
        config = make(oracle.base_url, selection={"batch_size": 1})
        write_selected_features(open_lake(config), SAE)
        explain_and_score(config, (0,))
        config = make(oracle.base_url, selection={"batch_size": 1, "batches_per_run": 3})
        rows = estimated(open_lake(config)).filter(pl.col("batch") > 0, purpose="detection")
    assert rows["tokens_by"].str.contains("recorded prompts").all()
    for row in rows.iter_rows(named=True):
        assert row["cached_tokens"] == pytest.approx(0.5 * row["prompt_tokens"], rel=0.05)  # as the oracle does
        assert row["completion_tokens"] == 10 * row["requests"]  # words of five numbers with their answers
        assert row["seconds"] > 0


# As a user meets it ---------------------------------------------------------------------------------------


def test_the_command_says_disk_and_time_before_and_requests_after_the_preparation(
    make: Make, prepared: Path, tmp_path: Path, tiny_subject: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_estimates(str(write_experiment(tmp_path / "new", subject={"model": str(tiny_subject)})))
    assert not [path for path in (tmp_path / "new" / "lake").rglob("*") if path.is_file()]
    said = capsys.readouterr().out
    assert "caching: the corpus has not been read yet; each 1,000,000 tokens x" in said
    assert "of disk" in said and "tokens per second" in said
    assert "reading: each million tokens in" in said
    assert "hand-set: not prepared yet. A run explains at most 8 of its features and asks at most:" in said
    assert "detection" in said and "budget: {max_requests: 0}" in said and "requests  known" not in said

    make("http://127.0.0.1:9")
    print_estimates(str(tmp_path / "one" / "tiny.yaml"))
    said = capsys.readouterr().out
    assert "caching" not in said
    lines = [line.split() for line in said.splitlines()]
    assert ["stage", "requests", "known", "prompt", "answers", "at", "most", "USD", "at", "most", "time"] in lines
    assert next(line[:2] for line in lines if line and line[0] == "explain") == ["explain", "1"]
    assert "per million llm features" in said and "all 1 llm features of hand-set" in said
    assert "No price is known for oracle" in said
    assert "stand-in" in said and "Budget: no limit is set" in said


def test_before_it_is_prepared_an_sae_has_the_time_and_most_requests_of_a_run(
    tmp_path: Path, tiny_subject: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"subject": {"model": str(tiny_subject)}, "corpus": {"max_tokens": 20_000}}
    explaining = {"explainers": ["keywords", "rule"]}
    path = write_experiment(tmp_path / "a", **given, explaining=explaining, scoring={"scorers": ["surprisal"]})
    print_estimates(str(path))
    said = capsys.readouterr().out
    assert "preparing: statistics, rules and examples from" in said
    assert "A run explains at most 8 of its features and asks no language model." in said and "budget:" not in said
    explaining = {"provider": "openai", "model": "oracle", "explainers": ["best_of_k", "default"]}
    given["budget"] = price_file(tmp_path)
    path = write_experiment(tmp_path / "b", **given, explaining=explaining, scoring={"scorers": ["detection"]})
    print_estimates(str(path))
    said = capsys.readouterr().out
    assert "Not counted before it is prepared: best_of_k." in said


@pytest.mark.parametrize("changes", [{}, {"max_features": 1}, {"target_half_width": 0.1, "n_questions": 25}])
def test_no_more_is_asked_than_the_bound_before_an_sae_is_prepared(
    make: Make, tmp_path: Path, changes: dict[str, float]
) -> None:
    with Oracle(TRUTH) as oracle:
        scoring = {"questions_per_prompt": 5, "pilot_features": 0, **changes}
        lake = open_lake(make(oracle.base_url, budget=price_file(tmp_path), scoring=scoring))
        rows, (bounds, others) = estimated(lake), bounds_of(lake, SAE)
    assert not others and {each.purpose for each in bounds} == {"explain", "detection", "fuzzing"}
    for each in bounds:
        own = rows.filter(purpose=each.purpose)
        n, prompt_tokens, cost = own.select(pl.col("requests", "prompt_tokens", "max_cost_usd").sum()).row(0)
        assert n <= each.requests <= 12 * n
        assert each.prompt_tokens / each.requests == pytest.approx(prompt_tokens / n, rel=0.3)
        assert each.cost_usd and cost <= each.cost_usd


def test_the_most_features_of_a_run_follow_from_quotas_lists_and_batches(make: Make, tmp_path: Path) -> None:
    def most(**selection: object) -> list[int]:
        return most_features(make("http://127.0.0.1:9", selection={"batch_size": 3, **selection}), SAE)

    assert most(quotas=None) == [3] and most(quotas=None, batches_per_run=None) == [3, 3, 2]
    assert most(quotas={"llm": 1, "rule": 1}, batches_per_run=2) == [2, 2]
    features = listed(tmp_path, 0, 3, 4)
    assert most(features=features) == [2, 1] and most(features=features, batches_per_run=1) == [2]


def test_a_spent_budget_stops_a_run_and_the_schedule_and_raising_it_goes_on(make: Make, tmp_path: Path) -> None:
    with Oracle(TRUTH) as oracle, dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        free = make(oracle.base_url, "free")
        explain_and_score(free)
        n_needed = oracle.n_requests
        oracle.requests.clear()

        config = make(oracle.base_url, budget={"max_requests": 10})
        lake = explain_and_score(config)
        assert oracle.n_requests == 10
        statuses = Counter(row["status"] for row in rows_of(lake, "from predictions"))
        assert statuses.keys() == {"ok", "budget"}
        assert unfinished_batches(config)
        sentence = spent_budget(config)
        assert sentence and sentence.startswith("Budget: 10 of 10 requests are spent (budget.max_requests).")
        asked, reason = tick(build_definitions(config).get_repository_def(), instance)
        assert not asked and reason and sentence in reason

        raised = make(oracle.base_url, budget={"max_requests": 10_000})
        assert spent_budget(raised) is None
        assert tick(build_definitions(raised).get_repository_def(), instance)[0] == [f"00000|{SAE}"]
        explain_and_score(raised)
        assert oracle.n_requests == n_needed
        assert not unfinished_batches(raised) and spent_budget(raised) is None


def test_a_limit_in_dollars_without_a_price_stops_at_the_preflight(make: Make, tmp_path: Path) -> None:
    config = make("http://127.0.0.1:9", budget={"max_usd": 5, **price_file(tmp_path, "")})
    with pytest.raises(ConfigError, match=r"max_usd is set, but the price file has no price for model 'oracle'"):
        preflight(config)
    assert preflight(make("http://127.0.0.1:9", budget={"max_requests": 5}))


# What a run leaves out ------------------------------------------------------------------------------------


def listed(folder: Path, *features: int, words: str = "") -> str:
    """The path of a list of features of the SAE, with an explanation each if `words` is given."""
    path = folder / "list.csv"
    lines = [f"embed_tokens,{feature},{words and f'{words} {feature}'}" for feature in features]
    path.write_text("\n".join(["hookpoint,feature,explanation", *lines, ""]))
    return str(path)


def said_of(config_folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    print_estimates(str(config_folder / "tiny.yaml"))
    return capsys.readouterr().out


def test_a_list_is_counted_whole_and_what_is_left_out_of_it_is_said(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    selection = {"features": listed(tmp_path, STOP, COLOUR, NEVER, ANIMAL), "batch_size": 1}
    make("http://127.0.0.1:9", selection=selection)
    said = said_of(tmp_path / "one", capsys)
    assert all(f"hand-set, batch {feature}: what" in said for feature in (STOP, COLOUR, ANIMAL))
    assert "1 of the 4 listed features of hand-set is left out, firing in fewer than 2 slots" in said
    assert f": {NEVER} (0 train, 0 test)." in said and "not counted here" not in said
    assert "2 of the 4 listed features of hand-set have a rule, so no model explains them (explainer def" in said

    make("http://127.0.0.1:9", selection={**selection, "batches_per_run": 1, "quotas": {"llm": 1}})
    said = said_of(tmp_path / "one", capsys)
    assert "2 of the 4 listed features of hand-set are left out, by selection.quotas (llm: 1 in each" in said
    make("http://127.0.0.1:9", selection={**selection, "batches_per_run": 1, "where": f"feature <> {STOP}"})
    said = said_of(tmp_path / "one", capsys)
    assert "is left out, by selection.where (feature <> 0): 0." in said
    assert "1 more batch of hand-set (1 feature) is selected and not counted here: a run makes the first" in said


def test_without_the_route_rule_a_model_explains_every_feature_of_a_list(make: Make, tmp_path: Path) -> None:
    """As the estimate advises."""
    selection = {"features": listed(tmp_path, STOP, COLOUR, ANIMAL)}
    lake = open_lake(make("http://127.0.0.1:9", selection=selection, routing={"rule_gain": 1}))
    make_table(lake, "feature_routes", sae=SAE)
    write_selected_features(lake, SAE)
    routes = rows_of(lake, "select distinct route from feature_routes")
    assert "rule" not in {row["route"] for row in routes}
    assert estimated(lake).filter(purpose="explain")["requests"].item() == 3


def test_that_nothing_is_selected_is_said_and_not_that_nothing_is_left_to_send(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make("http://127.0.0.1:9", selection={"where": "density > 2"})
    said = said_of(tmp_path / "one", capsys)
    assert "No feature of hand-set is selected (selection.where: density > 2" in said
    assert "0 requests" not in said


def test_requests_about_controls_have_a_row_of_their_own(make: Make) -> None:
    with Oracle(TRUTH) as oracle:
        lake = open_lake(make(oracle.base_url))
        before = estimated(lake)
        explain_and_score(lake.config)
    asked = rows_of(
        lake,
        "select scorer, count(distinct predictions.request_id) as n from predictions join explanations "
        "using (explanation_id) where explainer in ('empty', 'other_feature') group by scorer",
    )
    of_controls = before.filter("is_control")
    counted = dict(of_controls.select("purpose", "requests").iter_rows())
    assert counted == {row["scorer"]: row["n"] for row in asked}
    assert of_controls["n_llm_features"].sum() == 0 and of_controls.height == 2


def test_explanations_from_elsewhere_that_a_model_scores_have_a_price_a_feature(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = listed(tmp_path, STOP, ANIMAL, words="what it is")
    explaining = {"explainers": ["imported"], "imported": {"path": path}}
    make("http://127.0.0.1:9", selection={"features": path}, explaining=explaining)
    assert "all 1 llm features of hand-set" in said_of(tmp_path / "one", capsys)
    make(
        "http://127.0.0.1:9",
        selection={"features": path},
        explaining=explaining,
        scoring={"scorers": ["surprisal"]},
    )
    said = said_of(tmp_path / "one", capsys)
    assert "llm features" not in said and "Nothing is left to send: 0 requests." in said
