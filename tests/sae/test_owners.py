"""Every format against the library that owns it, on files which that library wrote, or SAELens' loader of it.

The libraries need an environment of their own, which `make test-all` makes and `LATENTLAKE_OWNERS_PYTHON` names.
"""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from owners import CASES
from sae_layouts import fired, same_firings
from safetensors.torch import load_file

from pipeline.sae import load_sparse_coder

PYTHON = os.environ.get("LATENTLAKE_OWNERS_PYTHON")
FORMATS = {"sae_lens": "saelens"}
"""The format of a library's files, where its name is not the library's."""
LOADERS = {"sae_lens.loading"}
"""Libraries that read the files of others, whose cases begin with the format."""

pytestmark = [
    pytest.mark.owners,
    pytest.mark.skipif(PYTHON is None, reason="LATENTLAKE_OWNERS_PYTHON names no Python with these libraries"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A function that has a library write its cases, once."""
    folders: dict[str, Path] = {}

    def write(library: str) -> Path:
        if library not in folders:
            folders[library] = tmp_path_factory.mktemp(library)
            script = str(Path(__file__).parent / "owners.py")
            environment = {"PATH": os.environ["PATH"], "HOME": str(folders[library]), "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                [str(PYTHON), script, library, str(folders[library])],
                env={**environment, "SPARSIFY_DISABLE_TRITON": "1"},
                cwd=folders[library],
                capture_output=True,
                text=True,
                check=False,
            )
            if f"No module named '{library}'" in done.stderr:
                pytest.skip(f"{library} is not installed beside {PYTHON}")
            assert done.returncode == 0, done.stderr[-2000:]
        return folders[library]

    return write


@pytest.mark.parametrize(
    ("library", "case"), [(library, case) for library, cases in CASES.items() for case in cases]
)
def test_firings_and_reconstruction_are_those_of_the_owner(written, library, case):
    folder = written(library) / case
    expected = load_file(folder / "expected.safetensors")
    path = folder / "layers.1"
    if (folder / "path.txt").exists():
        path /= (folder / "path.txt").read_text()
    coder = load_sparse_coder(path / "layer_1.safetensors" if library == "circuit_tracer" else path)
    assert coder.format == (case.partition(" ")[0] if library in LOADERS else FORMATS.get(library, library))
    same_firings(fired(coder, expected["x"]), expected["firings"])
    found = coder.reconstruct(expected["x"], coder.encode(expected["x"]))
    torch.testing.assert_close(found, expected["output"], rtol=1e-4, atol=1e-4)
