"""The machine and the Python that a run used."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from digital_experiments.callbacks.base import Callback
from digital_experiments.forks import unforked
from digital_experiments.observation import Observation


class SystemInfo(Callback):
    """Records ``metadata["environment"]["system"]``."""

    def end(self, observation: Observation) -> None:
        """Add the facts of the machine, and the folder the process works in."""
        observation.metadata.setdefault("environment", {})["system"] = system_facts(
            working_folder()
        )


def working_folder() -> str | None:
    """The folder the process works in, or None if that has been deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None


@lru_cache(maxsize=64)
def system_facts(pwd: str | None) -> Mapping[str, Any]:
    """What :mod:`platform` says of this machine, asked once."""
    import platform

    with unforked:  # it asks uname
        facts = {
            "platform": platform.platform(),
            "machine": platform.machine(),
            "processor": platform.processor(),
            "system": platform.system(),
            "python_version": platform.python_version(),
            "hostname": platform.node(),
            "pwd": pwd,
        }
    return MappingProxyType(facts)
