"""The Dagster graph: one short function a table; the work is in `pipeline`."""

import warnings

import dagster as dg

# Partitioned asset checks are in preview; at every start Dagster says so, once a check.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
