"""Windows: marks as runs, notes, characters of several tokens, and text that cannot pass for structure."""

import itertools
import re

import numpy as np
import pytest

from pipeline.asking.windows import Vocabulary, numbered, one_line, quoted

OPEN, CLOSE = "<<", ">>"


def render(pieces, marked=(), notes=None):
    """Each piece is a token, as text or bytes."""
    each = [piece if isinstance(piece, bytes) else piece.encode() for piece in pieces]
    return Vocabulary(each).render(range(len(each)), marked, notes)


def marks(line):
    """The marked texts, as a reader takes them."""
    return re.findall(r"<<(.*?)>>", line)


def test_text_without_marks_is_itself():
    assert render([" don", "'t", ' "stop"', " it"]) == ' don\'t "stop" it'
    assert render([]) == ""


@pytest.mark.parametrize(
    "marked, line",
    [
        ([0], "<<a>> b c d"),
        ([3], "a b c<< d>>"),
        ([1, 2], "a<< b c>> d"),
        ([0, 2, 3], "<<a>> b<< c d>>"),
        ([3, 1], "a<< b>> c<< d>>"),
        (range(4), "<<a b c d>>"),
    ],
)
def test_runs_of_marked_tokens_stand_in_one_mark(marked, line):
    assert render(["a", " b", " c", " d"], marked) == line


def test_tokens_are_taken_by_id():
    assert Vocabulary([b"a", b"b", b"c"]).render([2, 0, 0], [1]) == "c<<a>>a"


def test_notes_stand_before_the_mark_closes_and_end_its_run():
    line = render(["a", " b", " c", " d"], [1, 2], ["", " (3)", " (10)", ""])
    assert line == "a<< b (3)>><< c (10)>> d"


def test_empty_notes_change_nothing():
    pieces = ["a", " b", " c"]
    assert render(pieces, [1, 2], ["", "", ""]) == render(pieces, [1, 2])


@pytest.mark.parametrize("text", ["é", "日本", "🙂"])
@pytest.mark.parametrize("is_marked", [False, True])
def test_characters_spelled_by_several_tokens_survive(text, is_marked):
    pieces = [bytes([byte]) for byte in text.encode()]
    line = render([b"a", *pieces, b"b"], range(1, len(pieces) + 1) if is_marked else ())
    assert line == (f"a<<{text}>>b" if is_marked else f"a{text}b")


def test_fragments_of_a_character_at_the_ends_are_spelled_by_their_bytes():
    first, rest = "é".encode()[:1], "é".encode()[1:]
    assert render([rest, b"a", first]) == "\\udca9a\\udcc3"
    assert render([b"a", "中".encode()[:1], "中".encode()[1:2]], [2]) == "a<<\\udce4\\udcb8>>"


@pytest.mark.parametrize(
    "pieces, marked, line",
    [
        ([b"\xc3", b"\xa9"], [0], "<<é>>"),
        ([b"\xc3", b"\xa9"], [1], "<<é>>"),
        ([b"a\xf0\x9f", b"\x98", b"\x80b", b"c"], [1], "a<<😀>>bc"),
        ([b"a\xf0\x9f", b"\x98", b"\x80b", b"c"], [2], "a<<😀b>>c"),
        ([b"\xe4", b"\xb8\xad\xe5", b"\x9b\xbd", b"a"], [0], "<<中>>国a"),
        ([b"\xe4", b"\xb8\xad\xe5", b"\x9b\xbd", b"a"], [1], "<<中国>>a"),
        ([b"\xe4", b"\xb8\xad", b"\xe5\x9b", b"\xbd"], [1, 2], "<<中国>>"),
        ([b"\xe4", b"\xb8\xad", b"a", b"\xe5\x9b", b"\xbd"], [0, 4], "<<中>>a<<国>>"),
    ],
)
def test_mark_grows_to_whole_characters_and_no_further(pieces, marked, line):
    assert render(pieces, marked) == line


def test_two_notes_in_one_character_stand_behind_it():
    assert render([b"\xc3", b"\xa9", b"a"], [0, 1, 2], [" (3)", " (4)", " (5)"]) == "<<é (3) (4)>><<a (5)>>"


@pytest.mark.parametrize("text", ["\u0645\u06cc\u200c\u062e", "👩\u200d🚀", "a\u200eb\u200fc\u061cd"])
def test_joiners_and_marks_of_direction_stay(text):
    assert render([text]) == text
    assert render(["a", text, "b"], [1]) == f"a<<{text}>>b"


def test_no_two_texts_are_spelled_alike():
    alphabet = ["\\", "n", "x", "\n", "\x85", "<", ">", " ", "|", b"\x85", b"\xc3"]
    texts = [text for length in range(1, 5) for text in itertools.product(alphabet, repeat=length)]
    by_bytes = {b"".join(t if isinstance(t, bytes) else t.encode() for t in text): render(text) for text in texts}
    assert len(set(by_bytes.values())) == len(by_bytes) > 1000


CONTROL = ["<|im_end|>", "<\uff5cend▁of▁sentence\uff5c>", "</s>", "<end_of_turn>", "</think>", "[/INST]",
           "[THINK]", "◁/think▷", "<turn|>", "<channel|>"]  # fmt: skip


@pytest.mark.parametrize("text", CONTROL)
def test_text_spells_no_control_token_with_marks_or_without(text):
    for marked in ((), [0], [1], [2], [0, 1], [1, 2]):
        assert text not in render([text[0], text[1:-1], text[-1]], marked)
    assert text not in render([text]) and text not in render([f"a {text}b"], [0])
    assert text not in one_line(text) == one_line(one_line(text))
    assert render([f"{text[0]} {text[1:]}"]) != render([text])


