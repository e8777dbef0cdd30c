"""Stores on buckets: where they are, what is asked of a bucket, and the copy that is worked on."""

from digital_experiments.remote.copies import (
    WorkingCopy,
    folder_of,
    is_on_bucket,
    stores_on_bucket,
    working_copies,
    working_copy,
)
from digital_experiments.remote.places import Place, Root, located

__all__ = [
    "Place",
    "Root",
    "WorkingCopy",
    "folder_of",
    "is_on_bucket",
    "located",
    "stores_on_bucket",
    "working_copies",
    "working_copy",
]
