"""How straight the way through the code is: how often a table's call chain climbs back up between the folders.

The folders have the order of `docs/how-it-is-built.md`. Whoever reads how a table is made follows its calls, from
a folder to those before it, which know nothing of it. A call to a later folder is a climb: who was called calls
back. `pytest tests/test_walk.py -n 0 -rP` lists them.
"""

import inspect
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest
from llm.oracle import Oracle, embedded
from tiny import hand_set_entry, open_lake, write_experiment

import pipeline
from pipeline.config import Config, load_config
from pipeline.estimate.write import write_estimate
from pipeline.explainers.write import write_explanations
from pipeline.make_table import make_table
from pipeline.pilot.write import write_scorer_rhos
from pipeline.scorers.write import write_predictions

pytestmark = pytest.mark.whole

SAE = "hand-set"
PIPELINE = Path(pipeline.__file__).parent
PAGE = PIPELINE.parent / "docs" / "how-it-is-built.md"
ROOMS = re.findall(r"`(\w+)(?:/|\.py)`", "".join(re.findall(r"(?m)^\| (`.*?) \|", PAGE.read_text("utf-8"))))

WALKS = {
    "feature_tokens": lambda lake: make_table(lake, "feature_tokens", sae=SAE),
    "feature_stats": lambda lake: make_table(lake, "feature_stats", sae=SAE),
    "feature_rules": lambda lake: make_table(lake, "feature_rules", sae=SAE),
    "feature_routes": lambda lake: make_table(lake, "feature_routes", sae=SAE),
    "estimate": lambda lake: write_estimate(lake, SAE),
    "scorer_rhos": lambda lake: write_scorer_rhos(lake, SAE),
    "explanations": lambda lake: write_explanations(lake, SAE, 0),
    "predictions": lambda lake: write_predictions(lake, SAE, 0),
}
"""What is followed, each after what it needs: the estimate before anything is recorded that it would count."""

OF_NO_MODEL = ("feature_tokens", "feature_stats", "feature_rules", "feature_routes")
"""Those that are made without asking."""


class Climb(NamedTuple):
    """A call from a function to one in a later folder."""

    caller: str
    called: str

    @property
    def rooms(self) -> tuple[str, str]:
        """The folders of the two."""
        return self.caller.partition(".")[0], self.called.partition(".")[0]


class Walk:
    """Notes the climbs among the calls that are made while it is open, in every thread."""

    def __init__(self) -> None:
        self.climbs: set[Climb] = set()
        self._generators: list[FrameType] = []  # kept, so that none has another's address

    def __enter__(self) -> "Walk":
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: Any) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        # An import runs a module's text, which is no call.
        if event != "call" or (called := room_of(code)) is None or code.co_name == "<module>":
            return
        if code.co_flags & inspect.CO_GENERATOR:
            if any(frame is each for each in self._generators):
                return  # it only goes on
            self._generators.append(frame)
        caller = frame.f_back
        while caller is not None and room_of(caller.f_code) is None:
            caller = caller.f_back  # a library in between
        if caller is not None and ROOMS.index(room_of(caller.f_code)) < ROOMS.index(called):
            self.climbs.add(Climb(name_of(caller.f_code), name_of(code)))


def room_of(code: CodeType) -> str | None:
    """The folder or module that code is of; None for what is not ours, and for the few modules that all share.

    A plug-in's `settings.py` is one of them: it is the plug-in's part of the config.
    """
    path = Path(code.co_filename)
    if not path.is_relative_to(PIPELINE) or path.name == "settings.py":
        return None
    room = path.relative_to(PIPELINE).parts[0].removesuffix(".py")
    return room if room in ROOMS else None


def name_of(code: CodeType) -> str:
    """The dotted name of a function."""
    module = Path(code.co_filename).relative_to(PIPELINE).with_suffix("")
    return ".".join((*module.parts, code.co_qualname))


CONFIGS: dict[str, dict[str, Any]] = {
    "usual": {"explaining": {"provider": "oracle"}, "scoring": {"provider": "oracle"}},
    "rich": {
        "explaining": {"provider": "oracle", "explainers": ["best_of_k", "rule"], "oracle": {"wrong_rate": 0.5}},
        "scoring": {
            **{"provider": "oracle", "scorers": ["detection", "fuzzing", "embedding"]},
            **{"pilot_features": 3, "threshold": "controls", "embedding": {"provider": "openai", "model": "e"}},
        },
    },
}
"""What is asked: an explanation and yes or no; and all that asks at other times and of others, too."""


@pytest.fixture(scope="module")
def config_of(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Config]]:
    """The experiments of `CONFIGS`, each in a lake whose examples are made, with an oracle for a model."""
    made: dict[str, Config] = {}
    with Oracle(lambda _: "", embeds=embedded) as server:

        def config_of(name: str) -> Config:
            if name not in made:
                folder = tmp_path_factory.mktemp("walk")
                shutil.copytree(prepared / "lake", folder / "lake")
                given = write_experiment(
                    folder,
                    subject={"model": load_config(prepared / "tiny.yaml").subject.model},
                    saes=[hand_set_entry(prepared / "sae")],
                    corpus={"sources": [{"kind": "text", "path": str(prepared / "corpus")}]},
                    endpoints={"embedder": {"base_url": server.base_url}},
                    **CONFIGS[name],
                )
                made[name] = load_config(given)
                lake = open_lake(made[name])
                for table in ("examples", "fuzzing_pairs"):
                    make_table(lake, table, sae=SAE, batch=0)
            return made[name]

        yield config_of


def test_every_folder_has_its_place_in_the_order():
    without = {"__init__", "__pycache__", "errors", "progress", "shipped", "uncommented"}
    found = {path.stem for path in PIPELINE.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert sorted(ROOMS) == sorted(found - without)


@pytest.mark.parametrize(
    ("table", "name"),
    [*((table, "usual") for table in WALKS), *((table, "rich") for table in WALKS if table not in OF_NO_MODEL)],
)
def test_a_call_chain_climbs_back_between_few_folders(
    config_of: Callable[[str], Config], table: str, name: str
) -> None:
    lake = open_lake(config_of(name))
    with Walk() as walk:
        WALKS[table](lake)
    between = {climb.rooms for climb in walk.climbs}
    print(f"{table}, {name}: {len(walk.climbs)} calls climb, {len(between)} pairs of folders")
    print(*sorted(between), *walk.climbs, sep="\n")
    assert len(between) <= 3
