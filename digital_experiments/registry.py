"""A folder of stores, here or on a bucket, that a team pushes to and pulls from."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from digital_experiments.backends import PickleBackend
from digital_experiments.errors import (
    AnotherObservation,
    DamagedRecord,
    ObservationNotFound,
    did_you_mean,
)
from digital_experiments.exchange.results_manager import brought_over, is_of_results_manager
from digital_experiments.files import refuse_file
from digital_experiments.followed import follower_of, shown_name
from digital_experiments.ids import check_name
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.remote import Place, Root, folder_of, located
from digital_experiments.selection import checked_limit
from digital_experiments.store.flight import in_flight
from digital_experiments.store.records import purged, record_names
from digital_experiments.stored import StoredExperiment
from digital_experiments.storekeeping import Storekeeping
from digital_experiments.stores import DEFAULT_REGISTRY, is_store, open_experiment, stores_in
from digital_experiments.upkeep import Merged, merge, trashed
from digital_experiments.variants import MAIN, coming, put_into, variants_of

What = Observation | Storekeeping | Iterable[Observation]


class Registry:
    """A folder of stores, one an experiment, with variants of each.

    Parameters
    ----------
    root : path, URI or file system
        A folder; or a place on a bucket, such as ``s3://team/experiments``. ``./experiments``,
        where experiments record by default, is a registry too.
    storage_options : dict, optional
        What the file system of a URI is opened with. It is used, and never kept.
    trust : bool
        Whether values that were pickled elsewhere may be loaded: that can run any code.

    Raises
    ------
    TypeError, ValueError, RootError
        For a root that can be none.

    Notes
    -----
    A run belongs to the variants that it was pushed as; else to the one that
    :func:`start_run` named; else to ``main``. A registry that experiment-results-manager wrote
    opens too, to be read.

    Examples
    --------
    >>> from digital_experiments import Registry, experiment
    >>> @experiment
    ... def train(lr):
    ...     return 1 - lr
    >>> train(0.25)
    0.75
    >>> team = Registry("memory://team/experiments")
    >>> team.push(train.observations())
    'memory://team/experiments/train'
    >>> team.experiments(), team.variants("train")
    (['train'], ['main'])
    >>> team.load("train").result
    0.75
    """

    def __init__(
        self,
        root: Root = DEFAULT_REGISTRY,
        *,
        storage_options: Mapping[str, Any] | None = None,
        trust: bool = False,
    ) -> None:
        place = located(root, storage_options)
        if isinstance(place, Path):
            place = place.absolute()
            refuse_file(place)
        self._place = place
        self._stores: Path | Place | None = None
        self.trust = trust

    @property
    def uri(self) -> str:
        """Where it is, without credentials."""
        return self._place.uri if isinstance(self._place, Place) else str(self._place)

    @property
    def _where(self) -> Path | Place:
        """The folder of stores: its own, or what was brought over from another system's."""
        if self._stores is None:
            is_foreign = is_of_results_manager(self._place)
            self._stores = brought_over(self._place) if is_foreign else self._place
        return self._stores

    def _refuse_read_only(self) -> None:
        if self._where != self._place:
            raise PermissionError(
                f"{self.uri} was written by experiment-results-manager, and is only read. Pull "
                "from it, and push to a registry of your own."
            )

    # -- what is there ------------------------------------------------------------------------

    def experiments(self) -> list[str]:
        """The names of the experiments that it holds, sorted."""
        return [place.name for place in stores_in(self._where)]

    def variants(self, experiment: str) -> list[str]:
        """The variants of an experiment, sorted.

        Raises
        ------
        ValueError
            If there is no such experiment.
        """
        return sorted(self._variants(self.open(experiment)))

    def runs(self, experiment: str, variant: str = MAIN) -> list[str]:
        """The ids of the runs of a variant, the oldest first.

        Raises
        ------
        ValueError
            If there is no such experiment, or no such variant of it.
        """
        return [run.id for run in self._runs(self.open(experiment), experiment, variant)]

    def open(self, experiment: str) -> StoredExperiment:
        """An experiment, as :func:`open_experiment` gives it.

        Raises
        ------
        ValueError
            If there is no such experiment.
        """
        place = self._store(experiment)
        if not is_store(place):
            raise ValueError(
                f"There is no experiment {experiment!r} in {self.uri}. "
                + did_you_mean(experiment, self.experiments())
            )
        return open_experiment(place, trust=self.trust)

    def load(
        self,
        experiment: str,
        variant: str = MAIN,
        run_id: str | None = None,
        *,
        trust: bool | None = None,
    ) -> Observation:
        """A run, by default the latest of a variant that completed.

        Parameters
        ----------
        experiment, variant : str
            Whose.
        run_id : str, optional
            Which run; the start of its id is enough.
        trust : bool, optional
            Whether values that were pickled elsewhere may be loaded; by default as the registry.

        Raises
        ------
        ValueError
            If there is no such experiment, or no such variant of it.
        FileNotFoundError
            If there is no such run.
        """
        store = self.open(experiment)
        runs = self._runs(store, experiment, variant)
        if run_id is None:
            completed = [run.id for run in runs if run.status == "completed"]
            found = (completed or [run.id for run in runs])[-1:]
        else:
            found = [run.id for run in runs if run.id == run_id or run.id.startswith(run_id)]
        if len(found) != 1:
            problem = "is more than one" if found else "is none"
            raise FileNotFoundError(
                f"Of {experiment!r}, variant {variant!r}, in {self.uri} there {problem} of the id "
                f"{run_id!r}: `runs({experiment!r}, {variant!r})` lists them."
            )
        return store.load(found[0], trust=self.trust if trust is None else trust)

    def search(
        self,
        where: str | None = None,
        experiment: str | None = None,
        variant: str | None = None,
        limit: int | None = None,
        **selection: Any,
    ) -> Observations:
        """The observations of all experiments that meet a condition, the newest first.

        Parameters
        ----------
        where : str, optional
            A condition over columns, as in :meth:`Experiment.observations`. An experiment without
            such a column has none that meets it.
        experiment, variant : str, optional
            Only of these.
        limit : int, optional
            How many at most.
        **selection
            What :meth:`Experiment.observations` takes besides, such as ``status`` or ``tags``.

        Raises
        ------
        ValueError
            If there is no such experiment.
        InvalidExpression
            For a condition that can't be read.
        """
        most = checked_limit(limit)
        names = self.experiments() if experiment is None else [experiment]
        found: list[Observation] = []
        for name in names:
            with suppress(LookupError):  # it has no such column
                found += self.open(name).observations(where=where, **selection)
        if variant is not None:
            found = [run for run in found if variant in variants_of(run)]
        found.sort(key=lambda run: run.id, reverse=True)
        return Observations(found[:most])

    # -- pushing and pulling ------------------------------------------------------------------

    def push(self, what: What, variant: str | None = None, overwrite: bool = False) -> str:
        """Copy observations into the registry, with their files, values, tags and notes.

        Pushing what is there already changes nothing.

        Parameters
        ----------
        what : Observation, list of them, or Experiment
            What to push; of an experiment all there is, failed runs too.
        variant : str, optional
            The variant that they belong to from now on; by default the one that :func:`start_run`
            named, else ``main``.
        overwrite : bool
            Whether what is something else there under the same id is replaced.

        Returns
        -------
        str
            Where it is now: of one experiment the URI of its store, else that of the registry.

        Raises
        ------
        AnotherObservation
            If something else is there under the same id; the rest is pushed.
        ValueError
            If there is nothing to push, or it was deleted there.
        BucketUnreachable, PermissionError
            If it can't be sent. Push again: what has gone up already is not sent twice.
        """
        if variant is not None:
            check_name(variant, "the name of a variant")
        self._refuse_read_only()
        stores = _by_store(what)
        if not stores:
            raise ValueError("There is nothing to push: no observation was given.")
        done = [self._push(*store, variant, overwrite) for store in stores.items()]
        for there, merged in done:
            _refuse(merged, there)
        places = {there for there, _ in done}
        return places.pop() if len(places) == 1 else self.uri

    def _push(
        self,
        store: tuple[str, str],
        ids: list[str] | None,
        variant: str | None,
        overwrite: bool,
    ) -> tuple[str, Merged]:
        source, name = store
        target = self._working_folder(name)
        if Path(source).resolve() == Path(target).resolve():
            raise ValueError(f"{name!r} is in {self.uri} already: that is where it comes from.")
        wanted = _wanted(source, name, ids)
        there = StoredExperiment(PickleBackend(Path(target)))
        if variant is None:
            return there.uri, merge(target, source, ids, overwrite, self.trust)
        there._folder("push")  # as it is now
        new = wanted - _ids_in(target) - set(trashed(target)) - purged(target)
        with coming(target, new, variant):
            done = merge(target, source, ids, overwrite, self.trust)
        put_into(there, wanted - new, variant)
        return there.uri, done

    def pull(
        self,
        experiment: str | None = None,
        variant: str | None = None,
        into: Root = DEFAULT_REGISTRY,
        *,
        trust: bool | None = None,
    ) -> Merged:
        """Copy observations from the registry into a folder of stores here.

        Pulling again changes nothing.

        Parameters
        ----------
        experiment, variant : str, optional
            Which; by default all.
        into : path, URI or file system
            The folder of stores to copy them into.
        trust : bool, optional
            Whether values in them that were pickled elsewhere may be loaded from then on without
            asking; by default as the registry.

        Returns
        -------
        Merged
            With ``added``, ``known``, ``conflicts`` and ``problems``.

        Raises
        ------
        ValueError
            If there is no such experiment, or no such variant of it.
        """
        whole, is_there = Merged(), False
        target = Registry(into)
        names = self.experiments() if experiment is None else [experiment]
        if not names:
            raise ValueError(f"There is no experiment in {self.uri} to pull.{self._hint()}")
        for name in names:
            store = self.open(name)
            ids = None
            if variant is not None:
                if experiment is None and variant not in self._variants(store):
                    continue
                ids = [run.id for run in self._runs(store, name, variant)]
            trusted = self.trust if trust is None else trust
            folder = target._working_folder(name)
            whole = whole + merge(folder, store._folder("pull"), ids, trust=trusted)
            is_there = True
        if not is_there:
            raise ValueError(f"No experiment in {self.uri} has a variant {variant!r}.")
        return whole

    def delete(
        self, experiment: str, variant: str | None = None, run_id: str | None = None
    ) -> list[str]:
        """Move runs to the trash of their store; :meth:`open` gives what restores or purges them.

        Parameters
        ----------
        experiment : str
            Whose.
        variant, run_id : str, optional
            Which; by default all of them.

        Returns
        -------
        list of str
            Their ids.

        Raises
        ------
        ValueError, FileNotFoundError
            As :meth:`load`.
        """
        self._refuse_read_only()
        store = self.open(experiment)
        if run_id is not None:
            runs = [self.load(experiment, variant or self._only(store, run_id), run_id)]
        elif variant is not None:
            runs = self._runs(store, experiment, variant)
        else:
            runs = list(store.observations(status=None))
        return store.delete(runs)

    # -- how it is done -----------------------------------------------------------------------

    def _hint(self) -> str:
        """What to do where this is the store of one experiment."""
        name = self.uri.rstrip("/").rpartition("/")[2]
        if not is_store(self._where):
            return ""
        return f" It is the store of one itself: pull {name!r} from the registry that it is in."

    def _only(self, store: StoredExperiment, run_id: str) -> str:
        """A variant of a run."""
        try:
            return variants_of(store.load(run_id))[0]
        except ObservationNotFound as problem:
            raise FileNotFoundError(str(problem)) from problem

    def _store(self, experiment: str) -> Path | Place:
        check_name(experiment, "the name of an experiment")
        where = self._where
        return where.child(experiment) if isinstance(where, Place) else where / experiment

    def _working_folder(self, experiment: str) -> str:
        return str(folder_of(self._store(experiment), self.trust))

    def _variants(self, store: StoredExperiment) -> dict[str, list[Observation]]:
        """The runs of each variant, the oldest first."""
        found: dict[str, list[Observation]] = {}
        for run in store.observations(status=None):
            for variant in variants_of(run):
                found.setdefault(variant, []).append(run)
        return found

    def _runs(self, store: StoredExperiment, experiment: str, variant: str) -> list[Observation]:
        found = self._variants(store)
        if variant not in found:
            raise ValueError(
                f"There is no variant {variant!r} of {experiment!r} in {self.uri}. "
                + did_you_mean(variant, sorted(found))
            )
        return found[variant]

    def __repr__(self) -> str:
        return f"Registry({self.uri!r})"

    def _repr_html_(self) -> str:
        try:
            return self._table()
        except OSError as problem:
            return f"<b>{html.escape(self.uri)}</b><p>{html.escape(str(problem))}</p>"

    def _table(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(name)}</td><td>{html.escape(variant)}</td>"
            f"<td style='text-align:right'>{len(runs):,}</td><td>{html.escape(runs[-1].id)}</td>"
            "</tr>"
            for name in self.experiments()
            for variant, runs in sorted(self._variants(self.open(name)).items())
        )
        heads = "".join(f"<th>{head}</th>" for head in ("experiment", "variant", "runs", "latest"))
        return f"<b>{html.escape(self.uri)}</b><table><tr>{heads}</tr>{rows}</table>"


