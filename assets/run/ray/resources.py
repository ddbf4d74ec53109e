"""What a job's runs request of a Ray cluster, and how many of them fit on its nodes."""

from collections.abc import Sequence
from typing import NamedTuple

from assets.run.steps import ASKING
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.tables.inputs import is_made
from pipeline.tables.stages import BATCH_TABLES, STAGES


class Node(NamedTuple):
    """The total resources of a node of the cluster."""

    cpus: float
    gpus: float


class Need(NamedTuple):
    """The resources that a run requests; the field names are those of dagster-ray's tag."""

    num_cpus: float
    num_gpus: float


def what_a_run_needs(config: Config, job: str, nodes: Sequence[Node]) -> Need:
    """The resources of a job's runs: one GPU if a model computes and the cluster has GPUs, and CPUs otherwise.

    A model on CPUs gets all CPUs of a node. Raises ConfigError if no node has CPUs.
    """
    if not any(node.cpus >= 1 for node in nodes):
        raise ConfigError("no node of the Ray cluster has a CPU; start nodes with --num-cpus")
    if not _computes(config, job):
        return Need(1, 0)
    if config.device != "cpu" and any(node.cpus >= 1 and node.gpus >= 1 for node in nodes):
        return Need(1, 1)
    return Need(min(node.cpus for node in nodes if node.cpus >= 1), 0)


def room_for(need: Need, nodes: Sequence[Node]) -> int:
    """How many runs fit on the nodes at once; 0 while no node is large enough."""
    return sum(
        int(min(node.cpus // need.num_cpus, node.gpus // need.num_gpus if need.num_gpus else node.cpus))
        for node in nodes
    )


def _computes(config: Config, job: str) -> bool:
    """Whether a job runs a language model in its own process.

    The jobs before those that ask run the subject model: to check that SAEs fit (`corpus`), for the firings
    (`cache`), and for scrambled contexts and logits (`prepare`).
    """
    from pipeline.asking.roles import role_of, roles_of

    if job not in ASKING:
        return True
    steers = any(STAGES[table].is_on_demand and is_made(config, table) for table in BATCH_TABLES)
    return steers or any(role_of(config, name).is_local for name in roles_of(config))
