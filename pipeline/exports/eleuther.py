"""The layout of EleutherAI's published explanations: a JSON object per SAE, `{"FEATURE": "EXPLANATION"}`.

The same as in EleutherAI/auto_interp_explanations. `explaining.imported` reads such a file and finds the SAE by
the file's name.
"""

from pipeline.exports import Export

READS = ("eleuther_explanations",)


def write(export: Export) -> None:
    """Write `SAE.json` for each SAE."""
    for sae in export.saes:
        export.write_each("eleuther_explanations", sae=sae.sae)
