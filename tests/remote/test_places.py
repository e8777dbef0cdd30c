"""Where a store may lie: URIs, file systems, paths; and what is told when it can't."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.dirfs import DirFileSystem

from digital_experiments import Registry, experiment, open_experiment
from digital_experiments.errors import BucketUnreachable, InvalidName
from digital_experiments.remote import Place, located
from digital_experiments.remote.buckets import without_credentials


def make(root: Any, **options: Any) -> Any:
    @experiment(root=root, name="square", **options)
    def square(x: int) -> int:
        return x * x

    return square


def test_a_path_is_a_path(folder: Path) -> None:
    assert located("runs") == Path("runs")
    assert located(folder) == folder
    assert located("~/runs") == Path.home() / "runs"


def test_a_uri_of_files_is_a_path(folder: Path) -> None:
    make(f"file://{folder}/runs")(3)
    assert [o.result for o in open_experiment(folder / "runs").observations()] == [9]
    assert list((folder / "runs").glob("*.pkl"))


@pytest.mark.parametrize(
    ("uri", "clean"),
    [
        ("s3://team/experiments/", "s3://team/experiments"),
        ("S3://team//experiments", "s3://team/experiments"),
        ("s3://a-key:a-secret@team/x", "s3://team/x"),
        ("ftp://me:pass@host/x", "ftp://host/x"),
        ("gs://team/x", "gs://team/x"),
        ("memory://x", "memory://x"),
    ],
)
def test_a_uri_is_kept_without_credentials(uri: str, clean: str) -> None:
    place = located(uri)
    assert isinstance(place, Place)
    assert place.uri == clean
    assert "secret" not in repr(place)
    assert "pass" not in repr(place)


def test_what_can_be_no_place_is_told() -> None:
    with pytest.raises(ValueError, match=r"unknown scheme.*'s3'"):
        located("s4://team/x")
    with pytest.raises(ValueError, match="names no bucket"):
        located("s3:///x")
    with pytest.raises(ValueError, match=r"'\.'"):
        located("s3://team/../x")
    with pytest.raises(TypeError, match="must be a path, a URI or a file system"):
        located(3)
    with pytest.raises(TypeError, match="is a folder"):
        located("runs", {"key": "x"})
    with pytest.raises(TypeError, match="must be a dict"):
        located("s3://team/x", "key")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give one"):
        make(None, storage_options={"key": "x"})
    with pytest.raises(InvalidName):
        located("s3://team/x").child("../y")  # type: ignore[union-attr]


def test_an_unknown_option_is_told_without_its_value(server: Any, s3: str) -> None:
    with pytest.raises(TypeError, match="flavour") as told:
        open_experiment(f"{s3}/x", storage_options={"flavour": "s3cr3t"})
    assert "s3cr3t" not in str(told.value)


def test_wrong_credentials_are_told_and_leave_others_alone(server: Any, s3: str) -> None:
    square = make(f"{s3}/square")
    square(3)
    with pytest.raises(PermissionError, match="these credentials") as told:
        open_experiment(f"{s3}/square", storage_options={"key": "no", "secret": "s3cr3t"})
    assert "s3cr3t" not in str(told.value)
    square(4)
    assert [o.result for o in square.observations()] == [9, 16]


def test_a_bucket_that_there_is_not_is_told(server: Any) -> None:
    with pytest.raises(BucketUnreachable, match="There is no bucket"):
        open_experiment("s3://no-such-bucket/square")


@pytest.mark.parametrize("named", ["s3fs", "obstore"])
def test_options_go_in_the_words_of_s3fs_and_of_obstore(
    server: Any, s3: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = (
        server.environment[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    )
    for name in server.environment:
        monkeypatch.delenv(name)
    options: dict[str, Any] = {
        "s3fs": {"key": key, "secret": secret, "client_kwargs": {"endpoint_url": server.endpoint}},
        "obstore": {
            "access_key_id": key,
            "secret_access_key": secret,
            "endpoint": server.endpoint,
        },
    }[named]
    square = make(f"{s3}/square", storage_options=options)
    square(3)
    store = open_experiment(f"{s3}/square", storage_options=options)
    assert [o.result for o in store.observations()] == [9]
    assert Registry(s3, storage_options=options).load("square").result == 9


def test_a_file_system_is_taken_for_a_place(another_host: Callable[[], None]) -> None:
    memory = fsspec.filesystem("memory")
    name = uuid4().hex
    inside = DirFileSystem(f"/{name}/square", memory)
    square = make(inside)
    square(3)
    assert any(path.endswith(".pkl") for path in memory.find(f"/{name}/square"))
    another_host()
    assert [o.result for o in open_experiment(inside).observations()] == [9]
    assert Registry(DirFileSystem(f"/{name}", memory)).experiments() == ["square"]
    assert open_experiment(f"memory://{name}/square").observations()[0].result == 9


def test_a_local_file_system_is_one_too(folder: Path) -> None:
    local = DirFileSystem(str(folder / "far"), fsspec.filesystem("file"))
    square = make(local)
    square(3)
    assert len(list((folder / "far").glob("*.pkl"))) == 1
    assert [o.result for o in square.observations()] == [9]
    assert square.check()


def test_a_file_system_of_s3fs_serves_the_same_store(
    server: Any, s3: str, another_host: Callable[[], None]
) -> None:
    s3fs = pytest.importorskip("s3fs")
    place = DirFileSystem(f"{s3.partition('://')[2]}/square", s3fs.S3FileSystem())
    square = make(place)
    runs = square.map([{"x": x} for x in range(8)], executor="thread", workers=4)
    square.delete(runs[0].id)
    another_host()
    store = open_experiment(f"{s3}/square")
    assert [o.result for o in store.observations()] == [1, 4, 9, 16, 25, 36, 49]
    assert store.restore(runs[0].id) == [runs[0].id]
    another_host()
    store = open_experiment(place)
    assert len(store.observations()) == 8
    assert store.check()


class Universal(PurePosixPath):
    """What universal_pathlib's paths have."""

    @property
    def fs(self) -> Any:
        return fsspec.filesystem("memory")

    @property
    def path(self) -> str:
        return str(self)


def test_a_universal_path_is_taken_for_a_place() -> None:
    name = uuid4().hex
    make(Universal(f"/{name}/square"))(3)
    assert open_experiment(f"memory://{name}/square").observations()[0].result == 9


def test_an_experiment_on_a_bucket_can_be_pickled(server: Any, s3: str) -> None:
    import cloudpickle

    square = make(f"{s3}/square")
    square(3)
    again = pickle.loads(cloudpickle.dumps(square))
    again(4)
    assert sorted(o.result for o in square.observations()) == [9, 16]
    code = "import pickle, sys; pickle.load(sys.stdin.buffer)(5)"
    subprocess.run([sys.executable, "-c", code], input=cloudpickle.dumps(square), check=True)
    assert sorted(o.result for o in square.observations()) == [9, 16, 25]


def test_what_has_to_be_installed_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.sftp", raising=False)
    for name in ("sftp", "ssh"):  # another test may have had it loaded
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, name, raising=False)
    with pytest.raises(ImportError, match=r"digital-experiments\[sftp\]"):
        make("sftp://host/x")


def test_messages_lose_their_credentials() -> None:
    told = "GET https://me:pw@host/x?X-Amz-Signature=abc&X-Amz-Credential=def failed: key=ghi"
    clean = without_credentials(told)
    for secret in ("me:pw", "abc", "def", "ghi"):
        assert secret not in clean