def _wanted(source: str, name: str, ids: list[str] | None) -> set[str]:
    """The ids of what is to be pushed: recorded, or lost.

    Raises
    ------
    ValueError
        If there is nothing, or not all of it is there.
    """
    lost = {id for id, run in in_flight(source).items() if run["metadata"]["status"] == "lost"}
    there = _ids_in(source) | lost
    gone = sorted(set(ids or ()) - there)
    if gone:
        raise ValueError(
            f"{len(gone)} of what is to be pushed is not in {shown_name(source)}: it was deleted, "
            f"or still runs. The first is {gone[0]!r}."
        )
    wanted = there if ids is None else set(ids)
    if not wanted:
        raise ValueError(f"There is nothing to push: {name!r} has no runs.")
    return wanted


def _ids_in(root: str) -> set[str]:
    return {id for id, _ in record_names(root).values()}


def _by_store(what: What) -> dict[tuple[str, str], list[str] | None]:
    """The observations to push: by the folder and the name of their store, None for all in it."""
    if isinstance(what, Storekeeping):
        folder = what._folder("push")
        return {(folder, what.name or _last(folder)): None}
    some = [what] if isinstance(what, Observation) else what
    if not isinstance(some, Iterable) or isinstance(some, (str, bytes, Mapping)):
        raise TypeError(f"push takes observations or an experiment, not {what!r:.80}.")
    found: dict[tuple[str, str], list[str] | None] = {}
    for store, id in map(_of_store, some):
        ids = found.setdefault(store, [])
        assert ids is not None
        ids.append(id)
    for folder in {folder for folder, _ in found}:
        follower = follower_of(folder)
        if follower is not None:
            follower.refresh()
    return found


def _of_store(run: Observation) -> tuple[tuple[str, str], str]:
    if not isinstance(run, Observation):
        raise TypeError(f"push takes observations or an experiment, not {run!r:.80}.")
    folder = run.store_folder
    if folder is None:
        raise ValueError(f"{run!r:.80} is in no store: record it before it is pushed.")
    name = run.facts.get("experiment")
    return (folder, name if isinstance(name, str) else _last(folder)), run.id


def _last(folder: str) -> str:
    """The last part of where a store is."""
    return os.path.basename(shown_name(folder).rstrip("/"))


def _refuse(done: Merged, uri: str) -> None:
    """Tell of what could not be pushed."""
    if done.conflicts:
        raise AnotherObservation(
            f"{len(done.conflicts)} of what is pushed is something else in {uri}, the first "
            f"{done.conflicts[0]}. What is there was kept: overwrite=True replaces it."
        )
    if done.deleted:
        raise ValueError(
            f"{len(done.deleted)} of what is pushed was deleted in {uri}, the first "
            f"{done.deleted[0]}: leave it out, or, while it is in the trash there, restore it."
        )
    if done.problems:
        raise DamagedRecord("Not all could be pushed: " + "; ".join(done.problems[:10]))
