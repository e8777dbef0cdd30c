"""Suites that prove that a backend, callback or controller of yours keeps its contract.

They are test classes for pytest: subclass one, name what is to be tested, and run pytest.
"""

from digital_experiments.testing.backend import BackendSuite
from digital_experiments.testing.callback import CallbackSuite
from digital_experiments.testing.controller import ControllerSuite

__all__ = ["BackendSuite", "CallbackSuite", "ControllerSuite"]
