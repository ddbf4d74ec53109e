"""`latentlake COMMAND`: what the Makefile calls, and the command that the package installs."""

import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from pipeline.errors import ConfigError, faults, sentence_of

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DEMO = "config/demo.yaml"

STOPPED = 130
"""The exit code after a stop, as shells give it for Ctrl-C."""

_CLOSED = 141
"""The exit code if the reader of the output is gone, as shells give it for SIGPIPE."""


def main() -> NoReturn:
    """Run the command line of this process, and exit."""
    _ready_streams()
    exit_code = run_command(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is published and closed. duckdb 2.0's bindings print pages of "leaked instance" when they are
    # torn down after Dagster, so skip the interpreter's shutdown.
    os._exit(exit_code)


def _ready_streams() -> None:
    """Give the process the streams that its caller has closed, and have them spell what a terminal cannot show."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (open until the end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run_command(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code. Errors that are not bugs of ours are printed as one sentence."""
    if os.environ.get("COLUMNS") == "0":  # some shells without a terminal set it: nothing would be printed
        del os.environ["COLUMNS"]
    try:
        with commands.make_context("latentlake", list(arguments)) as context:
            return commands.invoke(context) or 0
    except click.exceptions.Exit as asked:  # --help
        return asked.exit_code
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except KeyboardInterrupt:
        print("\nstopped; run again to continue", file=sys.stderr)
        return STOPPED
    except (BrokenPipeError, SystemExit):  # the reader of our output, such as head, has ended; rich then exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED
    except faults() as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        from pipeline.show.terminal import plain_console, printable

        console = plain_console(stderr=True)
        console.print("error:", style="bold red", end=" ")
        lines = map(printable, sentence.split("\n"))  # few errors have several, such as a list of formats
        console.print("\n".join(lines), soft_wrap=True)
        return 2


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order defined below, not alphabetically


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def commands() -> None:
    """Automated interpretability of sparse-autoencoder features as a lake of tables."""
    # Each command imports what it needs when it is called, so that `latentlake --help` answers at once.


_config = click.argument(
    "config", envvar="LATENTLAKE_CONFIG", default=_DEMO, help=f"the experiment's config file (default: {_DEMO})"
)

# Texts, statements and rules may begin with a dash. `make` passes them through the environment, so that the shell
# does not interpret them.
_FREE_TEXT = {"ignore_unknown_options": True}


def _port(default: int) -> Callable[[_Command], _Command]:
    return click.option(
        "--port", envvar="LATENTLAKE_PORT", type=int, default=default, help="port to listen on (localhost only)"
    )


@commands.command()
def demo() -> int:
    """Run the demo on a small model that comes with it."""
    return _run_experiment(_DEMO)


@commands.command()
@_config
@click.option(
    "--job", help="run only this job, as one of many workers: corpus, cache, prepare, pilot, explain_and_score"
)
@click.option("--nth", type=int, help="run only this partition of the job, counted from 0")
@click.option("--list", "lists", is_flag=True, help="print the partitions of the job and exit")
@click.option(
    "--on",
    envvar="LATENTLAKE_ON",
    metavar="ADDRESS",
    help="a Ray cluster: ray://HOST:10001, http://HOST:8265; auto on a node",
)
def run(config: str, job: str | None, nth: int | None, lists: bool, on: str | None) -> int:
    """Run an experiment, or continue where it was stopped."""
    if job is None:
        if lists or nth is not None:
            raise ConfigError("--nth and --list need a job, for example --job cache")
        return _run_experiment(config, on=on)
    if lists:
        from assets.run.printing import print_partitions

        print_partitions(config, job)
        return 0
    return _run_experiment(config, job, nth, on)


def _run_experiment(config: str, job: str | None = None, nth: int | None = None, on: str | None = None) -> int:
    from assets.stopping import catch_signals

    catch_signals()
    from assets.run.experiment import run as run_experiment
    from assets.run.steps import Part

    return run_experiment(config, Part(job, nth) if job else None, on)


@commands.command()
@_config
def estimate(config: str) -> None:
    """Print what a run takes: disk, time, tokens, dollars."""
    from pipeline.commands.estimate import print_estimates

    print_estimates(config)


@commands.command()
@_config
@_port(3000)
def dev(config: str, port: int) -> None:
    """Open the Dagster UI on http://localhost:3000."""
    from assets.run.dagster_home import open_ui

    open_ui(config, port)


@commands.command()
@_config
@_port(3001)
def explore(config: str, port: int) -> None:
    """Show the features on http://localhost:3001."""
    from pipeline.commands.explore import serve_explorer

    serve_explorer(config, port)


@commands.command(context_settings=_FREE_TEXT)
@_config
@click.argument("statement", envvar="LATENTLAKE_STATEMENT", required=False, help="default: open a prompt")
@click.option(
    "--csv", "as_csv", envvar="LATENTLAKE_CSV", is_flag=True, help="print the statement's rows as CSV, all of them"
)
def sql(config: str, statement: str | None, as_csv: bool) -> int:
    """Query the tables: a SQL prompt, or one statement."""
    from pipeline.commands.sql import answer_statements

    return answer_statements(config, statement, as_csv=as_csv)


@commands.command(context_settings=_FREE_TEXT)
@_config
@click.argument("text", envvar="LATENTLAKE_TEXT", default="", help="the text")
def fires(config: str, text: str) -> None:
    """Print which features fire on a text."""
    from pipeline.commands.fires import print_fires

    print_fires(config, text)


@commands.command(context_settings=_FREE_TEXT)
@_config
@click.argument("sae", envvar="LATENTLAKE_SAE", default="", help="the SAE's name")
@click.argument("feature", envvar="LATENTLAKE_FEATURE", default="", help="the feature's index, from 0")
@click.argument("rule", envvar="LATENTLAKE_RULE", default="", help="such as: token is ' stop' (see docs/rules.md)")
def rule(config: str, sae: str, feature: str, rule: str) -> None:
    """Score how well a rule predicts where a feature fires."""
    from pipeline.commands.rule import print_rule

    print_rule(config, sae, feature, rule)


@commands.command()
@_config
def clean(config: str) -> None:
    """Delete old versions of tables from the lake."""
    from pipeline.commands.clean import clean_lake

    clean_lake(config)


@commands.command()
@click.argument(
    "sources",
    metavar="FROM...",
    nargs=-1,
    help="folders, files, hf://OWNER/REPO/PATH or saelens://RELEASE/ID (default: $LATENTLAKE_FROM)",
)
@click.option(
    "--name",
    envvar="LATENTLAKE_AS",
    help="name of the experiment and of its file in config/ (default: derived from FROM)",
)
def config(sources: tuple[str, ...], name: str | None) -> None:
    """Write an experiment's config file for SAEs."""
    from pipeline.commands.config import split_sources, write_config

    write_config(list(sources) or split_sources(os.environ.get("LATENTLAKE_FROM", "")), name)


@commands.command()
@_config
def report(config: str) -> int:
    """Write all figures into one HTML file."""
    from assets.run.experiment import make_report

    return make_report(config)


@commands.command()
@_config
@click.option("--out", envvar="LATENTLAKE_OUT", help="the folder to write (default: site in the lake)")
@click.option(
    "--where",
    envvar="LATENTLAKE_WHERE",
    help="a SQL condition such as \"route = 'llm' and value > 0.7\" (default: explained features)",
)
def site(config: str, out: str | None, where: str | None) -> None:
    """Write the explorer's pages as files for a web host."""
    from pipeline.commands.site import write_pages_of

    write_pages_of(config, out, where)


@commands.command()
@_config
@click.argument(
    "to",
    envvar="LATENTLAKE_TO",
    required=False,
    help="neuronpedia, circuit-tracer, delphi, delphi-latents, eleuther, parquet or csv",
)
@click.option("--out", envvar="LATENTLAKE_OUT", help="the folder to write (default: exports/NAME in the lake)")
@click.option(
    "--explainer",
    envvar="LATENTLAKE_EXPLAINER",
    help="the explainer whose explanations to write (default: by each feature's route)",
)
@click.option(
    "--sae", "saes", envvar="LATENTLAKE_SAE", multiple=True, help="an SAE by name; may be repeated (default: all)"
)
@click.option(
    "--graph",
    envvar="LATENTLAKE_GRAPH",
    help="circuit-tracer: the file of an attribution graph whose nodes to label",
)
def export(
    config: str, to: str | None, out: str | None, explainer: str | None, saes: tuple[str, ...], graph: str | None
) -> None:
    """Write explanations and scores for another program."""
    from pipeline.commands.export import write_export

    write_export(config, to, out=out, explainer=explainer, saes=list(saes), graph=graph)


@commands.command()
@_config
@click.option(
    "--per-kind", type=click.IntRange(min=1), default=30, help="most planted features of each of five kinds"
)
@click.option(
    "--n-questions",
    type=click.IntRange(4, 200),
    default=10,
    help="questions per scorer and explanation with the answer yes, and as many with no",
)
@click.option("--scorers", help="scorers, separated by commas (default: all)")
def benchmark_scorers(config: str, per_kind: int, n_questions: int, scorers: str | None) -> int:
    """Measure which scorers to trust, on planted features."""
    from assets.run.scorers_benchmark import benchmark_scorers

    names = [name.strip() for name in scorers.split(",")] if scorers else None
    return benchmark_scorers(config, per_kind, n_questions, names)


if __name__ == "__main__":
    main()
