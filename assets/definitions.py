"""What Dagster loads: the experiment that `LATENTLAKE_CONFIG` names (config/demo.yaml without it)."""

import os

from assets.graph.build import build_definitions
from pipeline.config import load_config

defs = build_definitions(load_config(os.environ.get("LATENTLAKE_CONFIG", "config/demo.yaml")))
