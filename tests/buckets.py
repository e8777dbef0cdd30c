"""Buckets as the next test finds them."""

from __future__ import annotations

import sys

from digital_experiments import followed


def forget_buckets() -> None:
    """Follow no store any more."""
    followed.followers.clear()
    copies = sys.modules.get("digital_experiments.remote.copies")
    if copies is not None:
        copies._copies.clear()
        sys.modules["digital_experiments.remote.opening"]._temporary.cache_clear()


def empty_memory() -> None:
    """What was kept at memory:// is gone."""
    memory = sys.modules.get("fsspec.implementations.memory")
    if memory is not None:
        memory.MemoryFileSystem.store.clear()
        memory.MemoryFileSystem.pseudo_dirs[:] = [""]
