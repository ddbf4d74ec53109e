"""What ships with the code and is no module: `sql/` and `config/`.

In a checkout they stand at its top; an installed package has them in this folder, where the wheel puts them
(`pyproject.toml`).
"""

from pathlib import Path

SHIPPED_FOLDER = next(
    folder for folder in (Path(__file__).parent, Path(__file__).parents[2]) if (folder / "sql").is_dir()
)


def find(path: Path | str) -> Path:
    """The file or folder that a path names, from the working directory.

    One below `config/` that is not there is taken from what ships with the code: `config/demo-sae/layers.9` is
    the demo's SAE wherever latentlake runs.
    """
    here = Path(path).expanduser()
    shipped = SHIPPED_FOLDER / here
    return shipped if here.parts[:1] == ("config",) and not here.exists() and shipped.exists() else here
