"""Which bucket a root means: a URI, or a file system of fsspec. Opens nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from digital_experiments.errors import InvalidName, did_you_mean

Root = str | os.PathLike[str] | Any
"""A path, a URI such as ``s3://bucket/folder``, or a file system of fsspec."""

LOCAL = ("file", "local")
OBJECT_STORES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "abfs"}
"""The schemes that obstore serves, and how it calls them."""

_IN_PROCESS = ("memory",)
_ACCOUNTS = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True)
class Place:
    """A folder of a bucket.

    Attributes
    ----------
    uri : str
        Scheme and path, without credentials.
    options : mapping
        What the file system is opened with; never shown or kept.
    filesystem : fsspec.AbstractFileSystem or None
        The one that was given in place of a URI.
    path : str
        The folder, as the given file system calls it.
    """

    uri: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    filesystem: Any = field(default=None, repr=False)
    path: str = ""

    @property
    def scheme(self) -> str:
        """What stands before ``://``."""
        return self.uri.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.uri.rstrip("/").rpartition("/")[2]

    @property
    def is_in_process(self) -> bool:
        """Whether it is gone with this process."""
        return self.scheme in _IN_PROCESS

    @property
    def key(self) -> str:
        """What tells it from other places: the server belongs to it."""
        return f"{self.uri} {self.endpoint or self.account or ''}"

    @property
    def account(self) -> str | None:
        """The account of Azure that a container belongs to, and its server where that is told."""
        if OBJECT_STORES.get(self.scheme) not in ("az", "abfs"):
            return None
        options = {key.removeprefix("azure_"): value for key, value in self.options.items()}
        named = re.search(r"AccountName=([^;]+)", str(options.get("connection_string")))
        given = (options.get(key) for key in ("account_name", "storage_account_name"))
        told = (os.environ.get(name) for name in _ACCOUNTS)
        name = next(filter(None, (*given, named and named[1], *told)), None)
        servers = (options.get(key) for key in ("endpoint", "storage_endpoint", "account_host"))
        server = next(filter(None, servers), None)
        return " ".join(filter(None, (name, server and _without_secrets(server)))) or None

    @property
    def endpoint(self) -> str | None:
        """The server of an S3 bucket, where it isn't Amazon's, without credentials."""
        return self.server and _without_secrets(self.server)

    @property
    def server(self) -> str | None:
        """The same as it was given."""
        if OBJECT_STORES.get(self.scheme) != "s3":
            return None
        client = self.options.get("client_kwargs") or {}
        given = (self.options.get(key) for key in ("endpoint_url", "endpoint", "aws_endpoint"))
        told = (os.environ.get(name) for name in _ENDPOINTS)
        return next(filter(None, (*given, client.get("endpoint_url"), *told)), None)

    def child(self, name: str) -> Place:
        """A folder in it.

        Raises
        ------
        InvalidName
            If that could be a place outside.
        """
        if not name or any(part in ("", ".", "..") for part in name.split("/")):
            raise InvalidName(f"{name!r} can't be the name of a folder in {self.uri}.")
        path = f"{self.path}/{name}".lstrip("/") if self.path else name
        return replace(self, uri=f"{self.uri}/{name}", path=path)


def _without_secrets(url: str) -> str:
    """A URL without user, password and query."""
    scheme, mark, rest = re.split(r"[?#]", str(url))[0].rpartition("://")
    host, slash, path = rest.partition("/")
    return scheme + mark + host.rpartition("@")[2] + slash + path


def located(root: Any, options: Mapping[str, Any] | None = None) -> Path | Place:
    """The folder or the place that a root means.

    Parameters
    ----------
    root
        A path; a URI such as ``s3://team/experiments``; a file system of fsspec, whose own root
        it then is; or a path of universal_pathlib.
    options
        What the file system of a URI is opened with, in the words of fsspec or obstore.

    Raises
    ------
    TypeError
        If it is neither; if there are options for a path.
    ValueError
        For a URI of a scheme that is not known, or without a bucket.
    ImportError
        If the package that a scheme needs is not installed; it names what to install.
    """
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"storage_options must be a dict, not {options!r:.80}.")
    if isinstance(root, Place):
        return replace(root, options=dict(options)) if options else root
    if hasattr(root, "ls") and hasattr(root, "protocol"):
        is_local = protocol_of(root) in LOCAL
        return Path(unwrapped(root, "")[1] or os.sep) if is_local else _of_filesystem(root, "")
    if hasattr(root, "fs") and hasattr(root, "path") and not isinstance(root, Path):
        if protocol_of(root.fs) in LOCAL:
            return Path(root.path)
        return _of_filesystem(root.fs, root.path)
    if not isinstance(root, (str, os.PathLike)):
        raise TypeError(f"root must be a path, a URI or a file system of fsspec, not {root!r:.80}.")
    text = os.fspath(root)
    if isinstance(text, bytes):
        raise TypeError(f"root must be a path, not {root!r:.80}.")
    if "://" in text:
        return _of_uri(text, dict(options or {}))
    scheme, colon, _ = text.partition(":")
    if colon and scheme.lower() in (*OBJECT_STORES, *LOCAL, *_IN_PROCESS, "sftp"):
        scheme = scheme.lower()
        raise ValueError(f"{text!r} is no path: a URI begins with {scheme}://, with two slashes.")
    if options:
        raise TypeError(
            f"storage_options are for a URI such as s3://bucket/folder; {text!r} is a folder."
        )
    return Path(text).expanduser()


