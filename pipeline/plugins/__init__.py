"""Plug-ins: explainers, scorers, SAE formats and exports, each a folder or file that is found by name.

A folder below `pipeline/explainers` or `pipeline/scorers` that holds a `settings.py` is a plug-in, and so is a
module of `pipeline/sae/formats` or `pipeline/exports`. Other packages add theirs by an entry point whose value is
such a package:

    [project.entry-points."latentlake.scorers"]
    capitals = "my_package.capitals"

A scorer's name in the config may be followed by an @ and the name of an additional model (`detection@mini`): the
same plug-in then asks that model.

Plug-ins are found by listing folders. Only `settings.py`, which imports nothing but pydantic, is imported with the
config; the rest of a plug-in, and the package around it, are imported when it is used.
"""

from pipeline.plugins.declared import Declared
from pipeline.plugins.find import find_plugin, find_plugins, shared_digest
from pipeline.plugins.plugin import Kind, Plugin, text_of

__all__ = ["Declared", "Kind", "Plugin", "find_plugin", "find_plugins", "shared_digest", "text_of"]
