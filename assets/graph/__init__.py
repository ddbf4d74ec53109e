"""How the graph is built: assets from tables, their checks, the schedule and the sensor."""

import warnings

import dagster as dg

# Partitioned asset checks are in preview and a partition mapping is in beta; Dagster warns at every use.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", category=dg.BetaWarning)
