"""`make rule SAE=… FEATURE=… RULE="…"`: how well a rule predicts where a feature fires."""

from rich.table import Table

from pipeline.commands.spelled import spelled
from pipeline.config import load_config
from pipeline.errors import RuleError
from pipeline.fit.verdict import misfits_in
from pipeline.rules.score import score_rule
from pipeline.show.terminal import plain_console, printable, with_interval
from pipeline.sources import recorded_lake

_MAKE = "make rule SAE=layers.9 FEATURE=12 RULE=\"token is ' stop' and previous is ' don'\""
_COMMAND = "latentlake rule CONFIG layers.9 12 \"token is ' stop' and previous is ' don'\""

_COUNTS = {
    "n_tokens": "tokens",
    "n_fired": "the feature fires on",
    "n_predicted": "the rule matches",
    "n_right": "both",
}
_FIGURES = {"precision": "precision", "recall": "recall", "f1": "F1"}


def print_rule(path: str, sae: str, feature: str, rule: str) -> None:
    """Print a rule's precision, recall and F1 on train and test documents, beside the F1 of always firing.

    Raises RuleError if the rule or the feature is missing or cannot be parsed.
    """
    config = load_config(path)
    if not rule.strip() or not feature.isdecimal():
        missing = "no rule" if feature.isdecimal() else f"no feature '{feature}'" if feature else "no feature"
        raise RuleError(f"{missing}; write {spelled(_MAKE, _COMMAND)}")
    sae = sae or config.sae_names[0]
    lake = recorded_lake(config)
    words_of_rule, scores = score_rule(lake, sae, int(feature), rule)
    table = Table("documents", *scores["role"])
    for name, words in _COUNTS.items():
        table.add_row(words, *(f"{n:,}" for n in scores[name]))
    for name, words in _FIGURES.items():
        bounded = scores.select(name, f"{name}_low", f"{name}_high").iter_rows()
        table.add_row(words, *(with_interval(*row) for row in bounded))
    table.add_row("F1 of always firing", *(f"{f1:.2f}" for f1 in scores["always_f1"]))
    console = plain_console()
    console.print(f"feature {feature} of {sae}: {printable(words_of_rule)}", soft_wrap=True)
    console.print(table)
    if misfit := misfits_in(lake).get(sae):
        console.print(printable(misfit), style="bold red")
    for reason in filter(None, scores["reason"]):
        console.print(reason)
