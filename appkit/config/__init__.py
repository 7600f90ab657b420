"""Config builds the configuration of a run, a frozen model, from presets, words and keys.

Bare words (`task model method quant train`) choose presets, dotted keys refine them. Precedence, lowest to highest:
defaults, presets, the pack's own defaults, `--config` file, command line. A value stays as it was
typed until its field is known (`words`); the pydantic models validate it and give the JSON schema.
"""

from appkit.config.build import (
    GROUPS,
    build_run_config,
    load_run_config,
    merge_over,
    model_config,
    parse_overrides,
    presets,
    rag_words,
    require_alone,
    to_values,
    to_yaml,
)
from appkit.config.sections import (
    DataConfig,
    EvalConfig,
    HeadConfig,
    MixSource,
    ModelConfig,
    QuantConfig,
    RagConfig,
    RunConfig,
    StageConfig,
    TrainConfig,
)

__all__ = [
    "GROUPS",
    "DataConfig",
    "EvalConfig",
    "HeadConfig",
    "MixSource",
    "ModelConfig",
    "QuantConfig",
    "RagConfig",
    "RunConfig",
    "StageConfig",
    "TrainConfig",
    "build_run_config",
    "load_run_config",
    "merge_over",
    "model_config",
    "parse_overrides",
    "presets",
    "rag_words",
    "require_alone",
    "to_values",
    "to_yaml",
]
