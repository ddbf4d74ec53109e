"""How fast, how small and how right: each module measures one thing and writes `results/<name>.json`.

`make bench` runs them all at 32 million rows, `make bench SCALE=large` the store at 320 million. A figure stands
beside its target and, where there is one, beside a limit of the machine that was measured in the same run.
"""
