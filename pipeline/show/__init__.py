"""The tables as people see them: in a terminal, a notebook, a report, and as plots."""
