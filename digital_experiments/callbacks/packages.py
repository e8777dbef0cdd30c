"""The packages that are installed, as ``pip freeze`` lists them; no process is started."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

from digital_experiments.callbacks.base import Callback
from digital_experiments.callbacks.watched import Watched
from digital_experiments.observation import Observation

_INSTALLED = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-.*)?\.(dist-info|egg-info)")
_TOOLS = {"pip"} if sys.version_info >= (3, 12) else {"pip", "setuptools", "wheel", "distribute"}


class PipFreeze(Callback):
    """Records ``metadata["environment"]["pip_freeze"]``: one requirement a line."""

    def end(self, observation: Observation) -> None:
        """Add the list; it is made anew only when something was installed or removed."""
        observation.metadata.setdefault("environment", {})["pip_freeze"] = pip_freeze()


class _Snapshot:
    """The list of packages, and the folders that it was made from."""

    def __init__(self) -> None:
        self.path = list(sys.path)
        places = dict.fromkeys(map(os.path.abspath, self.path))
        watched = {folder: Watched([folder]) for folder in places}  # before they are read
        found = {folder: dict(_requirements(folder)) for folder in places}
        self.folders = [watched[folder] for folder, here in found.items() if here]
        lines: dict[str, str] = {}
        for here in found.values():
            lines = {**here, **lines}  # what comes first on the path is what is imported
        self.text = "".join(f"{line}\n" for _, line in sorted(lines.items()))

    def is_current(self) -> bool:
        return self.path == sys.path and all(it.is_unchanged() for it in self.folders)


_snapshot: _Snapshot | None = None


def pip_freeze() -> str:
    """The requirements that describe the packages installed now."""
    global _snapshot
    if _snapshot is None or not _snapshot.is_current():
        _snapshot = _Snapshot()
    return _snapshot.text


def _requirements(folder: str) -> Iterator[tuple[str, str]]:
    """Sort key and line of each package installed in a folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for entry in names:
        match = _INSTALLED.fullmatch(entry)
        if match is None:
            continue
        name = match["name"].replace("_", "-")
        if name.lower() not in _TOOLS:
            direct = os.path.join(folder, entry, "direct_url.json")
            yield name.lower(), _requirement(name, match["version"], direct)


def _requirement(name: str, version: str, direct: str) -> str:
    """One line: a version, or where the package came from if not from an index."""
    import json

    try:
        with open(direct, encoding="utf-8") as file:
            origin = json.load(file)
        url = without_credentials(origin["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{name}=={version}"
    if "vcs_info" in origin:
        source = f"{origin['vcs_info'].get('vcs')}+{url}@{origin['vcs_info'].get('commit_id')}"
    else:
        source = url
    if origin.get("subdirectory"):
        source += f"#subdirectory={origin['subdirectory']}"
    if origin.get("dir_info", {}).get("editable"):
        return f"-e {source}  # {name}=={version}"
    return f"{name} @ {source}"


def without_credentials(url: str) -> str:
    """A URL without user, password and query.

    >>> without_credentials("https://me:secret@example.org/r.git?token=1")
    'https://example.org/r.git'
    >>> without_credentials("git@example.org:team/r.git")
    'git@example.org:team/r.git'
    """
    from urllib.parse import urlsplit, urlunsplit

    try:
        parts = urlsplit(url)
    except ValueError:
        return re.sub(r"//[^/]*@", "//", url)
    if not parts.netloc:
        return url
    user, at, host = parts.netloc.rpartition("@")
    keep_user = parts.scheme in ("ssh", "git+ssh") and user and ":" not in user
    return urlunsplit((parts.scheme, user + at + host if keep_user else host, parts.path, "", ""))
