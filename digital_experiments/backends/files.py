"""The three backends that keep one file an observation. Know formats; no experiment."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from digital_experiments.backends.base import Backend
from digital_experiments.errors import DamagedRecord, ObservationNotFound
from digital_experiments.faults import warn_of_trouble
from digital_experiments.files import folder_state, read_bytes, read_many, write_atomic
from digital_experiments.followed import follower_of, followers, shown_name
from digital_experiments.ids import check_id, looks_like_id
from digital_experiments.observation import Notes, Observation
from digital_experiments.store import codecs
from digital_experiments.store.blobs import Blobs
from digital_experiments.store.elsewhere import is_from_elsewhere
from digital_experiments.store.flight import read_flight
from digital_experiments.store.formats import FORMAT, check_record
from digital_experiments.store.layout import DAMAGED, STORAGE, TRASH
from digital_experiments.store.notes import read_notes
from digital_experiments.store.records import (
    PARSERS,
    Parser,
    parse_record,
    purged,
)
from digital_experiments.store.seal import seal
from digital_experiments.values import BLOB_SIZE, NoBlobs, Plain, encode, pickle_at, spill
from digital_experiments.views import PLAIN_SCALARS

if TYPE_CHECKING:
    from digital_experiments.store.batches import Scanned

_LONG_TEXT = 200


class FileBackend(Backend):
    """One file an observation, its name the id, its content plain data.

    A subclass names its format: the file's ``suffix`` and how plain data becomes bytes. It
    reads the other formats too, so that a store may hold records of several.
    Values of over 64 KiB, the environment and the code are blobs beside the records.
    """

    takes_proxies = True
    suffix: ClassVar[str]
    blob_ending: ClassVar[str]

    @staticmethod
    @abstractmethod
    def dump(plain: Plain) -> bytes:
        """Plain data in this format."""

    @staticmethod
    @abstractmethod
    def parse(data: bytes) -> Plain:
        """Plain data from this format; anything else raises."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._folder = str(self.root)
        self._storage = f"{self._folder}/{STORAGE}"
        self._blobs = Blobs(self._folder)
        self._suffixes = tuple(dict.fromkeys((self.suffix, *PARSERS)))
        self._blobs_seen: tuple[int, int] | None = None
        self._codes: dict[str, str] = {}
        self._environments: dict[tuple[int, ...], tuple[list[Any], str]] = {}

    def record(self, observation: Observation) -> None:
        """Write the observation's file, and the blobs that it names before it."""
        name = check_id(observation.id) + self.suffix
        write_atomic(self._folder, name, lambda: seal(self._encoded(observation)))

    def _encoded(self, observation: Observation) -> bytes:
        record = {
            "format": FORMAT,
            "id": observation.id,
            "config": self._own(observation, "config"),
            "result": self._own(observation, "result"),
            "metadata": self._metadata(observation),
        }
        data = self.dump(record)
        if len(data) <= BLOB_SIZE:
            return data
        for part in ("config", "metadata"):
            record[part] = {key: self._spilled(item) for key, item in record[part].items()}
        record["result"] = self._spilled(record["result"])
        return self.dump(record)

    def _own(self, observation: Observation, part: str) -> Plain:
        """A part as plain data whose blobs, if it has any, are this store's."""
        theirs = observation.blobs
        ours = isinstance(theirs, Blobs) and theirs.root == self._folder
        if ours or isinstance(theirs, NoBlobs):
            return observation.plain(part)
        return encode(getattr(observation, part))

    def _spilled(self, plain: Plain) -> Plain:
        return spill(plain, lambda part: len(self.dump(part)), self._put)

    def _put(self, plain: Plain, pickled: bool) -> str:
        if pickled:
            return self._blobs.put(plain, "cloudpickle")
        return self._blobs.put(codecs.BLOB_WRITERS[self.blob_ending](plain), self.blob_ending)

    def _metadata(self, observation: Observation) -> dict[str, Plain]:
        plain: dict[str, Plain] = {}
        self._forget_if_removed()
        for key, value in observation.metadata.items():
            if key == "code" and type(value) is str:
                plain[key] = {"$blob": self._code(value)}
            elif key == "environment" and type(value) is dict:
                plain[key] = {"$blob": self._environment(value)}
            elif type(value) in PLAIN_SCALARS:
                plain[key] = value
            else:
                plain[key] = encode(value, observation.lost)
        return plain

    def _forget_if_removed(self) -> None:
        """Write environment and code again if the store was deleted under our feet."""
        seen = self._blobs.state()
        if seen is None or seen != self._blobs_seen:
            self._codes.clear()
            self._environments.clear()
            self._blobs_seen = seen

    def _code(self, text: str) -> str:
        name = self._codes.get(text)
        if name is None:
            self._codes[text] = name = self._blobs.put_text(text)
        return name

    def _environment(self, environment: dict[str, Any]) -> str:
        """The blob of an environment; one made of the same unchanging parts is looked up."""
        parts = list(environment.values())
        key = tuple(map(id, parts))
        known = self._environments.get(key)
        if known is not None:
            return known[1]
        name = self._blobs.put_json(self._readable(environment))
        if all(isinstance(part, (str, MappingProxyType)) for part in parts):
            self._environments[key] = (parts, name)
        return name

    def _readable(self, value: Any) -> Plain:
        """An environment as plain data, with long texts as blobs of their own."""
        if isinstance(value, str) and len(value) > _LONG_TEXT:
            return {"$blob": self._blobs.put_text(value)}
        if isinstance(value, Mapping) and all(type(k) is str and k[:1] != "$" for k in value):
            return {key: self._readable(item) for key, item in value.items()}
        return encode(value)

    def load(self, id: str) -> Observation:
        """Read one observation; nothing in it is unpickled before it is asked for.

        Raises
        ------
        ObservationNotFound, DamagedRecord, NewerFormat, InvalidName
        """
        try:
            suffix, data = self._read(check_id(id))
        except ObservationNotFound:
            self._refresh()
            record = read_flight(self._folder, id)
            if record is not None:
                return self.listed(id, lambda _: record, True, self._notes)
            suffix, data = self._read(id)  # raises, unless it has just been recorded
        record, values = parse_record(data, suffix, self._parser(suffix))
        check_record(record, id)
        kept = self._kept(id) if values else self._blobs
        return Observation.of_store(id, lambda _: record, kept, self._storage, self._notes)

    def later(self, id: str, status: str | None = None) -> Observation:
        """An observation that has just been recorded, read when it is first asked for."""
        read = self._read_record
        return Observation.of_store(id, read, self._blobs, self._storage, self._notes, status)

    def _read_record(self, id: str) -> Plain:
        suffix, data = self._read(id)
        return self._record(id, suffix, data)

    def _notes(self, id: str) -> Notes:
        return read_notes(self._folder, id).get(id, Notes())

    def listed(
        self,
        id: str,
        record: Callable[[str], Plain],
        simple: bool,
        notes: Notes | Callable[[str], Notes],
    ) -> Observation:
        """The observation of a record in the index; its pickles are read from its file."""
        blobs = self._blobs if simple else self._kept(id)
        return Observation.of_store(id, record, blobs, self._storage, notes)

    def _kept(self, id: str) -> _KeptValues:
        return _KeptValues(type(self), self.root, id, self._blobs.trust)

    def trusting(self) -> FileBackend:
        """The same, which loads pickles that came from elsewhere too."""
        other = type(self)(self.root)
        other.trust = other._blobs.trust = True
        return other

    def read_kept(self, id: str, name: str) -> Plain | bytes:
        """A blob, or a value in the file of a record by its place there.

        Raises
        ------
        DamagedRecord
            If it is missing or damaged.
        """
        if not name.startswith("["):
            return self._blobs.read(name)
        try:
            suffix, data = self._read(id)
        except ObservationNotFound as problem:
            flight = read_flight(self._folder, id)
            if flight is None:
                raise DamagedRecord("its record is gone.") from problem
            return pickle_at(flight, name)
        record, values = parse_record(data, suffix, self._parser(suffix))
        return values.read(name) if values else pickle_at(record, name)

    @property
    def key(self) -> str:
        """The store's folder, and what is taken for a record there."""
        return " ".join((os.path.realpath(self._folder), *self._suffixes[: -len(PARSERS)]))

    def _refresh(self) -> None:
        """Bring what is in the bucket, where the store is the working copy of one."""
        if followers:
            follower = follower_of(self._folder)
            if follower is not None:
                follower.refresh()
                warn_of_trouble(follower)

    def state(self) -> list[int] | None:
        """The time stamps of the folder."""
        self._refresh()
        return folder_state(self._folder)

    def listing(self) -> bytes:
        """All names in the folder, in the order in which the system gives them, a line each."""
        try:
            return b"\n".join(os.listdir(os.fsencode(self._folder)))
        except FileNotFoundError:
            return b""

    def scan(self, names: list[str]) -> Iterator[Scanned]:
        """Name, id and record of each file; a problem if it is damaged, None if it is no record."""
        records = [n for n in names if n.endswith(self._suffixes) and n[0] != "."]
        for name, data in zip(records, read_many(self._folder, records), strict=True):
            id, dot, ending = name.rpartition(".")
            suffix = dot + ending
            try:
                yield name, id, self._record(id, suffix, data)
            except DamagedRecord as problem:
                is_ours = suffix == self.suffix or looks_like_id(id)
                yield name, id, problem if is_ours else None

    def deleted(self, names: set[str]) -> set[str]:
        """Those of some names whose records are in the trash, purged, or set aside as damaged."""
        gone = purged(self._folder)
        return {
            name
            for name in names
            if name.rpartition(".")[0] in gone
            or os.path.exists(f"{self._folder}/{TRASH}/{name}")
            or os.path.exists(f"{self._folder}/{DAMAGED}/{name}")
        }

    def _record(self, id: str, suffix: str, data: bytes | OSError | None) -> Plain:
        if data is None:
            return None
        if isinstance(data, OSError):
            raise DamagedRecord(f"it can't be read: {data}")
        record, _ = parse_record(data, suffix, self._parser(suffix))
        check_record(record, id)
        return record

    def _read(self, id: str) -> tuple[str, bytes]:
        """The bytes of a record in this format, or else in another."""
        for suffix in self._suffixes:
            try:
                return suffix, read_bytes(f"{self._folder}/{id}{suffix}")
            except FileNotFoundError:
                continue
            except OSError as problem:
                raise DamagedRecord(f"it can't be read: {problem}") from problem
        raise ObservationNotFound(
            f"No observation {id!r} in {shown_name(self._folder)}. `observations(status=None, "
            "current_code_only=False)` lists all that are there."
        )

    def _parser(self, suffix: str) -> Parser:
        return self.parse if suffix == self.suffix else PARSERS[suffix]

    def all_ids(self) -> list[str]:
        """The ids of all records, of whatever format, sorted."""
        self._refresh()
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        split = (name.rpartition(".") for name in names if name[0] != ".")
        return sorted({id for id, _, ending in split if id and f".{ending}" in self._suffixes})


class _KeptValues:
    """Hands out the blobs and the pickled values of one record."""

    def __init__(self, kind: type[FileBackend], root: Path, id: str, trust: bool) -> None:
        self.kind = kind
        self.root = root
        self.id = id
        self.trust = trust

    def trusts(self, id: str) -> bool:
        return self.trust or not is_from_elsewhere(str(self.root), id)

    def read(self, name: str) -> Plain | bytes:
        return self.kind(self.root).read_kept(self.id, name)


class PickleBackend(FileBackend):
    """Records are pickles of plain data: the fastest, and the default."""

    suffix = ".pkl"
    blob_ending = "pkl"
    dump = staticmethod(codecs.dump_pickle)
    parse = staticmethod(codecs.load_pickle)


class JSONBackend(FileBackend):
    """Records are JSON, for other programs and for people."""

    suffix = ".json"
    blob_ending = "json"
    dump = staticmethod(codecs.dump_json)
    parse = staticmethod(codecs.load_json)


class YAMLBackend(FileBackend):
    """Records are YAML: the easiest to read, and the slowest."""

    suffix = ".yaml"
    blob_ending = "json"
    dump = staticmethod(codecs.dump_yaml)
    parse = staticmethod(codecs.load_yaml)
