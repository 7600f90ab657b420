"""Training through the gateway: a real gateway, the real command in its own process, a tiny base."""

from __future__ import annotations

import asyncio
import functools
import gzip
import io
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import appkit_data
import httpx
import psutil
import pyarrow.parquet
import pytest
from fakes import Served, deployment, gateway, until
from tiny import save_tiny

from appkit.bundles.manifest import read_manifest
from appkit.serving.gateway import overrides
from appkit.serving.gateway import trainer as module
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.keys import add_key
from appkit.serving.gateway.trainer import DRAFTS, Trainer

ROWS = [{"text": f"{word} number {n}", "label": word} for n in range(12) for word in ("ham", "spam")]
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
    monkeypatch.setattr(overrides, "local_models", lambda: [str(base), "smollm2-135m"])
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
        served.one.trainer = Trainer(served.one.root, served.one.settings)
        served.admin.timeout = 100  # a check imports what it needs, on a machine that is busy
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


@within(300)
async def test_rows_are_checked_trained_stopped_gone_on_with_and_served(
    tmp_path: Path, words: list[str]
) -> None:
    async with trainable(tmp_path) as served:
        run = await made(served, [*words, "train.epochs=200", "train.save_steps=100"])
        assert "check the data first" in message(await served.admin.post(f"/v1/runs/{run}/start"), 409)
        report = (await served.admin.post(f"/v1/runs/{run}/check")).json()
        assert report["ok"]
        assert report["rows"] == {"train": len(ROWS)}
        assert report["counts"]["faults"] == 0
        assert await phases(served) == ["checked"]

        answer = await served.admin.post(f"/v1/runs/{run}/start")
        assert answer.json()["phase"] == "training"
        other = await made(served, words)
        served.one.trainer._write_note(other, checked=True)
        assert f"{run} is being trained" in message(await served.admin.post(f"/v1/runs/{other}/start"), 409)
        now = await seen(served, run, lambda now: now["step"] >= 3)
        assert now["steps"] == 400
        assert "training about" in now["forecast"]
        assert all(point["loss"] > 0 for point in now["points"])
        assert (await shown(served, run, after=2))["points"][0]["step"] == 3

        await served.admin.post(f"/v1/runs/{run}/stop")
        stopped = await seen(served, run, lambda now: now["phase"] == "stopped")
        assert 3 <= stopped["step"] < 400
        assert stopped["bundle"] is None
        assert "nothing to stop" in message(await served.admin.post(f"/v1/runs/{run}/stop"), 409)

        await served.admin.post(f"/v1/runs/{run}/start")
        done = await seen(served, run, lambda now: now["phase"] == "done")
        assert f"training: going on from step {stopped['step']} of 400" in done["lines"]
        assert [point["step"] for point in done["points"]] == list(range(1, 401))
        assert done["verdict"]
        assert {"majority", "adapter"} <= done["scores"].keys()
        assert done["served"] is None
        assert "is done" in message(await served.admin.post(f"/v1/runs/{run}/start"), 409)
        bundle = served.one.root / done["bundle"] / "bundle"
        assert read_manifest(bundle)["name"] == "post"
        served.bundles[f"{done['bundle']}/bundle"] = replace(deployment("post", "new"), path=bundle)
        assert (await served.add(done["bundle"])).status_code == 201
        assert (await shown(served, run))["served"].startswith("post@")
        # all is on disk: another gateway knows as much
        assert Trainer(served.one.root).phase(run) == "done"


async def phases(served: Served) -> list[str]:
    return [one["phase"] for one in (await served.admin.get("/v1/runs")).json()["runs"]]


# --- what is refused --------------------------------------------------------------------------------------

PLACES = [
    "data.train=/etc/passwd",
    "data={train: /etc/passwd}",
    "data.feedback=store.sqlite",
    "run_dir=/tmp/elsewhere",
    "run_dir=elsewhere",
    "model=/",
    "model=org/name",
    "model={name: smollm2-135m, source: directory, id: /}",
    "model.id=/",
    "train={name: quick, trackers: [wandb]}",
    "train.trackers=[wandb]",
    "train=../quick",
    "task.separator=/etc/passwd",
    "task={separator: ../../secrets}",
    "method.targets=[/etc/passwd]",
    "data.columns.text=~/notes",
    "name=../../elsewhere",
    "threads=1",
    "--config=run.yaml",
    "no word",
    "method.targets=[[/etc/passwd]]",
    "task.x=[{a: /etc/passwd}]",
    "data.columns.text=a\0b",
    "data.columns.text=a\x7fb",
]


