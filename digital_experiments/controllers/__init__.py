"""Who suggests configs. Hands on the built-in controllers and the base class of yours."""

from digital_experiments.controllers.base import Controller
from digital_experiments.controllers.designs import LatinHypercube, Repeat, Sobol
from digital_experiments.controllers.grid import GridSearch
from digital_experiments.controllers.optuna import OptunaSearch
from digital_experiments.controllers.random import RandomSearch

__all__ = [
    "Controller",
    "GridSearch",
    "LatinHypercube",
    "OptunaSearch",
    "RandomSearch",
    "Repeat",
    "Sobol",
]
