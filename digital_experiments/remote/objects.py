"""Buckets of S3, Google and Azure by obstore: faster than fsspec, with puts that only create."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote

from digital_experiments.errors import BucketUnreachable, InvalidName
from digital_experiments.files import replacing, write_here
from digital_experiments.remote.buckets import (
    PATIENCE,
    Bucket,
    Found,
    brief,
    unreachable,
)
from digital_experiments.remote.places import OBJECT_STORES, Place

_WORDS = {
    "key": "access_key_id",
    "secret": "secret_access_key",
    "token": "session_token",
    "endpoint_url": "endpoint",
    "region_name": "region",
    "anon": "skip_signature",
}
"""What s3fs calls its options, and obstore."""

_OF_S3FS = ("use_ssl", "use_listings_cache", "skip_instance_cache", "asynchronous")
"""Options of s3fs that mean nothing here."""

_REFUSED = ("401 Unauthorized", "403 Forbidden")
_LARGE = 8_000_000  # bytes that go in one put
_used_in: int | None = None
T = TypeVar("T")


def is_usable() -> bool:
    """Whether obstore works in this process: not in the child of one that has used it."""
    return _used_in in (None, os.getpid())


class ObjectBucket(Bucket):
    """A bucket by obstore.

    Parameters
    ----------
    place : Place
        Where it is.

    Raises
    ------
    TypeError
        For an option that it does not know.
    """

    def __init__(self, place: Place) -> None:
        global _used_in  # its threads belong to the process, not to a bucket
        super().__init__()
        self._uri = place.uri
        self._store = _opened(place)
        _used_in = os.getpid()

    def stamps(self, endings: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:  # noqa: D102
        import obstore

        with self._asked():
            found = obstore.list_with_delimiter(self._store, return_arrow=True)
        objects = found["objects"]
        stamps = zip(objects["path"].to_pylist(), objects["e_tag"].to_pylist(), strict=True)
        files = {n: tag or "" for n, tag in stamps if n.endswith(endings) and n[0] != "."}
        return files, list(found["common_prefixes"])

    def here(self, folder: str) -> tuple[dict[str, Found], list[str]]:  # noqa: D102
        import obstore

        with self._asked():
            found = obstore.list_with_delimiter(self._store, folder or None)
        files = {entry["path"]: _found(entry) for entry in found["objects"]}
        files.pop(folder, None)  # some servers list an emptied folder as an object
        return files, list(found["common_prefixes"])

    def below(self, folder: str) -> dict[str, Found]:  # noqa: D102
        import obstore

        with self._asked():
            chunks = obstore.list(self._store, folder or None, chunk_size=5000)
            found = {entry["path"]: _found(entry) for chunk in chunks for entry in chunk}
        empty = {name for name, it in found.items() if not it.size}
        markers = empty & _folders({folder + "/", *found}) if empty else empty
        return {name: it for name, it in found.items() if name not in markers}

    def size(self, name: str) -> int:  # noqa: D102
        import obstore

        with self._asked():
            return int(obstore.head(self._store, name)["size"])

    def read(self, name: str) -> bytes:  # noqa: D102
        import obstore

        with self._asked():
            return obstore.get(self._store, name).bytes().to_bytes()

    def write(self, name: str, data: bytes, new: bool) -> None:  # noqa: D102
        import obstore

        with self._asked():
            mode: Any = "create" if new else "overwrite"
            obstore.put(self._store, name, data, mode=mode, use_multipart=False)

    def upload(self, name: str, path: str) -> None:  # noqa: D102
        import obstore

        with self._asked(), open(path, "rb") as file:
            large = os.fstat(file.fileno()).st_size > _LARGE
            content: Any = file if large else file.read()
            obstore.put(self._store, name, content, use_multipart=large)

    def download(self, name: str, path: str) -> None:  # noqa: D102
        import obstore

        with self._asked():
            found = obstore.get(self._store, name)
            if found.meta["size"] <= _LARGE:
                write_here(*os.path.split(path), found.bytes().to_bytes())
                return
            with replacing(path) as partial, open(partial, "wb") as file:
                for chunk in found.stream():
                    file.write(chunk)

    def copy(self, name: str, target: str) -> None:  # noqa: D102
        import obstore

        with self._asked():
            obstore.copy(self._store, name, target)

    def remove(self, name: str) -> None:  # noqa: D102
        import obstore

        try:
            with self._asked():
                obstore.delete(self._store, name)
        except FileNotFoundError:
            pass

    @contextmanager
    def _asked(self) -> Any:
        """Its errors as those of Python."""
        from obstore import exceptions

        try:
            yield
        except exceptions.AlreadyExistsError as problem:
            raise FileExistsError(f"It is in {self._uri} already.") from problem
        except exceptions.BaseError as problem:
            raise _told(self._uri, problem) from None
        except BaseException as problem:
            if type(problem).__name__ != "PanicException":  # what Rust did not expect
                raise
            raise BucketUnreachable(unreachable(self._uri, problem)) from None


def _told(uri: str, problem: Exception) -> Exception:
    """An error of obstore as one of Python."""
    from obstore import exceptions

    text = str(problem)
    if isinstance(problem, exceptions.InvalidPathError):
        return InvalidName(
            f"{uri} holds an object of a name that can't be used, and can't be listed with it "
            f"({brief(problem)}). Remove that object, or rename it."
        )
    if "NoSuchBucket" in text:
        return BucketUnreachable(f"There is no bucket {uri}.")
    refused = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    if isinstance(problem, refused) or any(f" {code}" in text for code in _REFUSED):
        why = re.search(r"<Code>(\w+)</Code>", text)
        return PermissionError(
            f"{uri} can't be used with these credentials ({why[1] if why else 'refused'}). Give "
            "others by storage_options= or by the environment."
        )
    return BucketUnreachable(unreachable(uri, problem))


def _folders(names: Iterable[str]) -> set[str]:
    """The folders of objects; some tools put an empty object for each."""
    return {name[:end] for name in names for end in range(len(name)) if name[end] == "/"}


def _found(entry: Mapping[str, Any]) -> Found:
    return Found(entry["size"], entry["e_tag"] or "", entry["last_modified"])


def _opened(place: Place) -> Any:
    from obstore import exceptions
    from obstore.store import from_url

    scheme, _, rest = place.uri.partition("://")
    host, slash, path = rest.partition("/")
    config, client = _config(place)
    try:
        return from_url(
            f"{OBJECT_STORES[scheme]}://{host}{slash}{quote(path)}",
            config=config,
            client_options=client,
            retry_config=_RETRIES,
        )
    except (exceptions.BaseError, ValueError, TypeError) as problem:
        options = ", ".join(sorted(place.options)) or "none"
        raise TypeError(
            f"{place.uri} can't be opened with these storage_options: {options}. {brief(problem)}"
        ) from None


_RETRIES: Any = {
    "max_retries": 30,
    "retry_timeout": timedelta(seconds=PATIENCE),
    "backoff": {
        "init_backoff": timedelta(seconds=0.1),
        "max_backoff": timedelta(seconds=1),
        "base": 2,
    },
}


def _config(place: Place) -> tuple[Any, Any]:
    """The options in the words of obstore: of the bucket, and of the connection."""
    options = dict(place.options)
    client: dict[str, Any] = {"connect_timeout": "5s", "timeout": "300s", "read_timeout": "20s"}
    client.update(options.pop("client_options", None) or {})
    inner = dict(options.pop("client_kwargs", None) or {})
    if inner.pop("verify", True) is False:
        client["allow_invalid_certificates"] = True
    for name in _OF_S3FS:
        options.pop(name, None)
    config = {_word(name): value for name, value in {**options, **inner}.items()}
    if place.server:
        if not place.server.startswith(("http://", "https://")):
            raise ValueError(
                f"The endpoint {place.endpoint!r} of {place.uri} must begin with http:// or https://."
            )
        config["endpoint"] = place.server
        if not config.keys() & {"region", "default_region"}:
            config["region"] = os.environ.get("AWS_REGION", "us-east-1")
    client.setdefault("allow_http", str(config.get("endpoint")).startswith("http://"))
    return {name: value for name, value in config.items() if value is not None}, client


def _word(name: str) -> str:
    """What obstore calls an option, without the prefix that it may have."""
    short = name.removeprefix("aws_")
    return _WORDS.get(short, short)
