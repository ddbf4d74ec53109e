"""Converted models: what a killed conversion leaves, and what a running one needs."""

import subprocess
import sys
from pathlib import Path

from pipeline.models.converted import converted_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.models.converted import converted_folder

def convert(folder):
    (folder / "half").write_text("a large file")
    os.kill(os.getpid(), signal.SIGKILL)

converted_folder([Path(sys.argv[1])], Path(sys.argv[2]), convert)
"""


def test_what_a_killed_conversion_left_is_removed_even_where_nothing_is_left_to_convert(tmp_path: Path) -> None:
    file, models = tmp_path / "model.gguf", tmp_path / "models"
    file.write_text("weights")
    made = converted_folder([file], models, lambda folder: None, "another form")
    subprocess.run([sys.executable, "-c", KILLED, str(file), str(models)], check=False)
    [left] = (models / ".tmp").iterdir()
    assert (left / "half").is_file()
    assert converted_folder([file], models, lambda folder: None, "another form") == made
    assert [*(models / ".tmp").iterdir()] == []


def test_a_conversion_that_is_under_way_keeps_its_folder(tmp_path: Path) -> None:
    file, models = tmp_path / "model.gguf", tmp_path / "models"
    file.write_text("weights")

    def convert(folder: Path) -> None:
        converted_folder([file], models, lambda other: None, "another form")
        (folder / "whole").write_text("weights")

    assert (converted_folder([file], models, convert) / "whole").is_file()
