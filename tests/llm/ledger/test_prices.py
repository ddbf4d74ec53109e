"""The price file: what users may write into it, and what an answer costs by it."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.llm.ledger.prices import Price, Prices, load_prices

SHIPPED = Path(__file__).parents[3] / "config" / "prices.yaml"


def written(folder, text):
    path = folder / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_has_the_prices_of_the_post():
    prices = load_prices(SHIPPED)
    assert prices.of("gpt-4o-mini-2024-07-18").completion == 0.6
    # The post: 963 prompt and 30 output tokens cost $160 per million features, and with Claude $3,400.
    assert prices.usd("gpt-4o-mini", 963e6, 30e6) == pytest.approx(160, rel=0.02)
    assert prices.usd("claude-3-5-sonnet-20240620", 963e6, 30e6) == pytest.approx(3400, rel=0.02)


def test_cached_tokens_are_part_of_the_prompt_and_have_their_own_price():
    assert Price(prompt=2, cached=1, completion=10).usd(100, 10, 40) == pytest.approx((60 * 2 + 40 + 100) / 1e6)
    assert Price(prompt=2, completion=10).usd(100, 10, 40) == pytest.approx((100 * 2 + 100) / 1e6)


def test_more_cached_tokens_than_the_prompt_has_stood_beside_it_and_cost_no_less_than_nothing():
    assert Price(prompt=2, cached=1, completion=10).usd(10, 10, 40) == pytest.approx((40 + 100) / 1e6)


def test_an_exact_name_goes_before_a_pattern_and_an_earlier_pattern_before_a_later(tmp_path):
    prices = load_prices(
        written(
            tmp_path,
            """
        small*: {prompt: 1, completion: 1}
        "*": {prompt: 2, completion: 2}
        small-2: {prompt: 3, completion: 3}
        a[1m]: {prompt: 4, completion: 4}
    """,
        )
    )
    models = ("small", "small-1", "small-2", "other/small-1", "a[1m]", "a1")
    assert [prices.of(model).prompt for model in models] == [1, 1, 3, 2, 4, 2]


def test_no_price_or_no_number_of_tokens_is_no_cost():
    prices = Prices({"known": Price(prompt=1, completion=1)})
    assert prices.usd("unknown", 1, 1) is None
    assert prices.usd("known", None, 1) is None
    assert prices.usd("known", 1, None) is None
    assert prices.usd("known", 1, 1, None) is not None


def test_an_empty_file_has_no_prices(tmp_path):
    assert load_prices(written(tmp_path, "# nothing yet\n")).of("any") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: {prompt: 1, completion: 2, cahced: 1}", "model 'a': unknown key 'cahced'; nearest known: 'cached'"),
        ("a: {prompt: 1}", "model 'a': key 'completion' is missing"),
        ("a: {prompt: -1, completion: 2}", "'prompt' must be a price in USD per million tokens, not -1"),
        ("a: {prompt: cheap, completion: 2}", "'prompt' must be a price"),
        ("a: {prompt: .inf, completion: 2}", "'prompt' must be a price"),
        ("a: 3", "model 'a': write {prompt: …, completion: …}"),
        ("- a", "holds no models"),
        ("a: {", "is not YAML"),
    ],
)
def test_what_is_wrong_with_a_price_file_is_said_in_a_sentence(tmp_path, text, says):
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_prices(path)
    assert says in str(error.value) and str(path) in str(error.value)


def test_a_file_that_is_not_there_is_named_with_the_key_to_set(tmp_path):
    with pytest.raises(ConfigError, match=r"no price file '.*none.yaml'; set budget.prices"):
        load_prices(tmp_path / "none.yaml")
