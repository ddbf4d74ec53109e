"""Stops a run whose model spends its tokens on reasoning, and so is paid for answers that it never writes."""

from pipeline.errors import ConfigError
from pipeline.llm.requests import Answer, Request
from pipeline.llm.texts import final_text, has_thoughts

_AT_MOST = 5
"""Answers of reasoning alone, in a row."""


class OnlyThought:
    """Counts consecutive answers that were paid for and contain reasoning but no answer."""

    def __init__(self) -> None:
        self._n = 0

    def count(self, answer: Answer, request: Request, *, where: str, thinks: bool) -> None:
        """Count an answer; raise ConfigError if too many in a row were only reasoning.

        Args:
            answer: The answer.
            request: Its request.
            where: Where the model is, as it continues a sentence.
            thinks: Whether the model is known to reason, though no tag may show it.
        """
        self._n = self._n + 1 if _is_only_thought(answer, thinks) else 0
        if self._n >= _AT_MOST:
            raise ConfigError(
                f"model '{request.model}'{where} spent its tokens ({request.most_tokens} at most) on reasoning "
                f"and finished no answer, {self._n} times in a row; {_cure(request.reasoning_tokens)}, and run "
                "again: the answers so far are kept"
            )


def no_room(model: str, where: str) -> ConfigError:
    """The error for a model that reasons, and requests that leave it no tokens for that."""
    return ConfigError(
        f"model '{model}'{where} reasons before it answers, and its requests leave no tokens for that; "
        f"{_cure(0)}, and run again"
    )


def _is_only_thought(answer: Answer, thinks: bool) -> bool:
    """Whether an answer contains reasoning but no answer."""
    if answer.probabilities or answer.values:
        return False
    is_cut = thinks and answer.status == "truncated"
    text = answer.text or ""
    return is_cut or (answer.status in {"ok", "truncated"} and has_thoughts(text) and not final_text(text))


def _cure(reasoning_tokens: int) -> str:
    return (
        f"allow it more (reasoning_tokens, now {reasoning_tokens}, in the section explaining or scoring) or less "
        "reasoning (reasoning_effort)"
    )
