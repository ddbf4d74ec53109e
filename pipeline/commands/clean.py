"""`make clean-lake`: remove the versions of tables that no view points at."""

from pipeline.config import load_config
from pipeline.lake import Lake
from pipeline.lake.sources import open_sources


def clean_lake(path: str) -> None:
    """Clean the lake of the config at `path`, and say what was removed."""
    config = load_config(path)
    removed = Lake(config, open_sources(config)).clean()
    for folder in removed:
        print(f"removed {folder}")
    print(f"{len(removed)} old versions and temporary files removed from {config.lake_folder}")
