"""Speed, memory and accuracy: each module measures one thing and writes `results/<name>.json`.

`make bench` runs all of them at 31 million rows, `make bench SCALE=large` the store at 301 million. A figure is
shown next to its target and, where there is one, a limit of the machine measured in the same run.
"""
