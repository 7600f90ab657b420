"""Engines that come back with what they had, whatever ends them; and a queue that says when it is full."""

import asyncio
import logging
from pathlib import Path

import pytest
from fakes import FakeDeployment, FakeEngine, deployment, in_loop, supervised, until

from appkit.errors import RunError
from appkit.serving.engines import supervised as pools
from appkit.serving.engines.protocol import NULL, Conflict, EngineGone, Job, JobRefused
from appkit.serving.engines.supervised import Busy, Pool, Supervised

JOB = Job(NULL, (5,), 9)


@in_loop
async def test_it_starts_once_and_answers() -> None:
    engine = FakeEngine()
    one = supervised(engine)
    assert not one.ready
    await asyncio.gather(one.start(), one.start())
    assert (engine.starts, one.ready, one.state) == (1, True, "ready")
    assert (await one.complete(JOB)).finish == "stop"
    await one.close()
    assert (one.state, engine.up) == ("stopped", False)


@in_loop
async def test_one_that_does_not_start_can_be_started_again() -> None:
    engine = FakeEngine()
    engine.fails = [RunError("no memory")]
    one = supervised(engine)
    with pytest.raises(RunError, match="no memory"):
        await one.start()
    assert one.state == "new"
    await one.start()
    assert one.ready
    await one.close()


@in_loop
async def test_nothing_is_asked_of_one_that_does_not_run() -> None:
    one = supervised(FakeEngine())
    with pytest.raises(EngineGone, match=r"not ready \(new\)"):
        await one.complete(JOB)
    with pytest.raises(EngineGone, match="not ready"):
        one.stream(JOB)
    with pytest.raises(EngineGone, match="not ready"), one.admitted(1):
        pass
    with pytest.raises(EngineGone, match="not ready"):
        await one.add("a", Path("a"))


@in_loop
async def test_what_it_had_loaded_is_loaded_again() -> None:
    engine = FakeEngine()
    one = supervised(engine)
    await one.start()
    for name in "abc":
        await one.add(name, Path(name))
    await one.remove("b")
    engine.end()
    await until(lambda: one.restarts == 1)
    assert one.ready
    assert engine.adapters == {"a": Path("a"), "c": Path("c")}
    engine.end()
    await until(lambda: one.restarts == 2)
    assert engine.adapters == {"a": Path("a"), "c": Path("c")}
    await one.close()


@in_loop
async def test_one_adapter_that_is_not_taken_again_does_not_take_the_others_down() -> None:
    engine = FakeEngine()
    one = supervised(engine)
    await one.start()
    for name in "abc":
        await one.add(name, Path(name))
    engine.refuses[Path("b")] = JobRefused("its file is torn")
    engine.end()
    await until(lambda: one.restarts == 1)
    assert (await one.complete(Job("a", (5,), 9))).finish == "stop"
    assert (await one.complete(Job("c", (5,), 9))).finish == "stop"
    with pytest.raises(JobRefused, match="could not be loaded again: its file is torn") as told:
        await one.complete(Job("b", (5,), 9))
    assert told.value.broken
    del engine.refuses[Path("b")]
    engine.end()
    await until(lambda: one.restarts == 2)
    assert (await one.complete(Job("b", (5,), 9))).finish == "stop"
    await one.close()


@in_loop
async def test_an_adapter_that_is_refused_at_first_is_not_loaded_again() -> None:
    engine = FakeEngine()
    engine.refuses[Path("a")] = JobRefused("rank 512")
    one = supervised(engine)
    await one.start()
    with pytest.raises(JobRefused, match="rank 512"):
        await one.add("a", Path("a"))
    assert one.adapters == {}
    await one.close()


