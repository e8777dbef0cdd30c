"""Who listens to runs. Hands on the built-in callbacks and the base class of yours."""

from digital_experiments.callbacks.base import Callback
from digital_experiments.callbacks.code import CodeVersioning
from digital_experiments.callbacks.git import GitInfo
from digital_experiments.callbacks.logging import Logging
from digital_experiments.callbacks.logs import SaveLogs
from digital_experiments.callbacks.packages import PipFreeze
from digital_experiments.callbacks.seed import Seed
from digital_experiments.callbacks.system import SystemInfo
from digital_experiments.callbacks.timing import Timing
from digital_experiments.inside import current_dir, current_id, time_block

__all__ = [
    "Callback",
    "CodeVersioning",
    "GitInfo",
    "Logging",
    "PipFreeze",
    "SaveLogs",
    "Seed",
    "SystemInfo",
    "Timing",
    "current_dir",
    "current_id",
    "time_block",
]
