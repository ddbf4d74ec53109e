"""How close steered features come to their targets on texts that were not used to find their strengths.

Features drawn from the demo are raised in the embedded model to the mean divergences of the config, with strengths
found on train texts as in a run. The figures are the mean divergence on the beginnings of other contexts, relative
to the target: in test documents, which also differ in kind from train documents, and in the train documents that
were not used. It needs the tables of a demo run: `make demo` first.
"""

import argparse
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.borrowed import borrowed_lake, plain_errors
from benchmarks.figures import Figure, publish
from pipeline.features.steered_texts import steered_features
from pipeline.lake import Lake
from pipeline.make_table import read_rows
from pipeline.sae import load_sae
from pipeline.subject.hookpoints import resolve_hookpoint
from pipeline.subject.steering import Divergence, Edit, SteeredSubject, find_strengths, load_steered

N_UNSEEN = 256
NEAR = 0.1
"""How far from its target a feature may end up, relative to it."""

Landings = dict[tuple[str, int, float], float]
"""The mean divergence relative to the target, by role of the texts, feature and target."""


@plain_errors()
def main() -> None:
    """Measure, print, write `results/steering.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steering", description=__doc__)
    parser.add_argument("--features", type=int, default=9, help="how many; each takes about 2 CPU-minutes")
    n_features = parser.parse_args().features
    scoring = {"scorers": ("intervention",), "max_features": None}
    with borrowed_lake(n_features, scoring=scoring) as lake:
        landed = landings(lake)
    publish("steering", [*_figures(landed, "test"), *_figures(landed, "train")])


def landings(lake: Lake) -> Landings:
    """Where each feature ends up for each target, on texts of each role that were not used to find strengths."""
    config, [sae] = lake.config, lake.config.saes
    settings = config.scoring.intervention  # type: ignore[attr-defined]  # a plug-in's section
    coder = load_sae(sae)
    hookpoint = resolve_hookpoint(config.subject, sae.hookpoint, coder.reads, centred=sae.centred)
    subject = load_steered(config.subject, config.device, coder, sae.hookpoint, hookpoint)
    drawn = read_rows(lake, "steering_prompts", sae=sae.name).to_pylist()
    held_out = [row for row in drawn if row["role"] == "train"]
    on_held_out = Divergence(subject, torch.tensor([row["token_ids"] for row in held_out]))
    used = [row["context_id"] for row in held_out]
    unseen = {
        role: Divergence(subject, _beginnings(lake, role, settings.prompt_tokens, used))
        for role in ("test", "train")
    }
    found: Landings = {}
    for feature in steered_features(lake, sae.name, 0):
        for target, strength in _strengths(subject, on_held_out, feature, settings.target_kls).items():
            for role, divergence in unseen.items():
                found[role, feature, target] = divergence(Edit(feature, "add", strength)) / target
                print(f"feature {feature}, {target} nats, {role}: {found[role, feature, target]:.3f}", flush=True)
    return found


def _strengths(
    subject: SteeredSubject, on_held_out: Divergence, feature: int, targets: Sequence[float]
) -> dict[float, float]:
    """The strength for each target that can be reached."""

    def kl_of(strength: float) -> float:
        return on_held_out(Edit(feature, "add", strength))

    unit = subject.unit_strength(subject.mean_norm(on_held_out.token_ids), feature)
    found = find_strengths(kl_of, targets, unit) if unit else {}
    return {target: each.strength for target, each in found.items() if each.is_reached}


def _beginnings(lake: Lake, role: str, n_tokens: int, used: Sequence[int]) -> Tensor:
    """The first tokens of contexts of a role, without those used: int64 [at most N_UNSEEN, n_tokens]."""
    with lake.connect() as connection:
        rows = connection.sql(
            """
            select contexts.token_ids[1 : $n_tokens] as token_ids
            from contexts
            join documents using (doc_id)
            where role = $role and len(contexts.token_ids) >= $n_tokens and not list_contains($used, context_id)
            order by hash(context_id, 'unseen'), context_id
            limit $n
            """,
            params={"n_tokens": n_tokens, "role": role, "used": list(used), "n": N_UNSEEN},
        ).fetchall()
    return torch.tensor([token_ids for (token_ids,) in rows])


def _figures(landed: Landings, role: str) -> Iterator[Figure]:
    """How far off the features are on the texts of a role."""
    off = np.abs(np.array([value for (of, _, _), value in landed.items() if of == role]) - 1)
    by_feature = {feature for _, feature, _ in landed}
    note = f"{N_UNSEEN} {role} texts, {len(by_feature)} features, {len(off)} strengths"
    near = float((off <= NEAR).mean())
    yield Figure(f"{role}_near", near, "share", better="higher", note=f"{note}; within 10 %")
    yield Figure(f"{role}_off_mean", float(off.mean()), "of the target", NEAR, note=note)
    yield Figure(f"{role}_off_most", float(off.max()), "of the target", NEAR, note=note)


if __name__ == "__main__":
    main()
