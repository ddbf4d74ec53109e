import io

from rich.table import Table

from pipeline.show.terminal import plain_console


def test_a_plain_console_prints_text_as_it_is_also_in_a_table() -> None:
    text = "' [bold]' :smile: 12"
    table = Table("token")
    table.add_row(text)
    file = io.StringIO()
    console = plain_console(file=file, force_terminal=True, width=40)
    console.print(text)
    console.print(table)
    assert text in file.getvalue().splitlines()[0] and file.getvalue().count(text) == 2
