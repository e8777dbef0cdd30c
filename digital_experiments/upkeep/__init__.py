"""A store kept in order: deleted from, cleaned, checked, repaired, merged. Knows files only."""

from digital_experiments.upkeep.check import Check, Damage, check, repair
from digital_experiments.upkeep.collect import Collected, collect
from digital_experiments.upkeep.merge import Merged, merge
from digital_experiments.upkeep.prune import Pruned, has_files, prune, runs_with_files
from digital_experiments.upkeep.trash import delete, purge, restore, trashed

__all__ = [
    "Check",
    "Collected",
    "Damage",
    "Merged",
    "Pruned",
    "check",
    "collect",
    "delete",
    "has_files",
    "merge",
    "prune",
    "purge",
    "repair",
    "restore",
    "runs_with_files",
    "trashed",
]
