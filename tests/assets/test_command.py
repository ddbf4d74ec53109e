"""`latentlake COMMAND`, from the shell and through make."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assets.command import commands, run_command
from assets.run.dagster_home import use_dagster_home
from pipeline.errors import LakeError

ROOT = Path(__file__).parents[2]

TYPED = """a `touch x` $(shell touch x) $(touch x) ${HOME} $HOME $$ "quoted" it's \\ #no %s; !! *
second line"""

SHOW = f"""#!{sys.executable}
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from assets.command import commands
command = sys.argv[1]
if command == "demo":
    from pipeline.config import load_config
    config = load_config({str(ROOT)!r} + "/config/demo.yaml")
    print(config.explaining.model, config.scoring.precision)
    sys.exit()
given = commands.commands[command].make_context(command, sys.argv[2:]).params
own = os.environ.get("SHOWN")
sys.stdout.write(str(given[own]) if own else os.environ["LATENTLAKE_FROM"])
"""


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run our Makefile in a folder, with a program in place of `latentlake` that shows what reaches it."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "latentlake"
    program.write_text(SHOW, encoding="utf-8")
    program.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / "stamp").touch()  # newer than they are: nothing is set up
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--silent", f"VENV={folder}", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment | variables, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_demo_takes_another_model(tmp_path: Path) -> None:
    done = make(tmp_path, "demo", "LLM=Qwen/Qwen2.5-1.5B-Instruct")
    assert (done.stderr, done.stdout) == ("", "Qwen/Qwen2.5-1.5B-Instruct int8\n")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_what_is_not_given_has_its_default(tmp_path: Path) -> None:
    """Also `AS`, which make itself sets to the name of the assembler."""
    for target, parameter, default in [
        ("config", "name", "None"),
        ("run", "config", "config/demo.yaml"),
        ("run", "on", "None"),
        ("dev", "port", "3000"),
        ("site", "out", "None"),
    ]:
        folder = tmp_path / f"{target}-{parameter}"
        folder.mkdir()
        assert make(folder, target, SHOWN=parameter).stdout == default


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "variable", "parameter"),
    [
        ("fires", "TEXT", "text"),
        ("sql", "Q", "statement"),
        ("rule", "RULE", "rule"),
        ("site", "WHERE", "where"),
        ("config", "FROM", ""),
        ("config", "AS", "name"),
        ("run", "CONFIG", "config"),
        ("run", "ON", "on"),
        ("export", "TO", "to"),
        ("export", "OUT", "out"),
        ("export", "EXPLAINER", "explainer"),
    ],
)
@pytest.mark.parametrize("is_argument", [True, False], ids=["argument", "environment"])
def test_what_is_typed_reaches_the_program_through_make_untouched(
    tmp_path: Path, target: str, variable: str, parameter: str, is_argument: bool
) -> None:
    arguments, variables = ([f"{variable}={TYPED}"], {}) if is_argument else ([], {variable: TYPED})
    if target == "export" and variable != "TO":
        arguments = [*arguments, "TO=csv"]
    done = make(tmp_path, target, *arguments, SHOWN=parameter, **variables)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", TYPED)
    assert not (tmp_path / "x").exists()


def test_an_argument_goes_before_what_make_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTLAKE_TEXT", "from make")
    monkeypatch.setenv("LATENTLAKE_STATEMENT", "from make")
    assert read("fires", "mine.yaml", "- typed")["text"] == "- typed"
    assert read("fires", "mine.yaml")["text"] == "from make"
    assert read("sql", "mine.yaml", "typed")["statement"] == "typed"
    assert read("sql")["config"] == "config/demo.yaml"
    monkeypatch.setenv("LATENTLAKE_CONFIG", "mine.yaml")
    assert read("sql")["config"] == "mine.yaml"


def read(command: str, *arguments: str) -> dict[str, Any]:
    """What a command is given."""
    return commands.commands[command].make_context(command, list(arguments)).params


def test_a_command_line_that_is_wrong_says_what_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["benchmark-scorer"]) == 2
    assert "No such command 'benchmark-scorer'. Did you mean 'benchmark-scorers'?" in capsys.readouterr().err
    assert run_command(["run", "--help"]) == 0
    assert "run only this job" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "estimate", "sql", "fires", "rule", "clean"])
def test_what_is_wrong_is_one_sentence_and_exit_code_2(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENTLAKE_TEXT", "some text")
    assert run_command([command, "[none].yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: no config file '[none].yaml'")
    assert list(tmp_path.iterdir()) == []


def test_a_report_of_nothing_says_what_makes_it_and_writes_no_lake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATENTLAKE_LAKE", str(tmp_path / "lake"))
    assert run_command(["report", "config/demo.yaml"]) == 2
    assert "materialise 'demo/feature_routes' first, as make run does" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_of_no_columns_is_told_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "0")
    assert run_command(["estimate", "none.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: no config file 'none.yaml'")


def test_a_command_begins_at_once_so_that_ctrl_c_finds_it_ready() -> None:
    code = "import sys, assets.command; print({'dagster', 'duckdb', 'rich'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_output_that_is_cut_by_head_ends_quietly() -> None:
    code = "; ".join(
        (
            "from assets.command import commands, main",
            "commands.commands['sql'].callback = lambda **given: print(1000000 * 'row ')",
            "main()",
        )
    )
    line = f'"{sys.executable}" -c "{code}" sql | head -c 3'
    done = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("row", "")


def shell(prints: str, line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `sql` in a shell's line ({}: it), with a function in its place."""
    code = f"from assets.command import commands, main; commands.commands['sql'].callback = {prints}; main()"
    command = line.replace("{}", f'"{sys.executable}" -c "{code}" sql')
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_tables_that_are_cut_by_head_end_quietly() -> None:
    prints = "lambda **given: [__import__('rich.console').console.Console().print('row') for _ in range(100000)]"
    done = shell(prints, "{} | head -n 1")
    assert (done.returncode, done.stdout, done.stderr) == (141, "row\n", "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(closed: str) -> None:
    prints = "lambda **given: print(len(__import__('sys').stdin.read()), 'read')"
    done = shell(prints, f"{{}} {closed} || echo failed")
    assert (done.stdout, done.stderr) == ("" if ">&-" in closed.replace("2>&-", "") else "0 read\n", "")


def test_what_a_terminal_cannot_show_is_spelled() -> None:
    done = shell("lambda **given: print('\u65e5 \u00e9')", "{}", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\u65e5 \\xe9\n", "")


def test_control_characters_in_what_is_wrong_are_spelled(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["estimate", "\x1b[2Jno\udcff.yaml"]) == 2
    assert capsys.readouterr().err.startswith("error: no config file '\\x1b[2Jno\\udcff.yaml'")


def test_an_error_of_several_lines_has_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").touch()
    assert run_command(["config", str(tmp_path)]) == 2
    first, second, *formats = capsys.readouterr().err.splitlines()
    assert "is not an SAE of a known format; it contains notes.txt; docs/your-sae.md" in first
    assert second == "The files of each format:" and len(formats) > 10


@pytest.mark.parametrize("by_make", [False, True])
def test_a_text_is_asked_for_where_there_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, by_make: bool
) -> None:
    """As the command of those who typed it: make's variables, or the options of latentlake."""
    monkeypatch.setenv("MAKELEVEL", "1") if by_make else monkeypatch.delenv("MAKELEVEL", raising=False)
    assert run_command(["fires", "config/demo.yaml", "  "]) == 2
    written = 'make fires TEXT="…"' if by_make else 'latentlake fires CONFIG "…"'
    assert capsys.readouterr().err == f"error: no text; write {written}\n"
    assert run_command(["rule", "config/demo.yaml", "layers.9", "12", "  "]) == 2
    written = "make rule SAE=layers.9" if by_make else "latentlake rule CONFIG layers.9"
    assert f"no rule; write {written}" in capsys.readouterr().err
    assert run_command(["export", "config/demo.yaml", "csv", "--explainer", "defaults"]) == 2
    written = "EXPLAINER=defaults" if by_make else "--explainer defaults"
    assert f"error: {written}: not in explaining.explainers of 'config/demo.yaml'" in capsys.readouterr().err
    for arguments in (["csv"], ["csv", "config/demo.yaml"]):
        assert run_command(["export", *arguments]) == 2
        assert "no config file 'csv'; a command's first argument is its config" in capsys.readouterr().err


def test_dagster_lives_in_the_working_directory_with_our_settings_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", "")
    use_dagster_home()
    assert os.environ["DAGSTER_HOME"] == str(tmp_path / ".dagster")
    shipped = (ROOT / "assets" / "dagster.yaml").read_text(encoding="utf-8")
    assert (tmp_path / ".dagster" / "dagster.yaml").read_text(encoding="utf-8") == shipped
    named = tmp_path / "some" / "elsewhere"
    monkeypatch.setenv("DAGSTER_HOME", str(named))
    use_dagster_home()  # one that is not there yet is made, and from then on it is the user's
    assert (named / "dagster.yaml").read_text(encoding="utf-8") == shipped
    (named / "dagster.yaml").write_text("mine", encoding="utf-8")
    use_dagster_home()
    assert (named / "dagster.yaml").read_text(encoding="utf-8") == "mine"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "[elsewhere]"))
    with pytest.raises(LakeError, match="does not find its settings in"):
        use_dagster_home()
