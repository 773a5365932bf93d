"""Configuration: every field and its default, its checks, and the sets of evaluations.

A file under `configs/` returns an `Experiment`; the command line overrides fields by dotted path.
"""

from m3it_jax.config.checks import CHECKS as CHECKS
from m3it_jax.config.checks import HELD_OUT as HELD_OUT
from m3it_jax.config.checks import INHERIT as INHERIT
from m3it_jax.config.checks import PACKED as PACKED
from m3it_jax.config.checks import PARTS as PARTS
from m3it_jax.config.checks import TRAINED_VARIANTS as TRAINED_VARIANTS
from m3it_jax.config.checks import UNPACKED as UNPACKED
from m3it_jax.config.checks import check_held_out as check_held_out
from m3it_jax.config.checks import get as get
from m3it_jax.config.checks import is_held_out as is_held_out
from m3it_jax.config.checks import stored_tiles as stored_tiles
from m3it_jax.config.checks import validate as validate
from m3it_jax.config.fields import AugmentConfig as AugmentConfig
from m3it_jax.config.fields import CheckpointConfig as CheckpointConfig
from m3it_jax.config.fields import DataConfig as DataConfig
from m3it_jax.config.fields import Experiment as Experiment
from m3it_jax.config.fields import LogConfig as LogConfig
from m3it_jax.config.fields import LoraConfig as LoraConfig
from m3it_jax.config.fields import MeshConfig as MeshConfig
from m3it_jax.config.fields import ModelConfig as ModelConfig
from m3it_jax.config.fields import OptimizerConfig as OptimizerConfig
from m3it_jax.config.fields import SamplesConfig as SamplesConfig
from m3it_jax.config.fields import ValidationConfig as ValidationConfig
from m3it_jax.config.fields import to_dict as to_dict
from m3it_jax.config.suites import EvalRow as EvalRow
from m3it_jax.config.suites import EvalSuite as EvalSuite
