"""What an oracle answers to a plug-in whose prompts it cannot read itself: so says the plug-in's `oracle.py`.

It has a function `answer(prompt, oracle)`, which is given the last message of each request whose purpose is the
plug-in's name, and returns None where that is not of its form.
"""

import importlib
from collections.abc import Callable
from functools import cache

from pipeline.llm import Request
from pipeline.llm.oracle.brain import Oracle
from pipeline.plugins import find_plugins


def answer_by_plugin(request: Request, oracle: Oracle) -> str | None:
    """The answer to a request of such a plug-in; None to any other."""
    answer = _answers().get(request.purpose.partition("@")[0])
    return answer(request.messages[-1].content, oracle) if answer else None


@cache
def _answers() -> dict[str, Callable[[str, Oracle], str | None]]:
    """The function of each plug-in that has one, by the plug-in's name."""
    return {
        name: importlib.import_module(f"{plugin.module}.oracle").answer
        for name, plugin in (find_plugins("explainers") | find_plugins("scorers")).items()
        if (plugin.path / "oracle.py").is_file()
    }
