"""Results in delphi's layout: `explanations/HOOKPOINT_latentN.txt` and `scores/SCORER/HOOKPOINT_latentN.txt`.

Its own analysis (`delphi.log.result_analysis`) reads the scores; `explaining.imported` reads the explanations.
"""

from collections import Counter

from pipeline.errors import ConfigError
from pipeline.exports import Export

READS = ("delphi_explanations", "delphi_scores")


def write(export: Export) -> None:
    """Write a file per feature. Raises ConfigError for two SAEs of one hookpoint, as it names the files."""
    check_hookpoints(export)
    for sae in export.saes:
        export.write_each("delphi_explanations", sae=sae.sae)
        for features in export.feature_ranges(sae):
            export.write_each("delphi_scores", sae=sae.sae, **features)


def check_hookpoints(export: Export) -> None:
    """Raise ConfigError for two SAEs of one hookpoint: delphi identifies an SAE by its hookpoint."""
    [(hookpoint, n_saes)] = Counter(sae.hookpoint for sae in export.saes).most_common(1)
    if n_saes > 1:
        raise ConfigError(
            f"{n_saes} SAEs read '{hookpoint}', which names delphi's files; choose one with SAE= (--sae)"
        )
