"""Making what is missing on a Ray cluster: which runs are sent, how many at once, and which are sent again."""

import time
from collections import Counter, deque
from collections.abc import Sequence

import dagster as dg
from rich.console import Console

from assets.graph.build import JOBS
from assets.processes import end_dead_runs
from assets.run.printing import announce
from assets.run.ray.cluster import Cluster
from assets.run.ray.resources import Need, room_for, what_a_run_needs
from assets.run.steps import ASKING, Part, Step, missing_steps
from assets.stopping import raise_if_asked, stops_noted
from pipeline.config import Config

_MOST_DEATHS = 3
"""A partition whose process died this often is not sent again: it may be the cause, by its memory for example."""

_LOOK_AGAIN_SECONDS = 1.0


def materialise_on(address: str, config: Config, path: str, console: Console, part: Part | None = None) -> bool:
    """Make every missing table, or those of a part, on the cluster at a checked address.

    Returns False if a step failed; the reason was printed.

    Raises:
        ConfigError: No node has a CPU, or the cluster runs a different version of Ray.
        LakeError: The disk is too small, or the cluster does not answer.
        KeyboardInterrupt: It was stopped, and its runs with it.
    """
    with dg.DagsterInstance.get() as instance:
        end_dead_runs(instance)
        cluster = Cluster(address, instance, config, path, console)
        announced: set[str] = set()
        for job in (part.job,) if part else JOBS:
            sent: set[tuple[str, str | None]] = set()
            while steps := [each for each in missing_steps(config, part, [job]) if each[:2] not in sent]:
                # The tables over all batches wait for these steps, which an earlier command may have started.
                steps = [each for each in steps if each.partition] or steps
                if job not in announced:
                    announce(config, job, console)
                    announced |= ASKING if job in ASKING else {job}
                sent.update(each[:2] for each in steps)
                if not _make_all(cluster, what_a_run_needs(config, job, cluster.nodes()), steps):
                    return False
    return True


def _make_all(cluster: Cluster, need: Need, steps: Sequence[Step]) -> bool:
    """Make all steps, as many at a time as there is room for; True if all succeeded.

    After a failure no more steps are sent; those under way are waited for.
    """
    waiting, under_way = deque(steps), dict[str, Step]()
    deaths, is_well = Counter[Step](), True
    try:
        with stops_noted():
            while waiting or under_way:
                while waiting and len(under_way) < room_for(need, cluster.nodes()):
                    step = waiting.popleft()
                    under_way[cluster.send(step, need)] = step
                time.sleep(_LOOK_AGAIN_SECONDS)
                raise_if_asked()
                for run_id, step in list(under_way.items()):
                    outcome, why = cluster.outcome(run_id)
                    if outcome == "under way":
                        continue
                    del under_way[run_id]
                    deaths[step] += outcome == "died"
                    if outcome == "made":
                        cluster.print(step, "made")
                    elif outcome == "died" and deaths[step] < _MOST_DEATHS and is_well:
                        cluster.print(step, "its process died; sending it again")
                        waiting.appendleft(step)
                    else:
                        cluster.print_failure(run_id, step, why)
                        is_well = False
                        waiting.clear()
    except KeyboardInterrupt:
        for run_id in under_way:
            cluster.terminate(run_id)
        raise
    return is_well
