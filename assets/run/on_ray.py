"""`latentlake run --on ray://…`: the same jobs on a Ray cluster, each partition a Dagster run on a node with room.

dagster-ray starts the runs as Ray jobs (`RayRunLauncher`), one process per partition. It requests a GPU if the job
runs a model and the cluster has GPUs, and CPUs otherwise. As many partitions of a job run at once as there is room
for; jobs follow each other as they do in one process. A run whose process or node died is sent again.
"""

import json
import logging
import os
import re
import shlex
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from rich.console import Console

from assets.graph.build import JOBS, build_definitions
from assets.graph.history import UNDER_WAY, lake_tag
from assets.graph.keys import asset_key
from assets.processes import CLUSTER_TAG, end_dead_runs, end_run
from assets.run.dagster_home import CODE_FOLDER
from assets.run.printing import announce, print_failures
from assets.run.steps import ASKING, Part, Step, missing_steps
from assets.stopping import raise_if_asked, stops_noted
from pipeline.config import LAKE_VARIABLE, LLM_VARIABLE, Config
from pipeline.errors import ConfigError, LakeError
from pipeline.progress import tell
from pipeline.tables.stages import BATCH_TABLES, STAGES
from pipeline.tables.versions import is_made

_MOST_DEATHS = 3
"""A partition whose process died this often is not sent again: it may be the cause, by its memory for example."""

_LOOK_AGAIN_SECONDS = 1.0
_ANSWER_SECONDS = 5.0
_PATIENCE_SECONDS = 120.0
"""How long to retry while a cluster does not answer: its head may be starting, or be busy. A busy one may take
half a minute or more to answer at `ray://`."""
_ADDRESS = re.compile(r"(?:(?P<scheme>ray|https?)://)?(?P<host>[^/:@\s]+):(?P<port>\d+)/?")


Outcome = Literal["under way", "made", "failed", "died"]
_Answer = TypeVar("_Answer")


class Node(NamedTuple):
    """The total resources of a node of the cluster."""

    cpus: float
    gpus: float


class Need(NamedTuple):
    """The resources that a run requests; the field names are those of dagster-ray's tag."""

    num_cpus: float
    num_gpus: float


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
                if not cluster.make(steps):
                    return False
    return True


