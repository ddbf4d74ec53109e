"""`make clean-lake`: remove the versions of tables that no view points at."""

import sys

from pipeline.config import load_config
from pipeline.errors import LatentlakeError
from pipeline.lake import Lake
from pipeline.lake.sources import open_sources


def main(path: str) -> int:
    """Clean the lake of the config at `path`; the exit code."""
    try:
        config = load_config(path)
        removed = Lake(config, open_sources(config)).clean()
    except LatentlakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for folder in removed:
        print(f"removed {folder}")
    print(f"{len(removed)} old versions and temporary files removed from {config.lake_folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
