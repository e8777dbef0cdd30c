"""Record every call of a function, and find, compare, prove, repeat and share the results.

>>> from digital_experiments import experiment
>>> @experiment
... def square(x):
...     return x * x
>>> [square(i) for i in range(5)]
[0, 1, 4, 9, 16]
>>> [o.result for o in square.observations()]
[0, 1, 4, 9, 16]
"""

from typing import TYPE_CHECKING, Any

from digital_experiments.backends import Backend, register_backend
from digital_experiments.callbacks import Callback
from digital_experiments.errors import DigitalExperimentsError, DigitalExperimentsWarning
from digital_experiments.experiment import Experiment, experiment
from digital_experiments.inside import (
    current_dir,
    current_id,
    log_artefact,
    log_artifact,
    log_dict,
    log_features,
    log_figure,
    log_image,
    log_metric,
    log_metrics,
    log_param,
    log_params,
    log_table,
    log_text,
    time_block,
)
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.resources import resource
from digital_experiments.retention import Retention
from digital_experiments.run import Run, current_run
from digital_experiments.start import start_run
from digital_experiments.steps import step
from digital_experiments.stored import StoredExperiment
from digital_experiments.stores import open_experiment

if TYPE_CHECKING:
    from digital_experiments.pipelines import pipeline
    from digital_experiments.reports import Difference, Report, compare, diff
    from digital_experiments.study import Hypothesis, Outcome, Study, Treatment

_LATER = {
    "Difference": "reports",
    "Hypothesis": "study",
    "Outcome": "study",
    "Registry": "registry",
    "Report": "reports",
    "Study": "study",
    "Treatment": "study",
    "compare": "reports",
    "diff": "reports",
    "pipeline": "pipelines",
}


def __getattr__(name: str) -> Any:
    """What few programs need is imported when it is asked for."""
    if name in _LATER:
        from importlib import import_module

        return getattr(import_module(f"digital_experiments.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = "3.0.0.dev0"
__all__ = [
    "Backend",
    "Callback",
    "Difference",
    "DigitalExperimentsError",
    "DigitalExperimentsWarning",
    "Experiment",
    "Hypothesis",
    "Observation",
    "Observations",
    "Outcome",
    "Registry",
    "Report",
    "Retention",
    "Run",
    "StoredExperiment",
    "Study",
    "Treatment",
    "compare",
    "current_dir",
    "current_id",
    "current_run",
    "diff",
    "experiment",
    "log_artefact",
    "log_artifact",
    "log_dict",
    "log_features",
    "log_figure",
    "log_image",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_table",
    "log_text",
    "open_experiment",
    "pipeline",
    "register_backend",
    "resource",
    "start_run",
    "step",
    "time_block",
]