class Cluster:
    """One experiment's view of a Ray cluster: sends runs, watches them, and sends them again if they die."""

    def __init__(
        self, address: str, instance: dg.DagsterInstance, config: Config, path: str, console: Console
    ) -> None:
        from dagster_ray import RayRunLauncher

        logging.getLogger("ray").setLevel(logging.WARNING)  # it logs each connection
        self._address, self._instance, self._config, self._console = address, instance, config, console
        self._tags = {CLUSTER_TAG: address, **lake_tag(config)}
        forwarded = {name: os.environ[name] for name in (LAKE_VARIABLE, LLM_VARIABLE) if os.environ.get(name)}
        settings = {"LATENTLAKE_CONFIG": path, **forwarded}
        self._launcher = RayRunLauncher(address, runtime_env={"env_vars": settings})
        self._launcher.register_instance(instance)
        self._repository = build_definitions(config).get_repository_def()
        # Ray runs it in a shell. Relative paths in a config must resolve against this folder there, too; Python
        # files in it are not ours (-P).
        entry_point = ["cd", shlex.quote(str(Path.cwd())), "&&", "python", "-P", "-m", "dagster"]
        pointer = ModuleCodePointer("assets.definitions", "defs", str(CODE_FOLDER))
        self._origin = ReconstructableRepository(pointer, entry_point=entry_point)
        try:
            self._api = self._ask(lambda: self._launcher.client.get_address())
        except (RuntimeError, ValueError) as error:  # a different version of Ray or Python, or no dashboard
            raise ConfigError(f"the Ray cluster at '{address}' cannot be used: {error}") from None
        self._left = self._earlier_runs()

    def make(self, steps: Sequence[Step]) -> bool:
        """Make all steps, as many at a time as there is room for; True if all succeeded.

        After a failure no more steps are sent; those under way are waited for.
        """
        need = what_a_run_needs(self._config, steps[0].job, self.nodes())
        waiting, under_way = deque(steps), dict[str, Step]()
        deaths, is_well = Counter[Step](), True
        try:
            with stops_noted():
                while waiting or under_way:
                    while waiting and len(under_way) < room_for(need, self.nodes()):
                        step = waiting.popleft()
                        under_way[self._send(step, need)] = step
                    time.sleep(_LOOK_AGAIN_SECONDS)
                    raise_if_asked()
                    for run_id, step in list(under_way.items()):
                        outcome, why = self._outcome(run_id)
                        if outcome == "under way":
                            continue
                        del under_way[run_id]
                        deaths[step] += outcome == "died"
                        if outcome == "made":
                            self._print(step, "made")
                        elif outcome == "died" and deaths[step] < _MOST_DEATHS and is_well:
                            self._print(step, "its process died; sending it again")
                            waiting.appendleft(step)
                        else:
                            self._print_failure(run_id, step, why)
                            is_well = False
                            waiting.clear()
        except KeyboardInterrupt:
            for run_id in under_way:
                self._launcher.terminate(run_id)
            raise
        return is_well

    def nodes(self) -> list[Node]:
        """The nodes that are alive now."""
        from ray.util.state import list_nodes

        alive = [("state", "=", "ALIVE")]
        # Ray would report nodes that the filter leaves out as missing.
        found = self._ask(
            lambda: list_nodes(self._api, filters=alive, limit=10_000, raise_on_missing_output=False)
        )
        resources = [node.resources_total for node in found]
        return [Node(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in resources]

    def _send(self, step: Step, need: Need) -> str:
        """Send a run, unless an earlier command's run still makes the same on the cluster; returns its id."""
        if left := self._left.pop(step[:2], None):
            return left
        keys = {asset_key(self._config, table) for table in step.tables}
        job = self._repository.get_job(step.job)
        run = self._instance.create_run_for_job(
            job,
            asset_selection=keys,
            tags={
                **(job.get_tags_for_partition_key(step.partition, keys) if step.partition else {}),
                **self._tags,
                "dagster-ray/config": json.dumps(need._asdict()),
            },
            job_code_origin=self._origin.get_reconstructable_job(step.job).get_python_origin(),
        )
        self._instance.report_dagster_event(dg.DagsterEvent("PIPELINE_STARTING", step.job), run.run_id)
        self._ask(lambda: self._launch(run))
        self._print(step, ", ".join(step.tables))
        return run.run_id

    def _outcome(self, run_id: str) -> tuple[Outcome, str]:
        """What became of a run and, if it died, why. A run that died is marked as failed."""
        if ended := self._ended(run_id):
            return ended, ""
        health = self._ask(lambda: self._health(run_id))
        if health.status == WorkerStatus.RUNNING:
            return "under way", ""
        if ended := self._ended(run_id):  # meanwhile
            return ended, ""
        end_run(self._instance, self._run(run_id), f"its process died: {health.msg}")
        return "died", health.msg or "Ray does not know why"

    def _launch(self, run: dg.DagsterRun) -> None:
        try:
            self._launcher.launch_run(LaunchRunContext(run, None))
        except RuntimeError as error:
            if "already exists" not in str(error):  # it was sent, and the answer was lost
                raise

    def _health(self, run_id: str) -> CheckRunHealthResult:
        """What Ray reports about a run's process. Raises ConnectionError if it reports nothing."""
        health: CheckRunHealthResult = self._launcher.check_run_worker_health(self._run(run_id))
        if health.status == WorkerStatus.UNKNOWN and "status code 404" not in (health.msg or ""):
            raise ConnectionError(health.msg)
        return health

    def _ended(self, run_id: str) -> Outcome | None:
        run = self._run(run_id)
        if run.is_success:
            return "made"
        return "failed" if run.is_finished else None

    def _print_failure(self, run_id: str, step: Step, why: str) -> None:
        """Print why a run failed, or what Ray reports about one that died."""
        events = [entry.dagster_event for entry in self._instance.all_logs(run_id) if entry.dagster_event]
        if why or not print_failures(events):
            ends = [event.message or "" for event in events if event.is_job_failure]
            console = Console(stderr=True)
            console.print(f"[bold red]error:[/] {step.job} {step.partition or ''}:", highlight=False)
            console.print(why or "\n".join(ends), markup=False, highlight=False, soft_wrap=True)

    def _run(self, run_id: str) -> dg.DagsterRun:
        if (run := self._instance.get_run_by_id(run_id)) is None:
            raise LakeError(f"run '{run_id}' is no longer in Dagster's history; run the command again to continue")
        return run

    def _earlier_runs(self) -> dict[tuple[str, str | None], str]:
        """Runs started by an earlier command, by job and partition. Dead ones are marked as failed."""
        found = self._instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY, tags=self._tags))
        alive = [run for run in found if self._outcome(run.run_id)[0] == "under way"]
        return {(run.job_name, run.tags.get("dagster/partition")): run.run_id for run in alive}

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        from ray.util.state.exception import RayStateApiException
        from requests.exceptions import RequestException

        return ask(self._address, question, RequestException, RayStateApiException)

    def _print(self, step: Step, what: str) -> None:
        where = f" {step.partition}" if step.partition else ""
        self._console.print(f"[dim]{step.job}{where}:[/] {what}", highlight=False)


