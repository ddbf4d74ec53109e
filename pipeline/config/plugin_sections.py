"""The part of a section that comes from plug-ins: their names, and a key with the settings of each."""

from typing import Any, TypeVar, cast

from pydantic import AfterValidator, BaseModel, Field, create_model

from pipeline.config.section import Section
from pipeline.errors import ConfigError
from pipeline.plugins import Kind, find_plugin, find_plugins

Settings = TypeVar("Settings", bound=BaseModel)


def known(kind: Kind) -> AfterValidator:
    """A check that names are those of existing plug-ins, without repeats."""

    def check(names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                find_plugin(kind, name)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        if len(set(names)) < len(names):
            raise ValueError(f"the list of {kind} has a name twice")
        return names

    return AfterValidator(check)


def with_plugins(section: type[Section], kind: Kind) -> Any:
    """A section with a field for the settings of each plug-in.

    A config sent to another process is pickled, with this class by its name in `pipeline.config.experiment`.

    Raises ConfigError if a plug-in's settings cannot be used, or its name is taken: by a key, or by something else
    that the section has.
    """
    fields: dict[str, Any] = {}
    for name, plugin in find_plugins(kind).items():
        if name in section.model_fields or name in dir(section):
            raise ConfigError(
                f"{plugin} ({plugin.module}) has a name that the config's own section already uses; rename it"
            )
        settings = plugin.settings
        fields[name] = (settings, Field(settings(), description=settings.__doc__))
    made = create_model(
        section.__name__,
        __base__=section,
        __doc__=section.__doc__,
        __module__="pipeline.config.experiment",
        **fields,
    )
    made.__qualname__ = f"_{section.__name__.removesuffix('Config')}"
    return made


def settings_of(section: Section, plugin: str, kind: type[Settings]) -> Settings:
    """The settings of a plug-in, typed as the class in its `settings.py`."""
    return cast(Settings, getattr(section, plugin))