@pytest.mark.parametrize("fault", [RunError("no memory"), OSError("no file"), ValueError("a bug")], ids=repr)
@in_loop
async def test_it_is_tried_until_it_starts_with_growing_pauses(
    fault: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        if asyncio.current_task() is one._watch:
            pauses.append(seconds)
        await sleep(0)

    engine = FakeEngine()
    one = supervised(engine, first_pause_s=1)
    await one.start()
    monkeypatch.setattr(asyncio, "sleep", pause)
    engine.fails = [fault] * 7
    with caplog.at_level(logging.ERROR, "appkit"):
        engine.end("code 137")
        await until(lambda: one.restarts == 1)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert "code 137" in caplog.text
    assert caplog.text.count("does not start") == 7
    assert (await one.complete(JOB)).finish == "stop"
    engine.end()  # soon after: the pause is still long
    await until(lambda: one.restarts == 2)
    assert pauses[8:] == [30]
    monkeypatch.setattr(pools, "SETTLED_S", -1.0)  # as if it had run for long
    engine.end()
    await until(lambda: one.restarts == 3)
    assert pauses[9:] == [1]
    await one.close()


@in_loop
async def test_one_that_ends_while_adapters_are_loaded_again_is_ended_before_the_next_try() -> None:
    engine = FakeEngine()
    one = supervised(engine)
    await one.start()
    await one.add("a", Path("a"))
    engine.refuses[Path("a")] = EngineGone("out of memory")
    engine.end()
    await until(lambda: engine.starts >= 3)  # FakeEngine.start asserts that it was closed
    assert not one.ready
    del engine.refuses[Path("a")]
    await until(lambda: one.ready)
    assert engine.adapters == {"a": Path("a")}
    await one.close()


@in_loop
async def test_while_it_comes_back_requests_are_refused_and_removals_do_not_wait() -> None:
    engine = FakeEngine()
    one = supervised(engine, first_pause_s=0.001)
    await one.start()
    await one.add("a", Path("a"))
    await one.add("b", Path("b"))
    engine.fails = [RunError("no memory")] * 10_000
    engine.end()
    await until(lambda: one.state == "restarting")
    for wrong in (one.complete(JOB), one.add("c", Path("c"))):
        with pytest.raises(EngineGone, match=r"not ready \(restarting\)"):
            await asyncio.wait_for(wrong, 5)
    await asyncio.wait_for(one.remove("a"), 5)
    engine.fails = []
    await until(lambda: one.ready)
    assert engine.adapters == {"b": Path("b")}
    await one.close()


@in_loop
async def test_it_can_be_closed_while_it_comes_back() -> None:
    engine = FakeEngine()
    one = supervised(engine)
    await one.start()
    engine.fails = [RunError("no memory")] * 10_000
    engine.end()
    await until(lambda: one.state == "restarting")
    await asyncio.wait_for(one.close(), 5)
    starts = len(engine.fails)
    assert one.state == "stopped"
    await asyncio.sleep(0.01)
    assert len(engine.fails) == starts


@in_loop
async def test_a_stream_that_runs_when_it_ends_is_told() -> None:
    engine = FakeEngine()
    one = supervised(engine)
    await one.start()
    engine.flow.clear()
    stream = one.stream(JOB)
    first = asyncio.ensure_future(anext(stream))
    await engine.begun.get()
    engine.end()
    with pytest.raises(EngineGone):
        await first
    await one.close()


# --- the queue --------------------------------------------------------------------------------------------


@in_loop
async def test_a_full_queue_says_how_long_a_request_takes() -> None:
    one = supervised(FakeEngine(), queue=3)
    await one.start()
    one.request_s = 7.0
    with one.admitted(2):
        full = r"2 requests are accepted, the limit is 3 \(serve.max_queue\)"
        with pytest.raises(Busy, match=full) as told, one.admitted(2):
            pass
        assert told.value.retry_after == 7.0
        with one.admitted(1):
            assert one.running == 3
        assert one.running == 2
    assert one.running == 0
    assert one.request_s < 7.0  # it learns from what is quick
    with pytest.raises(KeyError), one.admitted(3):
        raise KeyError
    assert one.running == 0
    await one.close()


# --- the pool ---------------------------------------------------------------------------------------------


async def engine_of(pool: Pool, bundle: FakeDeployment) -> Supervised:
    return await pool.engine(bundle.engine, bundle.ref)


@in_loop
async def test_one_engine_for_each_base_and_dtype_up_to_a_ceiling() -> None:
    made: list[FakeEngine] = []

    def make(spec: object) -> FakeEngine:
        made.append(FakeEngine())
        return made[-1]

    pool = Pool(make, most=2, queue=8)
    first = await engine_of(pool, deployment(version="one"))
    assert await engine_of(pool, deployment(version="two")) is first
    assert await engine_of(pool, deployment(dtype="bfloat16")) is not first
    with pytest.raises(
        Conflict,
        match=r"nl2fol@.* needs an engine of its own \(other, float32, generate\).*serve.max_engines",
    ):
        await engine_of(pool, deployment(base="other"))
    assert len(made) == 2
    assert pool.ready
    made[0].fails = [RunError("no memory")] * 10_000
    made[0].end()
    await until(lambda: not pool.ready)
    await pool.close()
    assert not any(one.up for one in made)


@pytest.mark.parametrize("fault", [RunError("no memory"), OSError("no file")], ids=repr)
@in_loop
async def test_an_engine_that_does_not_start_takes_no_place(fault: Exception) -> None:
    engine = FakeEngine()
    engine.fails = [fault]
    pool = Pool(lambda spec: engine, most=1, queue=8)
    with pytest.raises(type(fault), match=str(fault)):
        await engine_of(pool, deployment())
    assert pool.engines == {}
    assert (await engine_of(pool, deployment())).ready
    await pool.close()


class Hanging(FakeEngine):
    """Its process stays when its core is gone, and what was asked of the core gets no answer until it is closed."""

    async def add(self, adapter: str, path: Path) -> None:
        if path == Path("hangs"):
            await self.closed.wait()
            raise EngineGone("the fake engine was closed")
        await super().add(adapter, path)

    async def start(self) -> None:
        self.closed = asyncio.Event()
        await super().start()

    async def close(self) -> None:
        self.closed.set()
        await super().close()


@in_loop
async def test_an_adapter_that_was_being_loaded_when_it_ended_does_not_keep_it_from_coming_back() -> None:
    engine = Hanging()
    one = supervised(engine)
    await one.start()
    await one.add("a", Path("a"))
    loading = asyncio.create_task(one.add("b", Path("hangs")))
    await asyncio.sleep(0)  # it holds the lock
    engine.end()
    with pytest.raises(EngineGone, match="was closed"):
        await asyncio.wait_for(loading, 5)
    await until(lambda: one.restarts == 1)
    assert engine.adapters == {"a": Path("a")}
    await one.close()
