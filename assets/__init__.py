"""The Dagster graph; the work is in `pipeline`."""