@within(60)
async def test_a_word_that_names_a_place_is_refused_in_one_line(tmp_path: Path, words: list[str]) -> None:
    async with trainable(tmp_path) as served:
        for word in PLACES:
            answer = await served.admin.post("/v1/runs", json={"words": [*words, word]})
            assert message(answer, 400), word
        assert "task is missing" in message(
            await served.admin.post("/v1/runs", json={"words": ["seed=1"]}), 400
        )
        assert not (served.root / "trained").exists()
        good = [
            "task.separator=/",
            "data.columns.text=body",
            "train.epochs=2",
            "decoding.top_k=3",
            "head.dropout=0.1",
        ]
        assert (await served.admin.post("/v1/runs", json={"words": [*words, *good]})).status_code == 201


@within(60)
async def test_only_an_admin_key_and_only_below_a_root(tmp_path: Path, words: list[str]) -> None:
    async with trainable(tmp_path) as served:
        run = await made(served, words)
        calls = [
            ("GET", "/v1/runs"),
            ("POST", "/v1/runs"),
            ("GET", f"/v1/runs/{run}"),
            ("PUT", f"/v1/runs/{run}/rows/train"),
            *(("POST", f"/v1/runs/{run}/{what}") for what in ("check", "start", "stop")),
        ]
        for method, path in calls:
            message(await served.http.request(method, path, json={"words": words}), 403)
            message(await httpx.AsyncClient(base_url=served.url).request(method, path), 401)
        for unknown in ("x", "..", f"{run}0", "nl2fol-20260101-000000-abcd"):
            answer = await served.admin.get(f"/v1/runs/{unknown}")
            assert answer.status_code == 404, unknown
        served.one.trainer, kept = None, served.one.trainer
        for method, path in calls:
            answer = await served.admin.request(method, path, json={"words": words})
            assert "--bundles DIR" in message(answer, 409)
        served.one.trainer = kept


@within(60)
async def test_files_have_a_limit_a_kind_and_a_name_of_ours(tmp_path: Path, words: list[str]) -> None:
    async with trainable(tmp_path, max_upload=2000) as served:
        run = await made(served, words, None)
        rows = f"/v1/runs/{run}/rows"
        data = served.root / "trained" / run / ".data"

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"text,label\n"[:11] * 10

        assert "serve.max_upload" in message(
            await served.admin.put(f"{rows}/train", content=bytes(2001)), 413
        )
        assert "serve.max_upload" in message(await served.admin.put(f"{rows}/train", content=endless()), 413)
        for kind in (".exe", "../x.csv", "csv", ""):
            message(await served.admin.put(f"{rows}/train", params={"kind": kind}, content=b"x"), 400)
        message(await served.admin.put(f"{rows}/feedback", content=b"x"), 400)
        assert list(data.iterdir()) == []
        for kind in (".CSV", ".jsonl"):
            await served.admin.put(f"{rows}/train", params={"kind": kind}, content=b"x")
        assert [file.name for file in data.iterdir()] == ["train.jsonl"]


@within(120)
async def test_a_packed_file_is_checked_as_a_plain_one_is(tmp_path: Path, words: list[str]) -> None:
    async with trainable(tmp_path, max_upload=4000, max_unpacked=40_000) as served:
        run = await made(served, [*words, "data.delimiter=;"], None)
        rows, data = f"/v1/runs/{run}/rows", served.root / "trained" / run / ".data"
        bomb = gzip.compress(b"\n" * 400_000)
        assert len(bomb) < 4000
        await served.admin.put(f"{rows}/train", params={"kind": ".csv.gz"}, content=bomb)
        answer = await served.admin.post(f"/v1/runs/{run}/check")
        assert re.search("more than 40,000 bytes .*serve.max_unpacked", message(answer, 422))
        message(await served.admin.put(f"{rows}/train", params={"kind": ".parquet.gz"}, content=b"x"), 400)
        for content, fault in ((b"no gzip", True), (gzip.compress(CSV.replace(b",", b";")), False)):
            put = await served.admin.put(f"{rows}/train", params={"kind": ".CSV.gz"}, content=content)
            assert put.status_code == 200, put.text
            assert [file.name for file in data.iterdir()] == ["train.csv.gz"]
            answer = await served.admin.post(f"/v1/runs/{run}/check")
            if fault:
                assert "is not a sound gzip file" in message(answer, 422)
            else:
                assert answer.json()["rows"] == {"train": len(ROWS)}


async def interleaved(trainer: Trainer, run: str, *kinds: str) -> list[bytes]:
    """Files of one split that come at the same time, a piece of each in turn; what they hold."""
    contents = [bytes([97 + number]) * 90 for number in range(len(kinds))]

    async def chunks(content: bytes) -> AsyncIterator[bytes]:
        for place in range(0, len(content), 10):
            yield content[place : place + 10]
            await asyncio.sleep(0)

    await asyncio.gather(
        *(trainer.put(run, "train", kind, chunks(one)) for kind, one in zip(kinds, contents, strict=True))
    )
    return contents


