"""Stores on buckets: where they are, what is asked of a bucket, and the copy that is worked on.

What asks a bucket is imported when the first one is asked.
"""

from pathlib import Path

from digital_experiments.remote.places import Place, Root, located

__all__ = ["Place", "Root", "check_opens", "folder_of", "located"]


def folder_of(place: Root, trust: bool = False) -> Path:
    """The folder in which a store is worked on: its own, or the copy of one on a bucket."""
    found = located(place)
    if isinstance(found, Path):
        return found.absolute()
    from digital_experiments.remote.copies import working_copy

    copy = working_copy(found)
    copy.trust = copy.trust or trust
    return Path(copy.folder)


def check_opens(place: Place) -> None:
    """See that a place can be opened as it is told; nothing is asked of its server.

    Raises
    ------
    TypeError
        For storage_options that are not known.
    """
    from digital_experiments.remote.opening import bucket_of

    bucket_of(place)
