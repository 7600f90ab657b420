"""Training through the gateway: a real gateway, the real command in its own process, a tiny base."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from conftest import Project
from fakes import Served, gateway
from tiny import save_tiny

from appkit.bundle import read_manifest
from appkit.serving import asked
from appkit.serving.keys import add_key
from appkit.serving.trainer import Trainer

ROWS = [{"text": f"{word} number {n}", "label": word} for n in range(12) for word in ("ham", "spam")]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CSV = ("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)).encode()
QUICK = ("train.max_rows=8", "train.batch_rows=4", "eval.rows=4", "eval.resamples=100", "eval.quant_rows=0")
SAVING = ("train.epochs=600", "train.save_steps=50")
"""far more steps than a test waits for"""


def within(seconds: float) -> Callable[..., Any]:
    def decorated(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            asyncio.run(asyncio.wait_for(test(*args, **kwargs), seconds))

        return run

    return decorated


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def words(base: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A classification on the tiny base, which counts as a preset that is here."""
    monkeypatch.setattr(asked, "models_here", lambda: [str(base), "smollm2-135m"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    chosen = ["task=classification", f"model={base}", "model.dtype=float32", "quant=none", "name=post"]
    return [*chosen, "method.rank=2", *QUICK]


@asynccontextmanager
async def trainable(tmp_path: Path, **given: Any) -> Any:
    """A gateway that trains below its root."""
    (tmp_path / "root").mkdir(exist_ok=True)
    keys = tmp_path / "keys.json"
    keys.unlink(missing_ok=True)
    secret, admin = add_key(keys, "user"), add_key(keys, "operator", admin=True)
    async with gateway(tmp_path / "root", secret=secret, admin=admin, keys=keys, **given) as served:
        served.one.trainer = Trainer(served.one.root)
        try:
            yield served
        finally:
            await served.one.trainer.close()


async def made(served: Served, words: list[str], rows: bytes | None = CSV, kind: str = ".csv") -> str:
    answer = await served.admin.post("/v1/runs", json={"words": words})
    assert answer.status_code == 201, answer.text
    run = answer.json()["id"]
    if rows is not None:
        put = await served.admin.put(f"/v1/runs/{run}/rows/train", params={"kind": kind}, content=rows)
        assert put.status_code == 200, put.text
    return run


async def checked(served: Served, words: list[str]) -> str:
    run = await made(served, words)
    answer = await served.admin.post(f"/v1/runs/{run}/check")
    assert answer.json()["ok"], answer.text
    return run


async def shown(served: Served, run: str, **asked: Any) -> dict[str, Any]:
    answer = await served.admin.get(f"/v1/runs/{run}", params=asked)
    assert answer.status_code == 200, answer.text
    assert str(served.one.root) not in answer.text
    return answer.json()


async def seen(served: Served, run: str, true: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The run once it is so."""
    while not true(now := await shown(served, run)):
        assert now["phase"] != "failed", now["lines"]
        await asyncio.sleep(0.1)
    return now


def message(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    said = answer.json()["error"]["message"]
    assert "\n" not in said
    return said


# --- from rows to what is served --------------------------------------------------------------------------


@within(120)
async def test_rows_are_checked_trained_stopped_gone_on_with_and_served(
    tmp_path: Path, words: list[str]
) -> None:
    async with trainable(tmp_path) as served:
        run = await made(served, [*words, *SAVING])
        assert "check the data first" in message(await served.admin.post(f"/v1/runs/{run}/start"), 409)
        report = (await served.admin.post(f"/v1/runs/{run}/check")).json()
        assert report["ok"]
        assert report["rows"]["train"] == len(ROWS)
        assert report["counts"]["faults"] == 0

        answer = await served.admin.post(f"/v1/runs/{run}/start")
        assert answer.json()["phase"] == "training"
        other = await checked(served, words)  # it answers all the while
        assert f"{run} is being trained" in message(await served.admin.post(f"/v1/runs/{other}/start"), 409)
        now = await seen(served, run, lambda now: now["step"] >= 3)
        assert now["steps"] == 1200
        assert "training about" in now["forecast"]
        assert all(point["loss"] > 0 for point in now["points"] if "loss" in point)
        assert (await shown(served, run, after=2))["points"][0]["step"] == 3

        await served.admin.post(f"/v1/runs/{run}/stop")
        stopped = await seen(served, run, lambda now: now["phase"] == "stopped")
        assert 3 <= stopped["step"] < 1200
        assert "nothing to stop" in message(await served.admin.post(f"/v1/runs/{run}/stop"), 409)

        await served.admin.post(f"/v1/runs/{run}/start")
        further = await seen(served, run, lambda now: now["step"] > stopped["step"])
        assert f"training: going on from step {stopped['step']} of 1200" in further["lines"]
        await served.admin.post(f"/v1/runs/{run}/stop")
        await seen(served, run, lambda now: now["phase"] == "stopped")

        await served.admin.post(f"/v1/runs/{other}/start")
        done = await seen(served, other, lambda now: now["phase"] == "done")
        assert done["verdict"]
        assert 0 <= done["scores"]["adapter"][next(iter(done["scores"]["adapter"]))]["value"] <= 1
        assert done["served"] is None
        bundle = served.one.root / done["bundle"] / "bundle"
        manifest = read_manifest(bundle)
        assert manifest["name"] == "post"
        served.place(f"{done['bundle']}/bundle", _opened(bundle))
        assert (await served.add(done["bundle"])).status_code == 201
        assert (await shown(served, other))["served"].startswith("post@")
        listed = (await served.admin.get("/v1/runs")).json()
        assert [one["phase"] for one in listed["runs"]] == ["done", "stopped"]
        assert listed["running"] is None


def _opened(path: Path) -> Any:
    from dataclasses import replace

    from fakes import opened

    return replace(opened("post", "new"), path=path)