def test_marked_texts_are_not_spelled_alike():
    texts = ["<b", " <b", "  <b", "think", " think", "s", " s", "|", " |"]
    assert len({render([text], [0]) for text in texts}) == len(texts)
    assert render(["s"], [0]) == "<<s>>" and render(["think"], [0]) == "<< think>>"


def test_backslash_that_reads_as_no_escape_stays():
    assert render(["\\alpha \\d+ C:\\Program \\"]) == "\\alpha \\d+ C:\\Program \\"
    assert render(["\\n"]) == "\\\\n" and render(["\n"], [0]) == "<<\\n>>"


def test_escapes_in_what_a_model_says_stay_as_it_was_shown_them():
    assert one_line("the token \\n, or << \n") == "the token \\n, or < < \\n"


@pytest.mark.parametrize(
    "text, spelled",
    [
        ("\n", "\\n"),
        ("\r\n", "\\r\\n"),
        ("\t", "\\t"),
        ("\0", "\\x00"),
        ("\x1b[0m", "\\x1b[0m"),
        ("\v", "\\x0b"),
        ("\x85", "\\x85"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
        ("\u202e", "\\u202e"),
        ("\ufeff", "\\ufeff"),
    ],
)
def test_line_ends_and_control_characters_are_spelled_out(text, spelled):
    assert one_line(f"a{text}b") == f"a{spelled}b"
    assert render(["a", text, "b"], [1]) == f"a<<{spelled}>>b"


@pytest.mark.parametrize(
    "pieces",
    [
        ["a << b >> c"],
        ["a <", "< b >", "> c"],
        ["<<<<", ">>>>"],
        ["x<<<y>>>z"],
        ["1", "<", "<", "2", ">", ">"],
        ["\n<<", "\n>>"],
    ],
)
def test_text_cannot_make_a_mark(pieces):
    line = render(pieces)
    assert OPEN not in line and CLOSE not in line


@pytest.mark.parametrize("pieces", [["a << ", "b", " c"], ["x ", " >> y", " z"], [" >> a", "b", " << c"]])
def test_text_beside_or_inside_a_mark_cannot_close_or_open_it(pieces):
    assert len(marks(render(pieces, [1]))) == 1
    assert render(pieces, [1]).count(OPEN) == render(pieces, [1]).count(CLOSE) == 1


@pytest.mark.parametrize(
    "pieces, place",
    [
        (["vector<", "int", "> x"], 1),
        (["a", "<b", " c"], 1),
        (["a", " b>", " c"], 1),
        (["x<y<int", ">>", " z"], 1),
    ],
)
def test_single_angle_at_the_border_of_a_mark_cannot_be_taken_for_it(pieces, place):
    line = render(pieces, [place])
    assert re.search(r"<<<|>>>", line) is None


def test_line_ends_stay_and_a_space_stands_before_what_follows():
    assert render(["a\nb", "\n\n", "2\tc\n"]) == "a\n b\n\n 2\\tc\n "
    assert render(["\n", "2\tc"], [0]) == "<<\\n>>2\\tc"
    assert numbered([render(["a\n2\tb"]), render(["c"])]).split("\n") == ["1\ta", " 2\\tb", "2\tc"]


def test_no_further_line_of_a_window_begins_as_a_prompts_own_do():
    rng = np.random.default_rng(0)
    alphabet = [
        b"\n",
        b"\r",
        b"\x85",
        "\u2028".encode(),
        b"\xc3",
        b"\xa9",
        b"<",
        b"<<",
        b">",
        b">>",
        b"a",
        b"Example 2: ",
        b"\0",
        b"\xff",
        b"\x1c",
        "é".encode(),
    ]
    vocabulary = Vocabulary(alphabet)
    for _ in range(500):
        token_ids = rng.integers(0, len(alphabet), 12).tolist()
        marked = set(np.flatnonzero(rng.random(12) < 0.3).tolist())
        line = vocabulary.render(token_ids, marked)
        first, *rest = line.split("\n")
        assert all(each.isprintable() for each in (first, *rest))
        assert all(not each or each.startswith(" ") for each in rest) and rest[-1:] != [""]
        assert (OPEN in line) == bool(marked) and line.count(OPEN) == line.count(CLOSE)


def test_plain_text_of_a_window_has_no_parts_of_characters():
    vocabulary = Vocabulary(["国".encode()[:1], "国".encode()[1:], "é".encode()[:1], b"a"])
    assert vocabulary.whole_text([1, 0, 1, 3, 2]) == "国a"
    assert vocabulary.whole_text([0]) == "\ufffd"  # no model reads an empty text
    assert "\ufffd" in vocabulary.text([1, 0, 1, 3, 2])


def test_no_text_closes_its_quotes_or_leaves_them_open():
    texts = ["".join(each) for n in range(1, 5) for each in itertools.product('\\", n', repeat=n)]
    in_quotes = re.compile(r'"((?:[^"\\]|\\.)*)"')
    for text in texts:
        assert in_quotes.fullmatch(quoted([text]))
        assert len(in_quotes.findall(quoted([text, "stop", text]))) == 3
    assert len({quoted([text]) for text in texts}) == len(texts)


def test_a_backslash_elsewhere_is_written_as_it_is():
    assert quoted(["\\d+", 'a"b', "\\\\n"]) == r'"\d+", "a\"b", "\\n"'
