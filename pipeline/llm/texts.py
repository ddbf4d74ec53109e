"""What a model says in the end: its text without its thoughts and without the marks of Markdown around them.

Explanations and answers are read from this, never searched for in the whole: what stands in a thought is a draft.
"""

import re
from collections.abc import Sequence

THOUGHT = "(?:seed:)?(?:think|thinking|thoughts?|reasoning|reflection)"
"""Tags of thoughts: of Qwen and DeepSeek (think), Claude-like prompts (thinking), Gemini, Seed-OSS and others."""

# And Magistral's and Kimi's. Behind a quote or a backtick it is spoken of: features fire on such tokens too.
_TAG = re.compile(rf"(?<![\"'`“])(?:<(/?){THOUGHT}>|\[(/?)THINK\]|◁(/?)think▷)")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)(?:[a-z]*|JSON)[ \t]*$", re.MULTILINE)
_FENCED_LINE = re.compile(r"^[ \t]*```([^`\n]+)```[ \t]*$", re.MULTILINE)
# As in Markdown not within a word (2**3**4), and not next to a quote ("__init__"), which is a token's text.
_EMPHASIS = re.compile(r"(?<![\w*\"'`])(\*{1,3}|_{1,3})(?=[^\s*_])(.+?)(?<=[^\s*_])\1(?![\w*\"'`])")


def final_text(text: str) -> str | None:
    """The text without closed thoughts, code fences and emphasis; None if it ends in a thought.

    Thoughts may hold others. Where only the end of one stands, its beginning was in the model's chat template.
    """
    kept: list[str] = []
    depth = place = 0
    for tag in _TAG.finditer(text):
        if not any(tag.groups()):
            if depth == 0:
                kept.append(text[place : tag.start()])
            depth += 1
            continue
        if depth == 0:
            kept.clear()
        depth = max(depth - 1, 0)
        place = tag.end()
    if depth > 0:
        return None
    plain = "".join([*kept, text[place:]])
    for pattern, instead in ((_FENCE, ""), (_FENCED_LINE, r"\1"), (_EMPHASIS, r"\2")):
        plain = pattern.sub(instead, plain)
    return plain.strip()


def before_stop(text: str | None, stops: Sequence[str]) -> str:
    """A text up to its first stop, once stops and white space at its beginning are gone."""
    rest = (text or "").lstrip()
    return rest[: min((end for stop in stops if (end := rest.find(stop)) >= 0), default=len(rest))]


def has_thoughts(text: str) -> bool:
    """Whether a thought begins or ends in a text."""
    return _TAG.search(text) is not None
