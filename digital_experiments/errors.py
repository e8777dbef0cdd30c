"""Every error and warning of the project. Knows nothing else.

::

    DigitalExperimentsError
    ├── UnknownBackend        (ValueError)         no backend of that name
    ├── InvalidName           (ValueError)         a name or id that could leave its folder
    ├── RootError             (NotADirectoryError) the root of a store is a file
    ├── NoActiveRun           (RuntimeError)       asked for the current run outside of one
    ├── ObservationNotFound   (KeyError)           no observation of that id
    ├── DamagedRecord         (ValueError)         a record or blob that can't be read
    │   └── NewerFormat                            ... because a later release wrote it
    ├── ValueUnavailable      (ValueError)         a recorded value that can't be loaded here
    │   └── UntrustedValue                         ... because it was pickled elsewhere
    ├── UnknownColumn         (KeyError)           no such field in any of the observations
    ├── InvalidExpression     (ValueError)         a `where` that is no expression over columns
    ├── InvalidStudy          (ValueError)         a study that can't be run as it is
    │   └── InvalidHypothesis                      ... because of one of its hypotheses
    ├── VersionNotFound       (LookupError)        no such version of a study
    ├── StoreNotFound         (FileNotFoundError)  no store at that place, or of that name
    ├── BucketUnreachable     (ConnectionError)    a bucket that does not answer
    ├── AnotherObservation    (FileExistsError)    what is pushed is something else there
    ├── RecordingError        (RuntimeError)       under strict: a run could not be recorded
    └── RunEnded                                   a run was ended from outside
        ├── RunLost                                ... its process is gone
        ├── RunPruned                              ... the rest of it is of no use to a search
        └── RunTimedOut       (TimeoutError)       ... it took longer than it was given

    DigitalExperimentsWarning (UserWarning)
    ├── RecordingWarning      a run was not, or not wholly, recorded where it should be
    ├── CallbackWarning       a callback raised; the run went on without it
    ├── RunsFailedWarning     some runs of a sweep raised an exception
    ├── OfflineWarning        a bucket can't be reached: what is recorded goes up later
    └── DamagedWarning        an observation was left out because its record is damaged
"""

from __future__ import annotations

from collections.abc import Iterable

_LISTED = 20


class DigitalExperimentsError(Exception):
    """The root of all errors raised on purpose by this package."""

    def __str__(self) -> str:  # KeyError would show the repr of its message
        return str(self.args[0]) if self.args else ""


class UnknownBackend(DigitalExperimentsError, ValueError):
    """No backend is registered under that name."""


class InvalidName(DigitalExperimentsError, ValueError):
    """An id or a name that could point outside its folder."""


class RootError(DigitalExperimentsError, NotADirectoryError):
    """The root of a store is not a folder."""


class NoActiveRun(DigitalExperimentsError, RuntimeError):
    """The current run was asked for where there is none."""


class ObservationNotFound(DigitalExperimentsError, KeyError):
    """The store holds no observation of that id."""


class DamagedRecord(DigitalExperimentsError, ValueError):
    """A record or a blob is torn, altered or no observation at all."""


class NewerFormat(DamagedRecord):
    """A record was written by a later release of this package."""


class ValueUnavailable(DigitalExperimentsError, ValueError):
    """A recorded value can't be loaded here, for instance because its class is gone."""


class UntrustedValue(ValueUnavailable):
    """A value was pickled elsewhere: loading it could run any code, so that has to be asked for."""


class UnknownColumn(DigitalExperimentsError, KeyError):
    """No observation has a field of that name."""


class InvalidExpression(DigitalExperimentsError, ValueError):
    """A ``where`` is no expression over columns; the message points at the place."""


class InvalidStudy(DigitalExperimentsError, ValueError):
    """A study can't be run as it is; the message says all that is wrong."""


class InvalidHypothesis(InvalidStudy):
    """A hypothesis can't be read, or names what is not there."""


class VersionNotFound(DigitalExperimentsError, LookupError):
    """A study has no version of that number, or none at all."""


class StoreNotFound(DigitalExperimentsError, FileNotFoundError):
    """There is no store at that place, or of that name."""


class BucketUnreachable(DigitalExperimentsError, ConnectionError):
    """A bucket does not answer."""


class AnotherObservation(DigitalExperimentsError, FileExistsError):
    """What is to be pushed is there already, with another content."""


class RecordingError(DigitalExperimentsError, RuntimeError):
    """A run could not be recorded, and ``strict`` was asked for."""


TIMED_OUT = "its time was over"
"""What a coroutine is told when it is cancelled for that."""


class RunEnded(DigitalExperimentsError):
    """A run was ended from outside."""

    status = "interrupted"


class RunLost(RunEnded):
    """The process that ran it is gone."""

    status = "lost"


class RunPruned(RunEnded):
    """The search that it is part of has no use for the rest of it."""

    status = "pruned"


class RunTimedOut(RunEnded, TimeoutError):
    """It took longer than it was given."""

    status = "timeout"


class DigitalExperimentsWarning(UserWarning):
    """The root of all warnings of this package."""


class RecordingWarning(DigitalExperimentsWarning):
    """A run was not, or not wholly, recorded where it should be."""


class CallbackWarning(DigitalExperimentsWarning):
    """A callback raised; the run went on without it."""


class RunsFailedWarning(DigitalExperimentsWarning):
    """Some runs of a sweep raised an exception; they are recorded, and the others were made."""


class OfflineWarning(DigitalExperimentsWarning):
    """A bucket can't be reached: what is recorded is kept here, and goes up later."""


class DamagedWarning(DigitalExperimentsWarning):
    """An observation was left out of a list because its record is damaged."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a wrong name: what there is, and what is nearest.

    >>> did_you_mean("jsn", ["pickle", "json"])
    "Available: 'pickle', 'json'. Did you mean 'json'?"
    """
    import difflib

    known = list(dict.fromkeys(known))
    listed = ", ".join(repr(k) for k in known[:_LISTED]) or "none"
    listed += f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    near = difflib.get_close_matches(name, known, n=1)
    return f"Available: {listed}." + (f" Did you mean {near[0]!r}?" if near else "")
