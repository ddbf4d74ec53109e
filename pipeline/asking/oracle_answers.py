"""The oracle's answers to plug-ins whose prompts it cannot read itself, from each plug-in's `oracle.py`.

That module has a function `answer(prompt, oracle)`. It is called with the last message of each request whose
purpose is the plug-in's name, and returns None if the message does not have the expected form.
"""

import importlib
from collections.abc import Callable
from functools import cache

from pipeline.llm import Request
from pipeline.llm.oracle.brain import Oracle
from pipeline.plugins import find_plugins


def answer_by_plugin(request: Request, oracle: Oracle) -> str | None:
    """The answer to a request of such a plug-in; None for any other request."""
    answer = _answers().get(request.purpose.partition("@")[0])
    return answer(request.messages[-1].content, oracle) if answer else None


@cache
def _answers() -> dict[str, Callable[[str, Oracle], str | None]]:
    """Each plug-in's `answer` function, if it has one, by plug-in name."""
    return {
        name: importlib.import_module(f"{plugin.module}.oracle").answer
        for name, plugin in (find_plugins("explainers") | find_plugins("scorers")).items()
        if (plugin.path / "oracle.py").is_file()
    }
