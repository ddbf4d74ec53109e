"""`make clean-lake`: remove the versions of tables that no view points at."""

from pipeline.config import load_config
from pipeline.sources import recorded_lake


def clean_lake(path: str) -> None:
    """Clean the lake of the config at `path`, and print what was removed."""
    config = load_config(path)
    removed = recorded_lake(config).clean()
    for folder in removed:
        print(f"removed {folder}")
    print(f"removed {len(removed)} old versions and temporary files from {config.lake_folder}")
