"""For every test of the repository: which ones share a worker, and how often vLLM was started in a session."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "tests"))  # its helpers are importable, from the apps' tests too

if TYPE_CHECKING:
    from trained import Trained

WARM = pytest.StashKey["Any"]()
ENGINE_STARTS = 10
"""vLLM servers of a whole session: one each for five shared engines, `appkit serve` and its restart, the gateway that
is killed, the plug-in's two-slot server, and the start that fails."""


def pytest_configure(config: pytest.Config) -> None:
    """The session's children count engine starts; beside other workers each computes in one thread.

    All of them seal certificates with one key, which is not this user's.
    """
    if hasattr(config, "workerinput"):
        return  # a worker has its environment from the controller
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    handle, file = tempfile.mkstemp(prefix="appkit-engine-starts-")
    os.close(handle)
    os.environ["APPKIT_ENGINE_STARTS"] = file
    os.environ["APPKIT_SEAL_KEY"] = str(Path(tempfile.mkdtemp(prefix="appkit-seal-"), "seal.key"))
    starts = str(ROOT / "tests" / "starts")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [starts, os.environ.get("PYTHONPATH", "")]))
    sys.path.append(starts)
    from warm import Sockets

    config.stash[WARM] = Sockets()
    os.environ["APPKIT_WARM"] = str(config.stash[WARM].place)


def pytest_collection_finish() -> None:
    """Take what collecting has imported out of the garbage collector's sight.

    transformers' millions of objects live to the end; accelerate collects once a training, a second each.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give it back: at its end the process would report as leaked what the collector may not free."""
    gc.unfreeze()
    if not hasattr(config, "workerinput"):
        config.stash[WARM].close()
        shutil.rmtree(Path(os.environ["APPKIT_SEAL_KEY"]).parent, ignore_errors=True)


def engine_starts() -> list[str]:
    """The command lines of the vLLM servers that this session's processes started."""
    return Path(os.environ["APPKIT_ENGINE_STARTS"]).read_text(encoding="utf-8").splitlines()


# a wrapper: xdist's own hook, which reads the groups, is registered later and so runs before ours otherwise
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Give every test its group, whose tests run in one worker and so make what they share once.

    What drives vLLM or computes with the real base is one group: two of them at once need more memory than 24 GiB.
    It comes first and takes as long as all other tests, which are grouped by file; the pages among these come next.
    """
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if "browser" in used:
            item.add_marker("browser")
        if "trained_once" in used:
            item.add_marker("real")
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    items.sort(key=turn)
    yield
    if config.getoption("loadgroup", False):
        assert all("@" in item.nodeid for item in items), "xdist reads no groups from this pytest"


def group_of(item: pytest.Item) -> str:
    large = item.get_closest_marker("vllm") or item.get_closest_marker("real")
    return "large" if large else item.nodeid.partition("::")[0]


def turn(item: pytest.Item) -> int:
    """The lowest comes first."""
    order = ("vllm", "real", "browser")
    return next((place for place, name in enumerate(order) if item.get_closest_marker(name)), len(order))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """A session that started more engines than it may fails, with their command lines."""
    yield
    if hasattr(session.config, "workerinput"):
        return
    starts = engine_starts()
    Path(os.environ["APPKIT_ENGINE_STARTS"]).unlink()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and starts:
        reporter.write_line(f"\nvLLM was started {len(starts)} times; the limit is {ENGINE_STARTS}")
    if len(starts) > ENGINE_STARTS:
        if reporter is not None:
            for start in starts:
                reporter.write_line(f"  {start[:200]}", red=True)
            reporter.write_line(
                "share an engine (tests/engines.py) or raise ENGINE_STARTS in conftest.py", red=True
            )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def cold(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test starts, starts as a user starts it: processes that are each other's children."""
    monkeypatch.delenv("APPKIT_WARM", raising=False)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Runs on the real base by name; a session makes each once."""
    from trained import Trained, shared_folder

    return Trained(shared_folder(tmp_path_factory, "trained"))


@pytest.fixture(scope="session")
def real(trained_once: Trained) -> Any:
    """A short run of nl2fol on the real base: minutes, for tests marked real, vllm or browser."""
    return trained_once("nl2fol")
