"""latentlake: automated interpretability of sparse-autoencoder features as a lake of tables."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from pipeline.errors import ConfigError, faults, sentence_of

_DEMO = "config/demo.yaml"

_COMMANDS = {
    "demo": "run the demo: a small model, its SAE and texts that come with the packages",
    "run": "run an experiment; a run that was stopped resumes where it was",
    "estimate": "print what a run would take: disk, time, requests, tokens and dollars",
    "dev": "open the Dagster UI on http://localhost:3000",
    "explore": "show the features in a browser, on http://localhost:3001",
    "sql": "open a SQL prompt on the tables, or run one statement",
    "fires": "print which features fire on a text",
    "rule": "score how well a rule predicts where a feature fires",
    "clean": "delete old versions of tables from the lake",
    "config": "write an experiment's config file for an SAE",
    "report": "write all figures with intervals into one HTML file",
    "site": "write the explorer's pages of some features as files for any web host",
    "export": "write explanations and scores as files for another program",
    "benchmark-scorers": "measure which scorers tell right explanations of planted features from faulty ones",
    "docs": "write the generated pages of docs/ (in a checkout)",
    "cookbook": "write docs/cookbook.md with the answers of a lake (in a checkout)",
}

_PORTS = {"dev": 3000, "explore": 3001}

TEXT_VARIABLE, STATEMENT_VARIABLE = "LATENTLAKE_TEXT", "LATENTLAKE_STATEMENT"
WHERE_VARIABLE = "LATENTLAKE_WHERE"
FROM_VARIABLE, NAME_VARIABLE = "LATENTLAKE_FROM", "LATENTLAKE_AS"
RULE_VARIABLES = {"sae": "LATENTLAKE_SAE", "feature": "LATENTLAKE_FEATURE", "rule": "LATENTLAKE_RULE"}
"""What `make fires TEXT=…`, `make sql Q=…`, `make site WHERE=…`, `make config FROM=… AS=…` and `make rule SAE=…
FEATURE=… RULE=…` were given: past the shell, which would look into it."""

STOPPED = 130
"""The exit code of what was stopped, as a shell gives it for Ctrl-C."""

CLOSED = 141
"""The exit code where nobody reads the output any more, as a shell gives it for SIGPIPE."""


def main() -> NoReturn:
    """`latentlake COMMAND [CONFIG]`, as a process."""
    exit_code = run_command(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is published and closed. duckdb 2.0's bindings print pages of "leaked instance" when they are
    # torn down after Dagster, so the interpreter is not torn down.
    os._exit(exit_code)


def run_command(arguments: Sequence[str]) -> int:
    """Run what a command line names; the exit code. What is no bug of ours is said in one sentence."""
    try:
        return _run(command_line().parse_args(arguments))
    except KeyboardInterrupt:
        print("\nstopped; run again to go on", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # what reads our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except faults() as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        from rich.console import Console

        console = Console(stderr=True)
        console.print("[bold red]error:[/]", end=" ")
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
        return 2


def command_line() -> argparse.ArgumentParser:
    """The commands and what each is given."""
    parser = argparse.ArgumentParser(prog="latentlake", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, words in _COMMANDS.items():
        command = commands.add_parser(name, help=words, description=words)
        if name == "export":
            names = "neuronpedia, circuit-tracer, delphi, delphi-latents, eleuther, parquet or csv"
            command.add_argument("to", help=names)
        if name not in {"demo", "docs", "config"}:
            default = os.environ.get("LATENTLAKE_CONFIG", _DEMO)
            command.add_argument("config", nargs="?", default=default, help=f"config file (default: {default})")
        if name == "run":
            words = "run one job only: corpus, cache, prepare, pilot or explain_and_score (for many workers)"
            command.add_argument("--job", help=words)
            command.add_argument("--nth", type=int, help="run only this partition of the job, counted from 0")
            words = "run on a Ray cluster: ray://HOST:10001, http://HOST:8265, or auto on one of its nodes"
            command.add_argument("--on", metavar="ADDRESS", help=words)
            command.add_argument("--list", action="store_true", help="print the partitions of the job and stop")
        if name in _PORTS:
            command.add_argument("--port", type=int, default=_PORTS[name], help=f"default: {_PORTS[name]}")
        if name == "sql":
            statement = os.environ.get(STATEMENT_VARIABLE)
            command.add_argument("statement", nargs="?", default=statement, help="default: opens a prompt")
        if name == "config":
            words = f"a folder, a file, hf://OWNER/REPO/PATH or saelens://RELEASE/ID (default: ${FROM_VARIABLE})"
            command.add_argument("sources", nargs="*", metavar="FROM", help=words)
            given = os.environ.get(NAME_VARIABLE) or None
            words = "name of the experiment and of its file in config/ (default: made of FROM)"
            command.add_argument("--name", default=given, help=words)
        if name == "export":
            command.add_argument("--out", help="the folder to write (default: exports/NAME in the lake)")
            command.add_argument("--explainer", help="whose explanations (default: by each feature's route)")
            words = "an SAE by name; may be repeated (default: all)"
            command.add_argument("--sae", action="append", default=[], help=words)
            words = "circuit-tracer: an attribution graph's file, whose nodes get the labels"
            command.add_argument("--graph", help=words)
        if name == "site":
            command.add_argument("--out", help="the folder to write (default: site in the lake)")
            words = "a SQL condition such as \"route = 'llm' and value > 0.7\" (default: explained features)"
            command.add_argument("--where", default=os.environ.get(WHERE_VARIABLE) or None, help=words)
        if name == "benchmark-scorers":
            words = "planted features of each of five kinds (default: 30); seven explanations of each are judged"
            command.add_argument("--per-kind", type=int, default=30, help=words)
            words = "questions about an explanation in one prompt, at most (default: 10)"
            command.add_argument("--n-questions", type=int, default=10, help=words)
            command.add_argument("--scorers", nargs="+", help="names of scorers (default: all)")
        if name == "fires":
            text = os.environ.get(TEXT_VARIABLE)
            command.add_argument("text", nargs="?", default=text, help=f"the text (default: ${TEXT_VARIABLE})")
        if name == "rule":
            for part, variable in RULE_VARIABLES.items():
                given = os.environ.get(variable, "")
                command.add_argument(part, nargs="?", default=given, help=f"(default: ${variable})")
    return parser


def _run(given: argparse.Namespace) -> int:
    """One command. Each imports what it needs: `latentlake --help` answers at once."""
    match given.command:
        case "demo":
            return _run_experiment(_DEMO, None, None)
        case "run":
            if not given.job and (given.list or given.nth is not None):
                raise ConfigError("--nth and --list are of a job: name it, as in --job cache")
            if given.list:
                from assets.run.experiment import list_partitions

                list_partitions(given.config, given.job)
                return 0
            return _run_experiment(given.config, given.job, given.nth, given.on)
        case "dev":
            from assets.run.dagster_home import open_ui

            open_ui(given.config, given.port)
        case "estimate":
            from pipeline.commands.estimate import print_estimates

            print_estimates(given.config)
        case "sql":
            from pipeline.commands.sql import answer_statements

            return answer_statements(given.config, given.statement)
        case "fires":
            from pipeline.commands.fires import print_fires

            print_fires(given.config, given.text or "")
        case "rule":
            from pipeline.commands.rule import print_rule

            print_rule(given.config, given.sae, given.feature, given.rule)
        case "explore":
            from pipeline.commands.explore import serve_explorer

            serve_explorer(given.config, given.port)
        case "clean":
            from pipeline.commands.clean import clean_lake

            clean_lake(given.config)
        case "config":
            from pipeline.commands.config import split_sources, write_config

            write_config(given.sources or split_sources(os.environ.get(FROM_VARIABLE, "")), given.name)
        case "report":
            from assets.run.experiment import make_report

            return make_report(given.config)
        case "site":
            from pipeline.commands.site import write_pages_of

            write_pages_of(given.config, given.out, given.where)
        case "export":
            from pipeline.commands.export import write_export

            own = {"out": given.out, "explainer": given.explainer, "saes": given.sae, "graph": given.graph}
            write_export(given.config, given.to, **own)
        case "cookbook":
            from pipeline.commands.cookbook import write_cookbook

            write_cookbook(given.config)
        case "benchmark-scorers":
            from assets.run.scorers_benchmark import benchmark_scorers

            return benchmark_scorers(given.config, given.per_kind, given.n_questions, given.scorers)
        case "docs":
            from pipeline.commands.docs import write_pages

            write_pages()
    return 0


def _run_experiment(config: str, job: str | None, nth: int | None, on: str | None = None) -> int:
    from assets.stopping import catch_signals

    catch_signals()
    from assets.run.experiment import Part, run

    return run(config, Part(job, nth) if job else None, on)


if __name__ == "__main__":
    main()
