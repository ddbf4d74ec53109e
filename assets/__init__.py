"""The Dagster graph: one short function a table; the work is in `pipeline`."""
