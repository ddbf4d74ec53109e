"""An experiment's runs on a Ray cluster: how they are sent, and what became of them."""

import json
import logging
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import dagster as dg
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from rich.console import Console

from assets.graph.build import build_definitions
from assets.graph.history import UNDER_WAY, lake_tag
from assets.graph.keys import asset_key
from assets.processes import CLUSTER_TAG, end_run
from assets.run.dagster_home import CODE_FOLDER
from assets.run.printing import print_error, print_failures, print_step
from assets.run.ray.connecting import ask
from assets.run.ray.resources import Need, Node
from assets.run.steps import Step
from pipeline.config import LAKE_VARIABLE, LLM_VARIABLE, Config
from pipeline.errors import ConfigError, LakeError

Outcome = Literal["under way", "made", "failed", "died"]
_Answer = TypeVar("_Answer")


class Cluster:
    """One experiment's view of a Ray cluster: its nodes, and the runs that make the experiment's tables there."""

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

    def send(self, step: Step, need: Need) -> str:
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
        self.print(step, ", ".join(step.tables))
        return run.run_id

    def outcome(self, run_id: str) -> tuple[Outcome, str]:
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

    def terminate(self, run_id: str) -> None:
        """Stop a run."""
        self._launcher.terminate(run_id)

    def print(self, step: Step, what: str) -> None:
        """Print a line about a step."""
        print_step(step, what, self._console)

    def print_failure(self, run_id: str, step: Step, why: str) -> None:
        """Print why a run failed, or what Ray reports about one that died."""
        events = [entry.dagster_event for entry in self._instance.all_logs(run_id) if entry.dagster_event]
        if why or not print_failures(events):
            ends = [event.message or "" for event in events if event.is_job_failure]
            print_error(f"{step.job} {step.partition or ''}", why or "\n".join(ends))

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

    def _run(self, run_id: str) -> dg.DagsterRun:
        if (run := self._instance.get_run_by_id(run_id)) is None:
            raise LakeError(f"run '{run_id}' is no longer in Dagster's history; run the command again to continue")
        return run

    def _earlier_runs(self) -> dict[tuple[str, str | None], str]:
        """Runs started by an earlier command, by job and partition. Dead ones are marked as failed."""
        found = self._instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY, tags=self._tags))
        alive = [run for run in found if self.outcome(run.run_id)[0] == "under way"]
        return {(run.job_name, run.tags.get("dagster/partition")): run.run_id for run in alive}

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        from ray.util.state.exception import RayStateApiException
        from requests.exceptions import RequestException

        return ask(self._address, question, RequestException, RayStateApiException)
