"""One YAML file is one experiment: its sections in the order of the data flow, and how the file is read.

`subject`, `corpus`, `features`, `explaining`, `scoring`; `asking` has models, servers and budget, `report`
reference figures, `machine` where it runs; `experiment` is the whole.
"""

from pipeline.config.asking import (
    BudgetConfig,
    ChatEndpointConfig,
    EndpointConfig,
    EndpointsConfig,
    ExplainingOracleConfig,
    OracleConfig,
    ScoringOracleConfig,
)
from pipeline.config.corpus import (
    CorpusConfig,
    DelphiRows,
    FileTexts,
    HubTexts,
    PythonTexts,
    SamplingConfig,
    TextSource,
)
from pipeline.config.experiment import UNHASHED, Config
from pipeline.config.explaining import JUDGE, ExplainingConfig
from pipeline.config.features import (
    HeuristicsConfig,
    RoutingConfig,
    RulesConfig,
    ScramblingConfig,
    SelectionConfig,
)
from pipeline.config.file import load_config
from pipeline.config.machine import DEVICE_VARIABLE, LAKE_VARIABLE, LLM_VARIABLE, MachineConfig
from pipeline.config.plugin_sections import settings_of
from pipeline.config.report import ReportConfig
from pipeline.config.scoring import ScorerModelConfig, ScoringConfig
from pipeline.config.section import Section
from pipeline.config.subject import LocalConfig, SaeConfig, SubjectConfig

__all__ = [
    "DEVICE_VARIABLE",
    "JUDGE",
    "LAKE_VARIABLE",
    "LLM_VARIABLE",
    "UNHASHED",
    "BudgetConfig",
    "ChatEndpointConfig",
    "Config",
    "CorpusConfig",
    "DelphiRows",
    "EndpointConfig",
    "EndpointsConfig",
    "ExplainingConfig",
    "ExplainingOracleConfig",
    "FileTexts",
    "HeuristicsConfig",
    "HubTexts",
    "LocalConfig",
    "MachineConfig",
    "OracleConfig",
    "PythonTexts",
    "ReportConfig",
    "RoutingConfig",
    "RulesConfig",
    "SaeConfig",
    "SamplingConfig",
    "ScorerModelConfig",
    "ScoringConfig",
    "ScoringOracleConfig",
    "ScramblingConfig",
    "Section",
    "SelectionConfig",
    "SubjectConfig",
    "TextSource",
    "load_config",
    "settings_of",
]
