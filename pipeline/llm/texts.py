"""A model's final text: without its reasoning and without Markdown markup.

Explanations and answers are read from this text alone, because what occurs in the reasoning is a draft.
"""

import re
from collections.abc import Sequence

THOUGHT = "(?:seed:)?(?:think|thinking|thoughts?|reasoning|reflection)"
"""Tag names around reasoning: Qwen and DeepSeek (think), Claude-like prompts (thinking), Gemini, Seed-OSS, …"""

# And those of Magistral, Kimi and Gemma 4. After a quote or a backtick a tag is only mentioned: features fire on
# such tokens.
_TAG = re.compile(
    rf"(?<![\"'`“])(?:<(/?){THOUGHT}>|\[(/?)THINK\]|◁(/?)think▷|<\|channel>(?:thought\b)?|<(channel)\|>)"
)
# gpt-oss writes in channels, of which `final` is the answer; some servers leave their control tokens out.
_CHANNEL = re.compile(r"(?<![\"'`“])<\|channel\|>(\w+).*?<\|message\|>")
_BARE_CHANNELS = re.compile(r"\s*analysis(?=[A-Z]).*?(?:assistantfinal(?P<final>.*))?", re.DOTALL)
_END = re.compile(r"<\|(?:end|return)\|>\s*\Z")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)(?:[a-z]*|JSON)[ \t]*$", re.MULTILINE)
_FENCED_LINE = re.compile(r"^[ \t]*```([^`\n]+)```[ \t]*$", re.MULTILINE)
# As in Markdown, not within a word (2**3**4); not next to a quote ("__init__"), where it is a token's text;
# and not two underscores around a word in lower case (__init__), which are part of a name.
_EMPHASIS = re.compile(
    r"(?<![\w*\"'`])(\*{1,3}|_(?!_)|_{2,3}(?![a-z]\w*_{2,3}(?!\w)))(?=[^\s*_])(.+?)(?<=[^\s*_])\1(?![\w*\"'`])"
)


def final_text(text: str) -> str | None:
    """The text without closed reasoning, code fences and emphasis; None if it ends within reasoning.

    Tags may be nested. If only a closing tag occurs, the opening one was in the model's chat template.
    """
    if (written := _final_channel(text)) is None:
        return None
    text = written
    kept: list[str] = []
    depth = end = 0
    for tag in _TAG.finditer(text):
        if not any(tag.groups()):
            if depth == 0:
                kept.append(text[end : tag.start()])
            depth += 1
            continue
        if depth == 0:
            kept.clear()
        depth = max(depth - 1, 0)
        end = tag.end()
    if depth > 0:
        return None
    plain = "".join([*kept, text[end:]])
    for pattern, instead in ((_FENCE, ""), (_FENCED_LINE, r"\1"), (_EMPHASIS, r"\2")):
        plain = pattern.sub(instead, plain)
    return plain.strip()


def _final_channel(text: str) -> str | None:
    """What gpt-oss writes in its channel `final`, None if it only reasons; other text as it is."""
    if bare := _BARE_CHANNELS.fullmatch(text):
        return bare["final"]
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        return text
    return _END.sub("", text[channels[-1].end() :]) if channels[-1][1] == "final" else None


def opens_thought(text: str) -> bool:
    """Whether a text ends with an opening tag of reasoning."""
    tags = list(_TAG.finditer(text.rstrip()))
    return bool(tags) and tags[-1].end() == len(text.rstrip()) and not any(tags[-1].groups())


def parts_thought(token: str) -> bool:
    """Whether a control token sets reasoning apart from the answer."""
    return _TAG.fullmatch(token) is not None or token in {"<|channel|>", "<|message|>"}


def before_stop(text: str, stops: Sequence[str]) -> str:
    """A text up to its first stop sequence."""
    return text[: min((end for stop in stops if (end := text.find(stop)) >= 0), default=len(text))]


def has_thoughts(text: str) -> bool:
    """Whether a text contains an opening or closing tag of reasoning, or a channel for it."""
    return any((_TAG.search(text), _CHANNEL.search(text), _BARE_CHANNELS.fullmatch(text)))