def ask(address: str, question: Callable[[], _Answer], *silences: type[Exception]) -> _Answer:
    """The answer of the cluster at an address to a question; while there is none, retries for two minutes.

    `silences` are the exceptions, besides Python's own, that mean no answer: the head is starting, busy or gone.
    Raises LakeError if there is no answer in that time.
    """
    kinds: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, *silences)
    end: float | None = None
    while True:
        try:
            return question()
        except kinds as error:
            # The last line, because Ray sends whole stack traces.
            *_, why = [type(error).__name__, *filter(None, map(str.strip, str(error).splitlines()))]
            if end is None:
                end = time.monotonic() + _PATIENCE_SECONDS
                tell(f"the Ray cluster at '{address}' does not answer ({why}); retrying for two minutes")
            if time.monotonic() >= end:
                raise LakeError(
                    f"no Ray cluster answers at '{address}' ({why}); start one with `ray start --head`; if it is "
                    "already up, run again: the command waits for work that is still in progress"
                ) from None
        time.sleep(_LOOK_AGAIN_SECONDS)
        raise_if_asked()


def checked_address(given: str) -> str:
    """A cluster's address in the form that Ray takes, after a check that something listens there.

    Raises:
        ConfigError: It is not an address, or Ray is not installed.
        LakeError: Nothing listens there.
    """
    address = "auto" if given in {"auto", "ray://auto"} else given
    parts = _ADDRESS.fullmatch(address)
    if address != "auto" and parts is None:
        raise ConfigError(
            f"'{given}' is not a Ray cluster address; give ray://HOST:10001, http://HOST:8265, or auto on one of "
            "its nodes"
        )
    if not all(map(find_spec, ("ray", "dagster_ray"))):
        raise ConfigError("running on a Ray cluster needs latentlake[ray]; install it here and on the nodes")
    if parts:
        host, port = parts["host"], int(parts["port"])
        try:
            ask(given, lambda: socket.create_connection((host, port), _ANSWER_SECONDS).close())
        except (OSError, OverflowError) as error:  # no such host, or no route to it
            raise LakeError(f"there cannot be a Ray cluster at '{given}': {error}") from None
    return address


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
