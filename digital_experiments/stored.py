"""What a store holds, found without the function that made it.

Knows backends and selections; nothing of functions, runs or callbacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from digital_experiments.backends import Backend, FileBackend
from digital_experiments.backends.base import warn_of_damage
from digital_experiments.errors import ObservationNotFound, did_you_mean
from digital_experiments.followed import shown_name
from digital_experiments.ids import check_id
from digital_experiments.observation import Observation
from digital_experiments.observations import Observations
from digital_experiments.selection import (
    Moment,
    Selection,
    Status,
    checked_columns,
    checked_tags,
    select,
)
from digital_experiments.store.notes import add_note
from digital_experiments.storekeeping import Storekeeping

if TYPE_CHECKING:
    import pandas

    from digital_experiments.charts import Chart
    from digital_experiments.store.query import Query


class StoredExperiment(Storekeeping):
    """The observations of an experiment, or of a whole store. Made by :func:`open_experiment`.

    Attributes
    ----------
    name : str or None
        The experiment's name; None for whatever the store holds.
    """

    name: str | None

    def __init__(self, backend: Backend, name: str | None = None) -> None:
        self._backend = backend
        self.name = name

    @property
    def backend(self) -> Backend:
        """What keeps the observations."""
        return self._backend

    @property
    def root(self) -> Path:
        """The store's folder; of one on a bucket, that of its working copy."""
        return self.backend.root

    # -- finding ------------------------------------------------------------------------------

    def observations(
        self,
        /,
        current_code_only: bool | None = None,
        status: Status = "completed",
        *,
        where: str | None = None,
        since: Moment = None,
        until: Moment = None,
        tags: str | Iterable[str] = (),
        limit: int | None = None,
        newest_first: bool = False,
        **config: Any,
    ) -> Observations:
        """What was recorded, in this and in earlier sessions, oldest first.

        Parameters
        ----------
        current_code_only : bool, optional
            Whether to leave out what other code has made: the function, or a helper or
            constant that it uses, was different then. By default so where the function is at
            hand, which it is not after :func:`open_experiment`.
        status : str, list of str, or None
            ``completed``, ``failed``, ``interrupted``, several of them, or None for all.
        where : str, optional
            A condition over columns, such as ``"config.lr < 0.1 and result.accuracy > 0.9"``;
            see :class:`~digital_experiments.where.Where`. One that asks for ``status`` decides
            on it alone.
        since, until : datetime, date, str or timedelta, optional
            When the runs were started: not before ``since``, before ``until``. ISO 8601, or how
            long ago: ``"2026-11-21"``, ``"7d"``, ``"2h"``. A day as ``until`` is included.
        tags : str or list of str
            Tags that they all have.
        limit : int, optional
            How many at most.
        newest_first : bool
            Whether the newest come first.
        **config
            Values that config fields must have. ``1`` finds ``1.0``, but not True. A parameter
            that is called as one of the above is asked for by ``where``.

        Returns
        -------
        Observations
            A list. Its ``hidden`` counts those left out for their status or their code.

        Raises
        ------
        ValueError, TypeError
            For a status, time or limit that can't be.
        InvalidExpression
            For a ``where`` that can't be read; the message points at the place.
        UnknownColumn
            For a column that no observation has.
        TypeError
            For a config field that there is not.

        Examples
        --------
        >>> from digital_experiments import experiment
        >>> @experiment
        ... def half(x):
        ...     return 1 / x if x else 1 // x
        >>> half(2)
        0.5
        >>> half(0)
        Traceback (most recent call last):
        ...
        ZeroDivisionError: integer division or modulo by zero
        >>> [o.result for o in half.observations()]
        [0.5]
        >>> half.observations(status="failed")[0].error["type"]
        'ZeroDivisionError'
        >>> [o.config for o in half.observations(where="config.x > 1 and result < 1")]
        [{'x': 2}]
        """
        chosen = select(status, where, since, until, tags, limit, newest_first, config=config)
        return self._found(self._complete(chosen, current_code_only))

    def plot(self, *names: str, log: bool = False, **selection: Any) -> Chart:
        """Draw what :meth:`observations` selects, see :meth:`Observations.plot`.

        Parameters
        ----------
        *names : str
            A metric; or two columns; or none, or more.
        log : bool
            Whether the y axis is logarithmic.
        **selection
            What :meth:`observations` takes.

        Returns
        -------
        Chart
            Shows itself in a notebook; ``.save("chart.svg")``.
        """
        return self.observations(**selection).plot(*names, log=log)

    def iter_observations(
        self,
        /,
        current_code_only: bool | None = None,
        status: Status = "completed",
        **selection: Any,
    ) -> Iterator[Observation]:
        """As :meth:`observations`, read as they are asked for: a million need little memory.

        Examples
        --------
        >>> from digital_experiments import experiment
        >>> @experiment
        ... def double(x):
        ...     return 2 * x
        >>> [double(i) for i in range(3)]
        [0, 2, 4]
        >>> sum(o.result for o in double.iter_observations())
        6
        """
        chosen = self._selected(current_code_only, status, **selection)
        return self._query(chosen).observations()

    def to_dataframe(
        self,
        /,
        current_code_only: bool | None = None,
        include_metadata: bool = False,
        normalising_sep: str = ".",
        *,
        status: Status = "completed",
        columns: Iterable[str] | None = None,
        **selection: Any,
    ) -> pandas.DataFrame:
        """The observations as a table; see :meth:`observations` for what selects them.

        Parameters
        ----------
        current_code_only, status, **selection
            As in :meth:`observations`.
        include_metadata : bool
            Whether to add columns ``metadata.<...>``.
        normalising_sep : str
            What joins the parts of a column's name.
        columns : list of str, optional
            The columns wanted, in their order; ``config`` stands for all of the config. Besides
            those of the table there are ``start``, ``duration`` (seconds), ``status``,
            ``experiment``, ``fingerprint``, ``tags`` and ``note``.

        Returns
        -------
        pandas.DataFrame
            One row an observation; columns ``id``, ``result`` or ``result.<field>``,
            ``config.<field>``, ``metrics.<name>``. Values that are not plain data show by their
            view: their fields, or else their repr.

        Raises
        ------
        UnknownColumn
            For a column that no observation has.

        Examples
        --------
        >>> from digital_experiments import experiment
        >>> @experiment
        ... def cube(x):
        ...     return x**3
        >>> [cube(i) for i in range(3)]
        [0, 1, 8]
        >>> cube.to_dataframe(columns=["config.x", "result"], newest_first=True)
           config.x  result
        0         2       8
        1         1       1
        2         0       0
        """
        from digital_experiments.columns import frame

        columns = checked_columns(columns)
        chosen = self._selected(current_code_only, status, **selection)
        table = self._query(chosen).table(columns, include_metadata, normalising_sep)
        self._tell_of_damage()
        return frame(table)

    def _selected(
        self,
        /,
        current_code_only: bool | None = None,
        status: Status = "completed",
        **selection: Any,
    ) -> Selection:
        """The selection that the arguments of :meth:`observations` stand for."""
        named = {key: selection.pop(key) for key in SELECTING & selection.keys()}
        return self._complete(select(status, **named, config=selection), current_code_only)

    def _complete(self, chosen: Selection, current_code_only: bool | None) -> Selection:
        """The selection with this experiment's name and code, its config fields checked."""
        for field in chosen.config:
            self._check_field(field)
        return self._of_code(replace(chosen, experiment=self.name), current_code_only)

    def _of_code(self, chosen: Selection, current_code_only: bool | None) -> Selection:
        if current_code_only:
            raise TypeError("current_code_only needs the function, which is not at hand here.")
        return chosen

    def _check_field(self, field: str) -> None:
        known = self.config_fields()
        if known and field not in known:
            raise TypeError(
                f"No observation has a config field {field!r}. "
                + did_you_mean(field, [*known, *sorted(SELECTING), "status"])
            )

    def config_fields(self) -> list[str]:
        """The names of all config fields that observations have."""
        fields: dict[str, None] = {}
        index = self.backend.index
        index.read(lambda database: None)
        for kind in index.kinds.values():
            if kind.count and (self.name is None or kind.experiment in (None, self.name)):
                fields.update((path[1], None) for path in kind.paths if path[0] == "config")
        return list(fields)

    def _query(self, chosen: Selection) -> Query:
        from digital_experiments.store.query import Query

        return Query(self.backend.index, chosen)

    def _found(self, chosen: Selection) -> Observations:
        query = self._query(chosen)
        found = list(query.observations())
        self._tell_of_damage()
        return Observations(found, query.hidden)

    def _tell_of_damage(self) -> None:
        damaged = self.backend.index.damaged
        if damaged:
            lines = [f"{name}: {problem}" for name, problem in sorted(damaged.items())]
            warn_of_damage(self.uri, lines)

    def load(self, id: str, *, trust: bool = False) -> Observation:
        """One observation by its id, whatever code made it and however it ended.

        Parameters
        ----------
        id : str
            Its id, or the start of it where no other id starts so.
        trust : bool
            Whether values in it that were pickled elsewhere may be loaded: that can run any code.

        Raises
        ------
        ObservationNotFound, InvalidName, DamagedRecord
        """
        backend = self.backend
        if trust and isinstance(backend, FileBackend):
            backend = backend.trusting()
        try:
            return backend.load(id)
        except ObservationNotFound:
            return backend.load(self.resolve(id))

    def resolve(self, id: str) -> str:
        """The whole id of an observation from the start of it, or from its last characters.

        Raises
        ------
        ObservationNotFound
            If no id, or more than one, is meant.
        """
        check_id(id)
        ids = self.backend.index.read(_like(id))
        if len(ids) == 1:
            return ids[0]
        if not ids:
            raise ObservationNotFound(
                f"No observation {id!r} in {self.uri}. `observations(status=None)` lists all."
            )
        raise ObservationNotFound(
            f"{id!r} could be any of {', '.join(ids[:5])}{'...' if len(ids) > 5 else ''}: "
            "give more of the id."
        )

    def artefacts(self, id: str) -> list[Path]:
        """What a run left in its folder, files and folders, sorted by name.

        Raises
        ------
        InvalidName
            If the id could point out of the store.
        """
        return self.backend.artefacts(id)

    artifacts = artefacts

    def annotate(
        self, id: str, tags: str | Iterable[str] = (), note: str | None = None
    ) -> Observation:
        """Give an observation tags, or note something on it.

        The record itself stays as it is: what is added lies beside it, and is merged with it.

        Parameters
        ----------
        id : str
            The observation's id.
        tags : str or list of str
            Tags to give it, besides those that it has.
        note : str, optional
            A text in place of an earlier one; an empty one takes that away.

        Returns
        -------
        Observation
            The observation with its tags and its note.

        Raises
        ------
        ObservationNotFound
            If there is no such observation.

        Examples
        --------
        >>> from digital_experiments import experiment
        >>> @experiment
        ... def square(x):
        ...     return x * x
        >>> square(3)
        9
        >>> best = square.observations()[-1]
        >>> square.annotate(best.id, tags=["best"], note="the largest").tags
        ['best']
        >>> len(square.observations(tags=["best"]))
        1
        """
        if note is not None and not isinstance(note, str):
            raise TypeError(f"note must be a text, not {note!r}.")
        given = checked_tags(tags)
        found = self.load(id)
        if given or note is not None:
            add_note(str(self.root), found.id, tags=given, note=note)
        return self.load(found.id)

    def untag(self, id: str, tags: str | Iterable[str]) -> Observation:
        """Take tags away from an observation.

        Raises
        ------
        ObservationNotFound
            If there is no such observation.
        """
        taken = checked_tags(tags)
        found = self.load(id)
        if taken:
            add_note(str(self.root), found.id, untag=taken)
        return self.load(found.id)

    def __repr__(self) -> str:
        return f"StoredExperiment({self.name or self.uri!r})"

    @property
    def uri(self) -> str:
        """The store's folder; or where it lies on a bucket, without credentials."""
        return shown_name(str(self.root))

    def _repr_html_(self) -> str:
        import html

        title = html.escape(self.name or self.uri)
        return f"<b>{title}</b>{self.observations()._repr_html_()}"


SELECTING = {"where", "since", "until", "tags", "limit", "newest_first"}


def _like(id: str) -> Callable[[Any], list[str]]:
    """Looks ids up by their start, or by the random characters at their end."""

    def find(database: Any) -> list[str]:
        query = "SELECT id FROM rows WHERE id >= ? AND id < ? ORDER BY id LIMIT 6"
        found = [row[0] for row in database.execute(query, (id, id + "\U0010ffff"))]
        if found or len(id) < 4:
            return found
        query = "SELECT id FROM rows WHERE substr(id, ?) = ? ORDER BY id LIMIT 6"
        return [row[0] for row in database.execute(query, (-len(id), id))]

    return find
