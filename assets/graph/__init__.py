"""How the graph is built: assets from functions, their checks, the schedule."""

import warnings

import dagster as dg

# Partitioned asset checks are in preview, a partition mapping in beta; Dagster says so at every use.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
warnings.filterwarnings("ignore", category=dg.BetaWarning)
