"""`make clean-lake`: remove the versions of tables that no view points at."""

import sys

from pipeline.commands.one_sentence import in_one_sentence
from pipeline.config import load_config
from pipeline.lake import Lake
from pipeline.lake.sources import open_sources


@in_one_sentence
def main(path: str) -> int:
    """Clean the lake of the config at `path`; the exit code."""
    config = load_config(path)
    removed = Lake(config, open_sources(config)).clean()
    for folder in removed:
        print(f"removed {folder}")
    print(f"{len(removed)} old versions and temporary files removed from {config.lake_folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
