"""latentlake: automated interpretability of sparse-autoencoder features as a lake of tables.

For notebooks: `open_lake`, `fires` and `load_config`. They are imported when they are asked for, so that the
Dagster graph, which imports parts of this package, stays light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import load_config
    from pipeline.show.notebook import fires, open_lake

__all__ = ["fires", "load_config", "open_lake"]


def __getattr__(name: str) -> Any:
    """The public functions, on first use."""
    if name == "load_config":
        from pipeline.config import load_config

        return load_config
    if name in {"fires", "open_lake"}:
        from pipeline.show import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
