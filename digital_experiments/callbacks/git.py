"""The commit that a run's code stood at, and what was changed since."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from digital_experiments.callbacks.base import Callback
from digital_experiments.callbacks.code import plain_function
from digital_experiments.callbacks.packages import without_credentials
from digital_experiments.callbacks.system import working_folder
from digital_experiments.callbacks.watched import Watched
from digital_experiments.forks import unforked
from digital_experiments.observation import Observation

if TYPE_CHECKING:
    import git

_DIFF_BYTES = 10_000_000
_UNTRACKED_BYTES = 100_000
_UNTRACKED_FILES = 200
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_SECONDS = 20

Facts = Mapping[str, Any]


class GitInfo(Callback):
    """Records ``metadata["environment"]["git"]``, where the run was made in a repository.

    ``branch``, ``commit``, ``remote`` (without credentials), ``dirty``, ``diff`` (what was
    changed since the commit, as text) and ``untracked`` (the text of small Python files that
    git does not know). The repository is that of the working folder, else of the function.
    """

    folder: str | None = None

    def setup(self, function: Callable[..., Any]) -> None:
        """Note where the function's file lies."""
        inner = plain_function(function)
        self.folder = folder_of(inner.__code__.co_filename) if inner is not None else None

    def end(self, observation: Observation) -> None:
        """Add the facts; they are gathered anew only when HEAD or the index has changed."""
        facts = git_facts(working_folder()) or git_facts(self.folder)
        if facts is not None:
            observation.metadata.setdefault("environment", {})["git"] = facts


def folder_of(filename: str) -> str | None:
    """The folder of a file of the user's; None for installed code, and for what is no file."""
    folder = os.path.dirname(filename)
    return folder if os.path.isabs(folder) and "site-packages" not in folder else None


class _Snapshot(NamedTuple):
    """What was known of the repository of a folder, and what would tell of a change."""

    watched: Watched
    facts: Facts | None


_snapshots: dict[str, _Snapshot] = {}


def git_facts(folder: str | None) -> Facts | None:
    """The facts of the repository that a folder belongs to; None if to none, or without git."""
    if folder is None:
        return None
    known = _snapshots.get(folder)
    if known is None or not known.watched.is_unchanged():
        with unforked:
            known = _snapshots[folder] = _look(folder)
    return known.facts


def _look(folder: str) -> _Snapshot:
    nothing = _Snapshot(Watched([os.path.join(folder, ".git")]), None)
    try:
        import git
    except ImportError:  # GitPython's way to say that there is no git on PATH
        return nothing
    try:
        repository = git.Repo(folder, search_parent_directories=True)
    except (git.InvalidGitRepositoryError, git.NoSuchPathError, OSError, ValueError):
        return nothing
    with repository:
        # whatever moves HEAD or the index makes a lock file in this folder, which touches it
        watched = Watched([str(repository.git_dir)])
        try:
            return _Snapshot(watched, MappingProxyType(_gather(repository)))
        except (git.GitError, OSError, ValueError):
            return _Snapshot(watched, None)


def _gather(repository: git.Repo) -> dict[str, Any]:
    repository.git.update_environment(GIT_OPTIONAL_LOCKS="0")  # looking must not write the index
    commit = _commit(repository)
    facts: dict[str, Any] = {
        "branch": "HEAD" if repository.head.is_detached else repository.head.reference.name,
        "commit": commit,
        "remote": _remote(repository),
    }
    if repository.bare:
        return facts
    diff, untracked = _diff(repository, commit or _EMPTY_TREE), _untracked(repository)
    facts["dirty"] = bool(diff or untracked)
    if len(diff) > _DIFF_BYTES:
        facts["diff_omitted"] = f"{len(diff)} characters, over the limit of {_DIFF_BYTES}"
    elif diff:
        facts["diff"] = diff
    if untracked:
        facts["untracked"] = untracked
    return facts


def _commit(repository: git.Repo) -> str | None:
    import git

    try:
        return str(repository.git.rev_parse("--verify", "--quiet", "HEAD"))
    except git.GitCommandError:  # no commit yet
        return None


def _remote(repository: git.Repo) -> str | None:
    remotes = {remote.name: remote.url for remote in repository.remotes}
    url = remotes.get("origin") or next(iter(remotes.values()), None)
    return without_credentials(url) if url else None


def _diff(repository: git.Repo, since: str) -> str:
    return str(
        repository.git.diff(
            since,
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            strip_newline_in_stdout=False,
            kill_after_timeout=_SECONDS,
        )
    )


def _untracked(repository: git.Repo) -> dict[str, str]:
    """Small Python files that git does not know, by their path in the repository."""
    root = repository.working_tree_dir
    listed = repository.git.ls_files(
        "--others", "--exclude-standard", "-z", "--", ":/*.py", kill_after_timeout=_SECONDS
    )
    found = {}
    for name in sorted(filter(None, str(listed).split("\0")))[:_UNTRACKED_FILES]:
        path = os.path.join(str(root), name)
        if os.path.isfile(path) and os.path.getsize(path) <= _UNTRACKED_BYTES:
            with open(path, encoding="utf-8", errors="replace") as file:
                found[name] = file.read()
    return found
