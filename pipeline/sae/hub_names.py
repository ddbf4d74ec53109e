"""Names of subject models: as SAEs' files and repositories write them, and as the Hugging Face hub does.

TransformerLens, SAELens and the authors of SAEs write `gpt2-small`, `pythia-70m-deduped`, `gemma-v3-270m-pt` or
`Llama3_1-8B-Base`. Most families follow one rule; a name that no rule covers is left as it is.
"""

import re
from typing import NamedTuple

_SIZE = r"\d+(?:\.\d+)?[mb]"

_LOWER = {
    r"(pythia-(?:14m|31m|70m|160m|410m|1b|1\.4b|2\.8b|6\.9b|12b)(?:-deduped)?)": "EleutherAI/{}",
    r"(gemma-2b|gemma-7b|gemma-2-(?:2b|9b|27b))(-it)?": "google/{}{}",
    r"gemma-v?3-(270m)(?:-pt)?(-it)?": "google/gemma-3-{}{}",
    r"gemma-v?3-((?:1b|4b|12b|27b)-(?:pt|it))": "google/gemma-3-{}",
    r"gpt-?2(?:-small)?": "openai-community/gpt2",
    r"(gpt2-(?:medium|large|xl))": "openai-community/{}",
    rf"(opt-{_SIZE})": "facebook/{}",
    r"(bloom-(?:560m|1b1|1b7|3b|7b1))": "bigscience/{}",
    r"(gpt-oss-\d+b)": "openai/{}",
    r"(phi-(?:1|1_5|2|4))": "microsoft/{}",
}
"""Patterns of names, each with the hub's name, which takes the pattern's groups in lower case."""

_CAPITAL = {
    rf"qwen(1\.5|2|2\.5|3|3\.5)-({_SIZE}(?:-a\d+b)?)(-base|-instruct|-chat)?": "Qwen/Qwen{}-{}{}",
    r"(?:meta-)?llama-?3-(8b|70b)(-instruct|-it)?": "meta-llama/Meta-Llama-3-{}{}",
    rf"(?:meta-)?llama-?3[._]([123])-({_SIZE})(?:-base)?(-instruct|-it)?": "meta-llama/Llama-3.{}-{}{}",
    r"deepseek-r1-distill-(llama|qwen)-(\d+(?:\.\d+)?b)": "deepseek-ai/DeepSeek-R1-Distill-{}-{}",
    rf"(smollm[23]?)-({_SIZE})(-base|-instruct)?": "HuggingFaceTB/{}-{}{}",
}
"""The same, with sizes in capitals and words capitalised."""

_SPECIAL = {
    r"llama-?2-(7b|13b|70b)(?:-hf)?": "meta-llama/Llama-2-{}-hf",
    r"mistral-7b(?:-v0\.1)?": "mistralai/Mistral-7B-v0.1",
    r"mistral-7b-instruct": "mistralai/Mistral-7B-Instruct-v0.1",
    r"gpt-j(?:-6b)?": "EleutherAI/gpt-j-6b",
    r"gpt-neo-(?:125m|small)": "EleutherAI/gpt-neo-125m",
}
"""The same for names that follow no rule."""

_MISSPELT = "gemma-v?3-"
"""What Gemma Scope 2 writes after `google/`, although the hub has no such model."""

_RULES = {**_LOWER, **_CAPITAL, **_SPECIAL}

_ADD_BOS = r"gemma|llama|mistral|opt-|deepseek-r1"
_ADD_NOTHING = r"gpt2|pythia|smollm|bloom|gpt-neo|gpt-j|gpt-oss|phi-"
_HAVE_NO_BOS = r"qwen\d"


class Mention(NamedTuple):
    """A model that a text names.

    Attributes:
        text: The name as written there.
        hub_name: The name on the hub.
    """

    text: str
    hub_name: str


def hub_name(name: str) -> str | None:
    """A model's name on the hub; None if unknown. `OWNER/NAME`, paths and `package:NAME` stay as they are."""
    owner, _, last = name.rpartition("/")
    if name.startswith("package:") or (owner and not re.match(_MISSPELT, last)):
        return name
    for pattern in _RULES:
        if found := re.fullmatch(pattern, last, re.IGNORECASE):
            return _spell(pattern, found)
    return name if owner else None


def model_in(text: str) -> Mention | None:
    """The model named last in a path or another text; of several names that begin there, the longest."""
    found = [
        (match.start(), match.end(), pattern, match)
        for pattern in _RULES
        for match in re.finditer(rf"(?<![a-z0-9]){pattern}(?![a-z0-9]|\.\d)", text, re.IGNORECASE)
    ]
    if not found:
        return None
    _, _, pattern, match = max(found, key=lambda each: each[:2])
    return Mention(match[0], _spell(pattern, match))


def begins_with_bos(name: str) -> bool | None:
    """Whether a model's tokenizer begins a text with a BOS token; None for an unknown family."""
    if re.search(_ADD_BOS, name, re.IGNORECASE):
        return True
    return False if re.search(_ADD_NOTHING, name, re.IGNORECASE) or has_no_bos(name) else None


def has_no_bos(name: str) -> bool:
    """Whether a model's tokenizer has no BOS token at all."""
    return re.search(_HAVE_NO_BOS, name, re.IGNORECASE) is not None


def _spell(pattern: str, found: re.Match[str]) -> str:
    groups = [(group or "").lower() for group in found.groups()]
    if pattern in _CAPITAL:
        groups = [re.sub(r"[a-z]+", _capital, group) for group in groups]
    return _RULES[pattern].format(*groups)


def _capital(letters: re.Match[str]) -> str:
    return {"smollm": "SmolLM", "it": "Instruct"}.get(letters[0], letters[0].capitalize())
