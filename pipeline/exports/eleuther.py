"""EleutherAI's published explanations: a JSON object an SAE, `{"FEATURE": "EXPLANATION"}`.

As in EleutherAI/auto_interp_explanations; `explaining.imported` reads such a file, and finds the SAE by its name.
"""

from pipeline.exports import Export

READS = ("eleuther_explanations",)

def write(export: Export) -> None:
    """Write `SAE.json` for each SAE."""
    for sae in export.saes:
        export.write_each("eleuther_explanations", sae=sae.sae)
