"""What the names that SAE files have for places say by themselves, whatever the model."""

from pipeline.sae.coder import Side

_INPUTS = ("hook_resid_pre", "hook_z", "hook_normalized", "hook_mlp_in", "hook_attn_in", "mlp.hook_in", ".input")
"""How names end that stand for what a module is given: TransformerLens' hooks, and Gemma Scope 2's paths."""


def side_of(name: str | None) -> Side:
    """The side of a module that a name stands for."""
    return "input" if str(name).endswith(_INPUTS) else "output"