@within(20)
async def test_files_that_come_at_once_are_not_mixed(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for kinds in ((".csv", ".csv", ".csv"), (".csv", ".jsonl")):
        run = trainer.new(["task=nl2fol"])
        contents = await interleaved(trainer, run, *kinds)
        (file,) = (trainer.folder(run) / ".data").iterdir()
        assert file.read_bytes() in contents
        assert trainer._read_note(run)["files"] == {"train": file.name}


@within(20)
async def test_a_file_that_comes_after_the_start_changes_nothing(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    run = trainer.new(["task=nl2fol"])
    await interleaved(trainer, run, ".csv")

    async def late() -> AsyncIterator[bytes]:
        yield b"other"
        trainer.running = run

    with pytest.raises(Fault, match="is training") as refused:
        await trainer.put(run, "train", ".csv", late())
    assert refused.value.status == 409
    (file,) = (trainer.folder(run) / ".data").iterdir()
    assert file.read_bytes() == b"a" * 90


@within(120)
async def test_rows_that_are_none_are_told_by_place_and_cannot_be_trained_on(
    tmp_path: Path, words: list[str]
) -> None:
    async with trainable(tmp_path) as served:
        zipped = await made(served, words, b"PK\x03\x04" + bytes(200))
        answer = await served.admin.post(f"/v1/runs/{zipped}/check")
        assert message(answer, 422).startswith("'train.csv' is a zip archive")
        bad = await made(served, words, CSV + b"no label,\nham,ham\n,\n" + CSV.splitlines()[1] + b"\n")
        report = (await served.admin.post(f"/v1/runs/{bad}/check")).json()
        assert not report["ok"]
        places = [(one["file"], one["line"], one["field"], one["reason"]) for one in report["faults"]]
        assert ("train.csv", len(ROWS) + 2, "label", "is empty") in places
        assert report["counts"]["duplicates"] == 1
        for run in (zipped, bad):
            assert "check the data first" in message(await served.admin.post(f"/v1/runs/{run}/start"), 409)


def pack(rows: int, text: str) -> bytes:
    """A Parquet file that holds the text once, for all of its rows."""
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": [text] * rows, "label": ["ham"] * rows}), file)
    return file.getvalue()


@within(300)
async def test_a_small_file_that_unpacks_to_gigabytes_is_refused_in_one_line(
    tmp_path: Path, words: list[str]
) -> None:
    async with trainable(tmp_path, max_unpacked=1_000_000, max_rows=2000) as served:
        for content, kind, reason in (
            (
                pack(2001, "a"),
                ".parquet",
                "'train.parquet' has more than 2,000 rows or lines, .*serve.max_rows",
            ),
            (pack(2000, "a" * 10_000), ".parquet", "more than 1,000,000 bytes when .*serve.max_unpacked"),
            (b"text,label\n" + b"\n" * 2000, ".csv", "more than 2,000 rows or lines"),
            (b"text,label\n" + b"a" * 10**6, ".csv", "more than 1,000,000 bytes"),
        ):
            assert len(content) < 1_100_000
            run = await made(served, words, content, kind)
            assert re.search(reason, message(await served.admin.post(f"/v1/runs/{run}/check"), 422))
            assert "check the data first" in message(await served.admin.post(f"/v1/runs/{run}/start"), 409)
        run = await made(served, words, pack(20, "a" * 100), ".parquet")
        report = (await served.admin.post(f"/v1/runs/{run}/check")).json()
        assert report["rows"] == {"train": 20}


@within(200)
async def test_a_check_tells_no_path_of_the_machine(tmp_path: Path, words: list[str]) -> None:
    async with trainable(tmp_path) as served:
        texts = [f'"{row["text"]}' if n % 3 else row["text"] for n, row in enumerate(ROWS)]
        rows = "text\tlabel\n" + "".join(f"{text}\tham\n" for text in [*texts, texts[0]])
        noted = await made(served, words, rows.encode(), ".tsv")
        shipped = await made(served, words, None)
        report = await served.admin.post(f"/v1/runs/{noted}/check")
        assert "train: train.tsv: in 16 rows a quote" in report.json()["notes"][0]
        assert report.json()["duplicates"]["train"] == [["train.tsv:2", "train.tsv:26"]]
        for answer in (report, await served.admin.post(f"/v1/runs/{shipped}/check")):
            assert answer.status_code == 200, answer.text
            for hidden in (
                served.one.root,
                tmp_path,
                Path(appkit_data.__file__).parent,
                Path.cwd(),
                Path.home(),
            ):
                assert str(hidden) not in answer.text


@within(60)
async def test_a_check_that_gets_no_memory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(tmp_path)
    run = trainer.new(["task=nl2fol"])
    for script, reason in (
        (
            "import os; os.abort()",
            "ended by signal 6; it may need more than 4 GiB of memory .serve.check_gib",
        ),
        ("exit('error: the check needs more than 4 GiB')", "^the check needs more than 4 GiB$"),
        ("exit(1)", "^the check failed$"),
    ):
        monkeypatch.setattr(module, "APPKIT", (sys.executable, "-c", script))
        with pytest.raises(Fault, match=reason) as refused:
            await trainer.check(run)
        assert refused.value.status == 422


@within(60)
async def test_a_report_is_bounded_wherever_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(tmp_path)
    run = trainer.new(["task=nl2fol"])
    monkeypatch.setattr(module, "APPKIT", (sys.executable, "-c", "print('x' * 30_000_000)"))
    with pytest.raises(Fault, match="more than 8,000,000 bytes; send fewer or smaller rows") as refused:
        await trainer.check(run)
    assert refused.value.status == 413
    echo = "import json, sys; print(json.dumps({'ok': True, 'words': sys.argv[1:]}))"
    monkeypatch.setattr(module, "APPKIT", (sys.executable, "-c", echo))
    assert (await trainer.check(run))["words"][:5] == ["data", "check", "--json", "--most", "100"]


def test_drafts_do_not_pile_up(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    made = [trainer.new(["task=nl2fol"]) for _ in range(DRAFTS + 3)]
    assert len(trainer.ids()) == DRAFTS
    assert made[-1] in trainer.ids()


# --- how it ends ------------------------------------------------------------------------------------------

OWNER = """
import asyncio, sys
from pathlib import Path
from appkit.serving.gateway.trainer import Trainer

async def main():
    trainer = Trainer(Path(sys.argv[1]))
    await trainer.start(sys.argv[2])
    print("started", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.usefixtures("cold")
def test_nothing_is_left_when_the_gateway_is_killed(tmp_path: Path, words: list[str]) -> None:
    trainer = Trainer(tmp_path)
    run = trainer.new([*words, *SAVING])
    (trainer.folder(run) / ".data" / "train.csv").write_bytes(CSV)
    trainer._write_note(run, checked=True, files={"train": "train.csv"})
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path), run], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"started\n"
    family = psutil.Process(owner.pid).children(recursive=True)
    while len(family) < 2:  # the guard, and what it guards
        family = psutil.Process(owner.pid).children(recursive=True)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    assert trainer.phase(run) == "stopped"  # and can go on


FAILS = """
import os
from pathlib import Path
from appkit.runs.events import Events, Failed
if not Path("again").exists():
    Events(Path.cwd()).write(Failed(reason=f"no space for {Path.cwd()}/checkpoints; free some"))
    Path("again").touch()
print("data: 8 rows")
exit("error: the rows of " + str(Path.cwd() / ".data" / "train.csv") + " changed")
"""


@within(60)
async def test_a_run_that_failed_says_why_once_it_recorded_it_and_otherwise_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "APPKIT", (sys.executable, "-c", FAILS))
    trainer = Trainer(tmp_path)
    run = trainer.new(["task=nl2fol"])
    trainer._write_note(run, checked=True)
    for reason in (f"no space for trained/{run}/checkpoints; free some", "the rows of train.csv changed"):
        await trainer.start(run)
        await until(lambda: trainer.phase(run) == "failed")
        now = await trainer.show(run, 0)
        assert now["error"] == reason
        assert now["lines"][-2:] == ["data: 8 rows", "error: the rows of train.csv changed"]


SAVES = """
import signal, time
from pathlib import Path
asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append(1) if not asked else exit(1))
print("ready", flush=True)
while not asked:
    time.sleep(0.01)
Path("saving").touch()
time.sleep(1)
Path("saved").touch()
"""


@within(60)
async def test_a_run_that_is_saving_is_left_to_it_when_the_gateway_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "APPKIT", (sys.executable, "-c", SAVES))
    trainer = Trainer(tmp_path)
    run = trainer.new(["task=nl2fol"])
    trainer._write_note(run, checked=True)
    await trainer.start(run)
    folder = trainer.folder(run)
    await until(lambda: "ready" in (folder / ".train.log").read_text())
    await trainer.stop(run)
    await until((folder / "saving").exists)
    await trainer.close()
    assert (folder / "saved").exists()
