"""Runs that a gateway owns: words and files that were sent, checked, and trained by `appkit train`, one run at a time.

Each has a directory `trained/<id>` below the bundle root. What is not the trainer's own lies there in hidden files: the
data, the words, and what the commands said. Nothing is kept in memory but the process: after a restart all is there.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from appkit.data.readers import SUFFIXES
from appkit.errors import RunError
from appkit.runs.directory import STATE, read_state
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.run_words import allowed
from appkit.storage.atomic import write_text

__all__ = ["Trainer"]

FOLDER = "trained"
DATA, NOTE, LOG = ".data", ".asked.json", ".train.log"
PART = ".part"
"""of a file of rows that is still coming"""
ID = re.compile(r"[a-z]\w{0,63}-\d{8}-\d{6}-[0-9a-f]{4}")
DRAFTS = 8
"""runs that were never started, the newest; others go, with their files"""
CHECK_S = 90.0
CLOSE_S = 20.0
"""for a run to save its state when the gateway ends"""
HEAD, TAIL = 16_000, 48_000
"""bytes of what a run said that are looked at, at either end"""
LINES = 40
POINTS = 500
"""of a curve: of a longer one every second, third, ... is shown"""
MANY = 100
"""items of one kind in the report of a check"""
LARGEST = 8_000_000
"""bytes of such a report: one row can be as large as a file"""
APPKIT = (sys.executable, "-P", "-c", "from appkit.cli.main import main; main()")

ANYWHERE = re.compile(r"(?<![\w/.:<])/(?:[^\s/'\",:;()]+/)+")
"""an absolute path, but for its last part"""
PLACE = re.compile(r"/(?:[^/]+/)+(?=[^/]+:\d+$)")
STEPS = re.compile(r"training: (from the start, |going on from step \d+ of )(?P<steps>\d+)( steps)?")
PROGRESS = re.compile(r"(?P<title>[\w ,()-]+): (?P<done>\d+)/(?P<total>\d+) (?P<unit>\w+)(?P<rest> · .*)")


class Trainer:
    """root: of the bundles. Its methods raise Fault for what a caller can cause; no path of this machine is told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.running: str | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._checks = asyncio.Semaphore(1)

    # -- before training -----------------------------------------------------------------------------------------

    def new(self, words: Sequence[str]) -> str:
        """A run that these words describe; its id. Fault 400 for a word that is not allowed."""
        task = allowed(words)
        self._forget_drafts()
        run = f"{task}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        (self.root / FOLDER / run / DATA).mkdir(parents=True)
        self._note(run, words=list(words), files={}, checked=False)
        return run

    def _forget_drafts(self) -> None:
        drafts = [one["id"] for one in self.lines() if one["phase"] in ("new", "checked")]
        for run in drafts[DRAFTS - 1 :]:
            shutil.rmtree(self.root / FOLDER / run, ignore_errors=True)

    async def put(self, run: str, split: str, suffix: str, chunks: AsyncIterator[bytes]) -> None:
        """Keep a file of rows under a name of ours. Fault 400 for another kind than the readers know."""
        if suffix not in SUFFIXES:
            raise Fault(
                400, f"rows come as {', '.join(SUFFIXES)}, got {suffix[:20]!r}; convert or rename the file"
            )
        early = {"remedy": "make another one for other rows"}
        self._in(run, "new", "checked", **early)
        file = self.folder(run) / DATA / f"{split}{suffix}"
        # another one may come at the same time
        part = file.with_name(f"{split}-{secrets.token_hex(8)}{PART}")
        try:
            with part.open("wb") as handle:
                async for chunk in chunks:
                    handle.write(chunk)
            self._in(run, "new", "checked", **early)  # it may have been started while they came
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        files = self._noted(run)["files"]
        if files.get(split, file.name) != file.name:
            file.with_name(files[split]).unlink(missing_ok=True)
        self._note(run, files=files | {split: file.name}, checked=False)

    async def check(self, run: str) -> dict[str, Any]:
        """What `appkit data check` says of words and files; a run that is sound may be started.

        Fault 422 with its line when they cannot even be read, 504 when it takes too long.
        """
        self._in(run, "new", "checked", remedy="its rows were checked before it was started")
        self._note(run, checked=False)
        noted, rows = self._noted(run), self._rows(run)
        words = [*noted["words"], *(f"data.{split}={file}" for split, file in noted["files"].items())]
        async with self._checks:
            # from within the folder: places of rows are then told by the files' names alone
            process = await self._started(
                ["data", "check", "--json", "--most", str(MANY), "--", *words],
                run,
                cwd=self.folder(run) / DATA,
                stdout=asyncio.subprocess.PIPE,
            )
            assert process.stdin
            assert process.stdout
            assert process.stderr
            try:
                async with asyncio.timeout(CHECK_S):
                    said, errors = await asyncio.gather(
                        _beginning(process.stdout, LARGEST + 1), _beginning(process.stderr, LARGEST)
                    )
                    await process.wait()
            except TimeoutError:
                raise Fault(504, f"the check took more than {CHECK_S:.0f} s; send fewer rows") from None
            finally:
                process.stdin.close()  # the guard ends what still runs
                await asyncio.gather(_beginning(process.stdout, 0), _beginning(process.stderr, 0))
                await process.wait()
        if len(said) > LARGEST:
            raise Fault(
                413, f"the report of the check has more than {LARGEST:,} bytes; send fewer or smaller rows"
            )
        try:
            report: dict[str, Any] = await asyncio.to_thread(json.loads, said)
        except ValueError:
            lines = [*self._told(run, errors.decode(errors="replace")), "the check failed"]
            found = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            raise Fault(422, (found or lines)[0]) from None
        if self._rows(run) != rows:
            raise Fault(409, f"other rows came for {run} while it was checked; check again")
        self._note(run, checked=bool(report["ok"]))
        return {**_named(report), "id": run}

    def _rows(self, run: str) -> dict[str, int]:
        """Its files and when each was written."""
        files = (self.folder(run) / DATA).iterdir()
        return {one.name: one.stat().st_mtime_ns for one in files if one.suffix != PART}

    # -- training ------------------------------------------------------------------------------------------------

    async def start(self, run: str) -> None:
        """Begin a checked run, or go on with one that was stopped or failed. Fault 409 while another one is trained."""
        self._in(run, "checked", "stopped", "failed", remedy="check the data first, or take another run")
        if self.running:
            raise Fault(409, f"{self.running} is being trained, one run at a time; wait for it, or stop it")
        self.running = run
        folder, noted = self.folder(run), self._noted(run)
        if (folder / STATE).exists():
            words = ["train", "--resume", str(folder)]
        else:
            rows = [f"data.{split}={folder / DATA / file}" for split, file in noted["files"].items()]
            words = ["train", "--", *noted["words"], *rows, f"run_dir={folder}"]
        try:
            self._note(run, code=None, stopped=False)
            with (folder / LOG).open("ab") as log:
                self._process = await self._started(
                    words, run, cwd=folder, stdout=log, stderr=asyncio.subprocess.STDOUT
                )
        except BaseException:
            self.running = None
            raise
        self._watch = asyncio.create_task(self._until_ended(run, self._process))

    async def _until_ended(self, run: str, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        self.running = self._process = None
        self._note(run, code=code)

    async def stop(self, run: str) -> None:
        """As ctrl-C: the trainer ends its step and saves; asked again, it ends at once."""
        if run != self.running or self._process is None:
            raise Fault(409, f"{run} is not being trained; there is nothing to stop")
        assert self._process.stdin
        self._note(run, stopped=True)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(b"\x03")
            await self._process.stdin.drain()

    async def close(self) -> None:
        """End what runs: with its state saved if that does not take long."""
        process, watch = self._process, self._watch
        if process is None or watch is None or self.running is None:
            return
        assert process.stdin
        if not self._noted(self.running).get("stopped"):  # asked again, it would end unsaved
            await self.stop(self.running)
        await asyncio.wait([watch], timeout=CLOSE_S)
        process.stdin.close()
        await watch

    async def _started(
        self, words: Sequence[str], run: str, *, cwd: Path, stdout: Any, stderr: Any = asyncio.subprocess.PIPE
    ) -> asyncio.subprocess.Process:
        """An appkit command below the guard: it ends when this process does, however it ends."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "appkit.serving.engines.guard", *APPKIT, *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "APPKIT_PROGRESS_S": "5"},
            start_new_session=True,  # a terminal's ctrl-C is for the gateway
        )

    # -- what is told --------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Of all runs, the newest first."""
        folder = self.root / FOLDER
        found = [one.name for one in folder.iterdir()] if folder.is_dir() else []
        found = [name for name in found if ID.fullmatch(name) and (folder / name / NOTE).is_file()]
        return sorted(found, key=lambda name: name.split("-", 1)[1], reverse=True)

    def folder(self, run: str) -> Path:
        """Fault 404 for what is no run."""
        folder = self.root / FOLDER / run
        if not ID.fullmatch(run) or not (folder / NOTE).is_file():
            raise Fault(404, f"no run {run[:80]!r}; GET /v1/runs lists them")
        return folder

    def phase(self, run: str) -> str:
        """new, checked, training, stopping, stopped, failed or done."""
        noted, folder = self._noted(run), self.folder(run)
        if run == self.running:
            return "stopping" if noted.get("stopped") else "training"
        if _state(folder).get("phase") == "done":
            return "done"
        if not (folder / LOG).exists():
            return "checked" if noted["checked"] else "new"
        # without a code the gateway ended while it was trained
        return "stopped" if noted.get("stopped") or noted.get("code") is None else "failed"

    def lines(self) -> list[dict[str, Any]]:
        """All runs, the newest first."""
        found = []
        for run in self.ids():
            with suppress(Fault):  # a draft that goes just now
                found.append(self.line(run))
        return found

    def line(self, run: str) -> dict[str, Any]:
        """A run in a list."""
        state = _state(self.folder(run))
        return {"id": run, "task": run.split("-")[0], "phase": self.phase(run), "score": state.get("score")}

    async def show(self, run: str, after: int) -> dict[str, Any]:
        """All there is to see of a run; points: of its curve, behind step `after`."""
        folder, noted = self.folder(run), self._noted(run)
        lines, points = await asyncio.to_thread(lambda: (self._lines(run), _points(folder, after)))
        state, phase = _state(folder), self.phase(run)
        forecast = [line for line in lines if line.startswith("forecast: ")]
        return self.line(run) | {
            "words": noted["words"],
            "files": sorted(noted["files"]),
            "lines": lines[-LINES:],
            "progress": _progress(lines) if phase in ("training", "stopping") else None,
            "step": max((point["step"] for point in points), default=after),
            "steps": _steps(lines),
            "forecast": forecast[-1].removeprefix("forecast: ") if forecast else None,
            "points": points,
            "error": (lines or ["it said nothing"])[-1].removeprefix("error: ")
            if phase == "failed"
            else None,
            "verdict": state.get("verdict"),
            "scores": {who: one["metrics"] for who, one in (state.get("results") or {}).items()},
            "bundle": f"{FOLDER}/{run}" if phase == "done" else None,
        }

    def _lines(self, run: str) -> list[str]:
        """The last lines of what a run said; of a bar that wrote its line again and again the last one."""
        try:
            with (self.folder(run) / LOG).open("rb") as handle:
                said = handle.read(HEAD)
                handle.seek(max(len(said), handle.seek(0, os.SEEK_END) - TAIL))
                said += handle.read()
        except FileNotFoundError:
            return []
        kept: list[str] = []
        for line in self._told(run, said.decode(errors="replace")):
            bar = PROGRESS.fullmatch(line)
            before = PROGRESS.fullmatch(kept[-1]) if kept else None
            if bar and before and bar["title"] == before["title"]:
                kept.pop()
            kept.append(line)
        return kept

    def _told(self, run: str, said: str) -> Iterator[str]:
        """Lines without a path of this machine."""
        folder = self.root / FOLDER / run
        for line in said.splitlines():
            line = line.replace(f"{folder / DATA}/", "").replace(str(folder), f"{FOLDER}/{run}")
            line = ANYWHERE.sub("…/", line.replace(f"{self.root}/", "")).rstrip()
            if line.strip():
                yield line

    # -- notes ---------------------------------------------------------------------------------------------------

    def _in(self, run: str, *phases: str, remedy: str) -> None:
        if (phase := self.phase(run)) not in phases:
            raise Fault(409, f"{run} is {phase}; {remedy}")

    def _noted(self, run: str) -> dict[str, Any]:
        noted: dict[str, Any] = json.loads((self.folder(run) / NOTE).read_text(encoding="utf-8"))
        return noted

    def _note(self, run: str, **values: Any) -> None:
        file = self.root / FOLDER / run / NOTE
        before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        write_text(file, json.dumps(before | values, ensure_ascii=False))


async def _beginning(stream: asyncio.StreamReader, most: int) -> bytes:
    """Up to so many bytes. The rest is read too, and dropped: a process does not end for asyncio before all is read."""
    kept = bytearray()
    while piece := await stream.read(65_536):
        kept += piece[: most - len(kept)]
    return bytes(kept)


def _state(folder: Path) -> dict[str, Any]:
    """Of the run itself; empty before it has one."""
    try:
        return read_state(folder)
    except RunError:
        return {}


def _points(folder: Path, after: int) -> list[dict[str, float]]:
    """Loss and dev metrics by step."""
    points = []
    with suppress(FileNotFoundError), (folder / "metrics.jsonl").open(encoding="utf-8") as handle:
        for line in handle:
            with suppress(ValueError):  # the line that is just being written
                entry = json.loads(line)
                if entry["step"] > after:
                    points.append(
                        {k: v for k, v in entry.items() if k in ("step", "loss") or k.startswith("eval_")}
                    )
    curve = [point for point in points if "loss" in point]
    every = -(-len(curve) // POINTS) or 1
    return [point for point in points if "loss" not in point] + curve[::-every][::-1]


def _steps(lines: Sequence[str]) -> int | None:
    """How many there are in all, once that is known."""
    found = [match for match in map(STEPS.fullmatch, lines) if match]
    return int(found[-1]["steps"]) if found else None


def _progress(lines: Sequence[str]) -> dict[str, Any] | None:
    """The bar that was written last: what, done, total, unit, and a note with speed and time."""
    found = [match for match in map(PROGRESS.fullmatch, lines) if match]
    if not found:
        return None
    bar = found[-1]
    return {
        "title": bar["title"],
        "done": int(bar["done"]),
        "total": int(bar["total"]),
        "unit": bar["unit"],
        "note": bar["rest"].removeprefix(" · "),
    }


def _named(value: Any) -> Any:
    """Places of rows by the name of their file: where it lies on this machine is nothing to tell."""
    if isinstance(value, dict):
        return {
            key: Path(one).name if key == "file" and isinstance(one, str) else _named(one)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [_named(one) for one in value]
    return PLACE.sub("", value) if isinstance(value, str) and PLACE.match(value) else value
