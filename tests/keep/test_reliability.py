"""Whatever fails while a run is recorded, and whenever the process dies, nothing is torn."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digital_experiments import experiment, open_experiment
from digital_experiments.errors import RecordingWarning
from digital_experiments.store.blobs import Blobs

CALLS = ("open", "write", "replace", "mkdir", "makedirs", "close")
KILLS = 200


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("backend", ["pickle", "json", "yaml"])
def test_a_failing_system_call_leaves_the_old_or_the_new_state(
    backend: str, lasting: bool, folder: Path
) -> None:
    """The n-th change of the file system fails, for n = 1, 2, ... until none fails."""
    result = np.arange(20_000)
    for n in range(1, 1000):
        shutil.rmtree("store", ignore_errors=True)
        record = experiment(root="store", backend=backend, name="f")(lambda x: result)
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", RecordingWarning)
            failed = _fail_at(patch, n, lasting)
            assert record(n) is result
        kept = _kept(backend)
        assert kept in (0, 1)
        assert kept == 1 or failed
        for place in ("store", *map(str, Path("tmp").glob("*/f"))):
            if list(Path(place).glob("20*")):
                store = open_experiment(place)
                assert store.check().ok
                assert not store.check().notices
        if not failed:
            assert not [path for path in _open_files() if "/store/" in path]
            return
    pytest.fail("calls went on failing")


def _open_files() -> list[str]:
    return [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]


def _kept(backend: str) -> int:
    found = list(Path("store").glob("20*"))
    for path in found:
        (observation,) = open_experiment("store").observations()
        assert np.array_equal(observation.result, np.arange(20_000)), path
    return len(found)


def _fail_at(patch: pytest.MonkeyPatch, n: int, lasting: bool) -> list[str]:
    count = [0]
    failed: list[str] = []

    def wrap(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            target = str(args[0]) if args else ""
            ours = sys._getframe(1).f_code.co_filename.endswith("digital_experiments/files.py")
            if not ours if name in ("write", "close") else "/store" not in target:
                return real(*args, **kwargs)
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args, **kwargs)
            count[0] += 1
            if count[0] == n or (lasting and count[0] > n):
                failed.append(name)
                if name == "close":
                    real(*args, **kwargs)
                raise OSError(errno.EIO, "made to fail")
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        patch.setattr(os, name, wrap(name))
    return failed


def test_kills_at_random_instants_tear_nothing(folder: Path) -> None:
    """Whatever call had returned is there; nothing is torn."""
    script = folder / "record.py"
    script.write_text(
        "import os, sys, numpy as np\n"
        "from digital_experiments import current_dir, experiment\n"
        "@experiment(root='killed', cache=True)\n"
        "def f(x):\n"
        "    if x % 5 == 0: (current_dir() / 'file').write_text('x')\n"
        "    return np.full(9000, x) if x % 3 == 0 else x\n"
        "first = int(sys.argv[1])\n"
        "print('go', flush=True)\n"
        "for x in range(first, first + 1_000_000):\n"
        "    f(x)\n"
        "    os.write(1, b'%d\\n' % x)\n"
    )
    rng = random.Random(7)
    returned: set[int] = set()
    for n in range(KILLS // 4):
        jobs = [_recording(script, 10_000_000 * (4 * n + i)) for i in range(4)]
        time.sleep(rng.random() * 0.05)
        for job in jobs:
            time.sleep(rng.random() * 0.01)
            job.send_signal(signal.SIGKILL)
        for job in jobs:
            lines = job.communicate()[0].splitlines()
            returned.update(int(line) for line in lines if line.isdigit())
    store = open_experiment("killed")
    found = store.check()
    assert found.ok, found
    kept = store.observations(status=None)
    recorded = {o.config["x"] for o in kept}
    assert returned <= recorded
    assert len(recorded) - len(returned) <= KILLS  # one each may have lacked only the answer
    for observation in kept[-300:]:
        x = observation.config["x"]
        assert np.array_equal(observation.result, np.full(9000, x) if x % 3 == 0 else x)
    store.gc()
    assert not store.check().notices


def _recording(script: Path, first: int) -> subprocess.Popen[str]:
    job = subprocess.Popen([sys.executable, script, str(first)], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    os.read(job.stdout.fileno(), 3)  # 'go'
    return job


def test_ten_writers_two_listers_and_a_collector(folder: Path) -> None:
    writer = (
        "from digital_experiments import experiment\nimport numpy as np\n"
        "f = experiment(root='many', name='f')(lambda x: np.full(9000, x) if x % 10 == 0 else x)\n"
        "for x in range(1000): f(x)\n"
    )
    lister = (
        "from digital_experiments import open_experiment\nimport os, time\n"
        "while not os.path.isdir('many/blobs'): time.sleep(0.01)\n"
        "seen = 0\n"
        "while seen < 10_000:\n"
        "    n = len(open_experiment('many').to_dataframe())\n"
        "    assert n >= seen; seen = n\n"
    )
    collector = (
        "from digital_experiments import open_experiment\nimport os, time\n"
        "while not os.path.isdir('many/blobs'): time.sleep(0.01)\n"
        "many = open_experiment('many')\n"
        "while len(os.listdir('many')) < 10_000:\n"
        "    assert many.gc().blobs == []\n"
    )
    codes = [writer] * 10 + [lister] * 2 + [collector]
    jobs = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", c], stderr=subprocess.PIPE)
        for c in codes
    ]
    for job in jobs:
        _, errors = job.communicate(timeout=240)
        assert job.returncode == 0, errors.decode()
    store = open_experiment("many")
    assert len(store.observations()) == 10_000
    found = store.check()
    assert found.ok, found
    assert found.records == 10_000


@pytest.fixture
def read_only(folder: Path) -> Iterator[Path]:
    """A store on a file system that is mounted read-only."""
    place = folder / "mounted"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        if os.environ.get("DE_CI"):
            pytest.fail("CI must be able to mount a file system")
        pytest.skip("mounting a file system needs rights that this user does not have")
    store = experiment(root=place / "store", name="f")(lambda x: np.full(9000, x))
    for x in range(3):
        store(x)
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    yield place / "store"
    subprocess.run(["umount", str(place)], check=True)


def test_a_store_on_a_read_only_mount_is_read(read_only: Path) -> None:
    store = open_experiment(read_only)
    assert [o.result[0] for o in store.observations()] == [0, 1, 2]
    assert len(store.to_dataframe(where="config.x > 0")) == 2
    assert store.check().ok
    with pytest.raises(OSError, match="Read-only"):
        store.annotate(store.observations()[0].id, tags=["x"])
    with pytest.raises(OSError, match="Read-only"):
        store.delete(store.observations()[0])
    assert len(store.observations()) == 3


def test_blobs_are_read_whole_or_not_at_all(folder: Path) -> None:
    blobs = Blobs(str(folder))
    name = blobs.put(b"content", "txt")
    (folder / "blobs" / name[:2] / name).write_bytes(b"contenx")
    with pytest.raises(ValueError, match="not what its name says"):
        blobs.read(name)