def _of_uri(uri: str, options: dict[str, Any]) -> Path | Place:
    scheme, _, rest = uri.partition("://")
    scheme = scheme.lower()
    _refuse_hidden_secrets(scheme, rest)
    if scheme in LOCAL:
        rest = rest.removeprefix("localhost") if rest.startswith("localhost/") else rest
        return Path(unquote(rest) if rest.startswith("/") else rest).expanduser()
    _check_scheme(scheme, uri)
    _check_installed(scheme)
    host, _, path = rest.partition("/")
    if "@" in host and scheme != "abfs":
        parts = urlsplit(uri)
        named = ("key", "secret") if scheme in OBJECT_STORES else ("username", "password")
        given = dict(zip(named, (parts.username, parts.password), strict=True))
        options = {**{k: unquote(v) for k, v in given.items() if v}, **options}
        host = host.rpartition("@")[2]
    if re.search(r"[\x00-\x1f\x7f]", rest):
        raise ValueError(f"A URI of {scheme}:// must not hold line breaks or other controls.")
    if scheme in OBJECT_STORES and ":" in host:
        raise ValueError(
            f"{host!r} is no bucket: give its server as endpoint_url in storage_options."
        )
    if not host and scheme not in _IN_PROCESS:
        raise ValueError(f"{scheme}:// names no bucket: expected {scheme}://bucket/folder.")
    parts_of = [part for part in path.split("/") if part]
    if ".." in parts_of or "." in parts_of:
        raise ValueError(f"{scheme}://{host}/{path} must not hold '.' or '..'.")
    clean = "/".join(part for part in (host, *parts_of) if part)
    return Place(f"{scheme}://{clean}", options)


def _check_scheme(scheme: str, uri: str) -> None:
    from fsspec.registry import available_protocols

    known = {*OBJECT_STORES, *available_protocols()}
    if scheme not in known:
        shown = uri.rpartition("@")[2] if "@" in uri else uri
        raise ValueError(
            f"{shown!r} has an unknown scheme. "
            + did_you_mean(scheme, ["s3", "gs", "az", "sftp", "memory", "file"])
        )


def _refuse_hidden_secrets(scheme: str, rest: str) -> None:
    """Refuse what may be a secret where it can't be told from a path; without showing it."""
    host, _, path = rest.partition("/")
    name, _, port = host.rpartition(":")
    if re.search(r"[?#][^/]*=", rest):
        raise ValueError(
            f"A URI of {scheme}:// must not hold a query: give keys and tokens by "
            "storage_options= or by the environment."
        )
    if "@" in path and "@" not in host and name and not port.isdigit():
        raise ValueError(
            f"The user and the password in a URI of {scheme}:// must be percent-encoded "
            "('/' is %2F). Better give them by storage_options= or by the environment."
        )


def is_for_obstore(scheme: str) -> bool:
    """Whether obstore serves a scheme, and is installed with what its lists need."""
    from importlib.util import find_spec

    return scheme in OBJECT_STORES and all(map(find_spec, ("obstore", "arro3")))


def _check_installed(scheme: str) -> None:
    """Tell at once what has to be installed for a scheme."""
    from fsspec import get_filesystem_class

    if is_for_obstore(scheme):
        return
    try:
        get_filesystem_class(scheme)
    except ImportError as problem:
        extra = {"sftp": "sftp", **OBJECT_STORES}.get(scheme)
        what = f"`pip install 'digital-experiments[{extra}]'`" if extra else str(problem)
        raise ImportError(f"{scheme}:// needs another package: {what}.") from problem


def protocol_of(filesystem: Any) -> str:
    """The scheme of a file system; of one in a folder of another, that of the other."""
    protocol = unwrapped(filesystem, "")[0].protocol
    return protocol if isinstance(protocol, str) else str(protocol[0])


def unwrapped(filesystem: Any, path: str) -> tuple[Any, str]:
    """The file system that one in a folder is of, and what a path is called there."""
    if getattr(filesystem, "protocol", "") != "dir":
        return filesystem, path
    return unwrapped(filesystem.fs, "/".join(part for part in (filesystem.path, path) if part))


def _of_filesystem(filesystem: Any, path: str) -> Place:
    """A file system; one of a folder is named by the folder, one of a server by that too."""
    inner, whole = unwrapped(filesystem, path)
    parts = [_server_of(inner), *whole.split("/")]
    uri = f"{protocol_of(inner)}://" + "/".join(part for part in parts if part)
    client = getattr(inner, "client_kwargs", None) or {}
    endpoint = getattr(inner, "endpoint_url", None) or client.get("endpoint_url")
    options = {"endpoint_url": endpoint} if endpoint else {}
    return Place(uri, options, filesystem, path.strip("/"))


def _server_of(filesystem: Any) -> str:
    host = getattr(filesystem, "host", None)
    told = getattr(filesystem, "ssh_kwargs", None) or vars(filesystem)
    port = told.get("port")
    return "" if not isinstance(host, str) else f"{host}:{port}" if port else host
