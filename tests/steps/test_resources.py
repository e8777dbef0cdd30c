"""Resources: each worker makes its own, once, and it is closed at the worker's end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import pytest

from digital_experiments import experiment, resource
from digital_experiments.resources import Resource


def note(what: str) -> None:
    with open("resources.log", "a") as file:
        file.write(f"{what} {os.getpid()} {threading.get_ident()}\n")


def noted(what: str) -> list[str]:
    lines = Path("resources.log").read_text().splitlines()
    return [line.partition(" ")[2] for line in lines if line.startswith(what)]


@pytest.fixture
def database() -> Iterator[Resource[sqlite3.Connection]]:
    @resource
    def database() -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(":memory:")  # of this thread alone
        note("open")
        yield connection
        connection.close()
        note("close")

    yield database
    database.close()


@pytest.mark.parametrize(("executor", "most"), [("serial", 1), ("thread", 2), ("process", 2)])
def test_each_worker_makes_one_and_closes_it(
    executor: str, most: int, database: Resource[sqlite3.Connection]
) -> None:
    @experiment(root="store")
    def double(x: int) -> int:
        row = database().execute("select 2 * ?", (x,)).fetchone()
        return int(row[0])

    how: Any = {} if executor == "serial" else {"workers": 2}
    found = double.map([{"x": x} for x in range(30)], executor=executor, **how)
    assert [o.result for o in found] == [2 * x for x in range(30)]
    opened = noted("open")
    assert len(opened) == len(set(opened)) <= most
    database.close()
    assert sorted(noted("close")) == sorted(opened)


def test_a_process_that_is_told_to_end_while_it_ends_closes_what_it_holds() -> None:
    def tell() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    @resource
    def held() -> Iterator[int]:
        Finalize(None, tell, exitpriority=2)  # called when the end has begun
        note("open")
        yield 1
        tell()
        note("close")

    @experiment(root="store")
    def use(x: int) -> int:
        return held() + x

    use.map([{"x": x} for x in range(30)], executor="process", workers=2)
    assert 1 <= len(noted("open")) <= 2
    assert sorted(noted("close")) == sorted(noted("open"))


def test_a_forked_process_does_not_use_what_its_parent_made(
    database: Resource[sqlite3.Connection],
) -> None:
    database()

    @experiment(root="store")
    def use(x: int) -> int:
        return database().execute("select ?", (x,)).fetchone()[0]  # type: ignore[no-any-return]

    use.map([{"x": x} for x in range(4)], executor="process", workers=1)
    mine = f"{os.getpid()} {threading.get_ident()}"
    assert noted("open").count(mine) == 1
    assert len(noted("open")) == 2
    assert mine not in noted("close")
    assert database().execute("select 1").fetchone() == (1,)  # the child did not close it


def test_it_is_kept_until_it_is_closed() -> None:
    class Client:
        closed = 0

        def close(self) -> None:
            Client.closed += 1

    @resource
    def client() -> Client:
        return Client()

    first = client()
    assert client() is first
    client.close()
    client.close()
    assert Client.closed == 1
    assert client() is not first
    client.close()
    assert repr(client) == "Resource(client)"


def test_what_fails_is_told() -> None:
    @resource
    def broken() -> Any:
        raise ConnectionError("no server")

    @experiment(root="store")
    def use() -> Any:
        return broken()

    with pytest.raises(ConnectionError, match="no server"):
        use()

    @resource
    def sticky() -> Iterator[int]:
        yield 1
        raise OSError("it does not let go")

    assert sticky() == 1
    with pytest.warns(RuntimeWarning, match="'sticky' could not be closed: OSError"):
        sticky.close()

    async def later() -> int:
        return 1

    def needs(path: str) -> str:
        return path

    with pytest.raises(TypeError, match="plain function"):
        resource(later)
    with pytest.raises(TypeError, match="parameters without defaults"):
        resource(needs)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expects a function"):
        resource(3)  # type: ignore[arg-type]


def test_what_can_not_travel_is_named_and_a_resource_suggested() -> None:
    connection = sqlite3.connect(":memory:")

    @experiment(root="store")
    def use(x: int) -> Any:
        return connection.execute("select ?", (x,)).fetchone()

    with pytest.raises(TypeError, match=r"'connection', which can't be sent .*@resource"):
        use.map([{"x": 1}], executor="process", workers=1)
    connection.close()


def test_the_end_of_the_program_closes_it(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from digital_experiments import resource\n"
        "@resource\n"
        "def one():\n    yield 1\n    print('closed one')\n"
        "@resource\n"
        "def two():\n    yield one() + 1\n    print('closed two')\n"
        "print(two())\n"
    )
    told = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines() == ["2", "closed two", "closed one"]


def test_a_generator_that_yields_nothing_is_told() -> None:
    @resource
    def nothing() -> Iterator[int]:
        return
        yield

    with pytest.raises(RuntimeError, match="'nothing' has ended without a yield"):
        nothing()


def test_what_gives_lines_is_no_generator(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("first\nsecond\n")

    @resource
    def lines() -> Any:
        return (tmp_path / "lines").open()

    assert lines().read() == "first\nsecond\n"
    file = lines()
    lines.close()
    assert file.closed
