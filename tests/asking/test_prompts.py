"""Prompts: places checked both ways, and values never looked into."""

import pytest

from pipeline.asking.prompts import Prompt
from pipeline.errors import ConfigError


def test_place_without_value_is_named():
    with pytest.raises(ConfigError, match=r"prompt 'p' has a field {b}, but the fields here are {a}$"):
        Prompt("p", "{a} {b}").render(a="1")


def test_value_without_place_is_named():
    with pytest.raises(ConfigError, match=r"prompt 'p' lacks the field {c}; the fields here are {a}, {c}$"):
        Prompt("p", "{a}").render(a="1", c="2")


def test_all_that_is_odd_is_named():
    with pytest.raises(ConfigError, match=r"has a field {b}, {d}, but the fields here are {a}, {c}$"):
        Prompt("p", "{a} {b} {d}").render(a="1", c="2")


def test_a_prompt_without_fields_says_so():
    with pytest.raises(ConfigError, match=r"prompt 'p' has a field {a}, but there are no fields here$"):
        Prompt("p", "{a}").render()


def test_value_with_braces_or_backslashes_adds_no_field():
    assert Prompt("p", "{a} {b} {a}").render(a="{b}", b=r"{a} \1 \g<0> {{}}") == r"{b} {a} \1 \g<0> {{}} {b}"


def test_braces_that_are_no_name_are_text():
    prompt = Prompt("p", '{"1": 0} {} {A} {a}')
    assert prompt.fields == {"a"}
    assert prompt.render(a="x") == '{"1": 0} {} {A} x'
