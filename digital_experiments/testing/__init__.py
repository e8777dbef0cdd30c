"""Suites that prove that a backend, callback, controller or executor of yours keeps its contract.

They are test classes for pytest: subclass one, name what is to be tested, and run pytest.
"""

from digital_experiments.testing.backend import BackendSuite
from digital_experiments.testing.callback import CallbackSuite
from digital_experiments.testing.controller import ControllerSuite
from digital_experiments.testing.executor import ExecutorSuite

__all__ = ["BackendSuite", "CallbackSuite", "ControllerSuite", "ExecutorSuite"]
