"""Studies: treatments, replicates and seeds of one experiment, and what they prove."""

from digital_experiments.study.hypotheses import Hypothesis
from digital_experiments.study.integrity import Integrity
from digital_experiments.study.outcome import Outcome, Replicate
from digital_experiments.study.plans import Plan
from digital_experiments.study.study import Study
from digital_experiments.study.treatments import Treatment
from digital_experiments.study.verdicts import Verdict
from digital_experiments.study.versions import Version

__all__ = [
    "Hypothesis",
    "Integrity",
    "Outcome",
    "Plan",
    "Replicate",
    "Study",
    "Treatment",
    "Verdict",
    "Version",
]
