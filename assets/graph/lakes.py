"""The lakes that this process has opened, each after its preflight."""

from typing import TYPE_CHECKING

from pipeline.config import Config

if TYPE_CHECKING:
    from pipeline.lake import Lake

_open_lakes: dict[str, "Lake"] = {}


def open_lake(config: Config, *, takes_new: bool = False) -> "Lake":
    """The experiment's lake. The preflight runs once per process, and again when new documents are taken."""
    from pipeline.preflight import preflight

    key = f"{config.lake_folder} {config.model_dump_json()}"
    if takes_new and key in _open_lakes:
        from pipeline.sources import new_documents

        takes_new = bool(new_documents(config).names)
    if key not in _open_lakes or takes_new:
        _open_lakes[key] = preflight(config, takes_new=takes_new)
    return _open_lakes[key]


def forget_lakes() -> None:
    """Open every lake again when it is next asked for, as a new process would."""
    _open_lakes.clear()
