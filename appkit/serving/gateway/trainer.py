"""A gateway trains: words and files are sent, checked, and given to `appkit train`, one run at a time.

A run has a directory `trained/<id>` below the bundle root: its command's run directory. What is not the command's own
lies there in hidden files: the data, the words, and what the command printed. Nothing is kept in memory but the
process: after a restart all is there. How far a run is, its events tell.
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
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from appkit.data.readers import SUFFIXES
from appkit.runs.directory import STATE
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.overrides import check_overrides
from appkit.serving.gateway.redaction import without_directories, without_paths
from appkit.serving.gateway.run_report import Histories, log_tail, state_of
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
LINES = 40
MANY = 100
"""items of one kind in the report of a check"""
LARGEST = 8_000_000
"""bytes of such a report: one row can be as large as a file"""
APPKIT = (sys.executable, "-P", "-c", "from appkit.cli.main import main; main()")


class Trainer:
    """Trains runs below a bundle root. Raises Fault for what a caller can cause; tells no path of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.running: str | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._checks = asyncio.Semaphore(1)
        self._histories = Histories()

    # -- before training -----------------------------------------------------------------------------------------

    def new(self, words: Sequence[str]) -> str:
        """Make a run of these words; returns its id. Fault 400 for a word that is not allowed."""
        task = check_overrides(words)
        self._forget_drafts()
        run = f"{task}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        (self.root / FOLDER / run / DATA).mkdir(parents=True)
        self._note(run, words=list(words), files={}, checked=False)
        return run

    def _forget_drafts(self) -> None:
        drafts = [line["id"] for line in self.lines() if line["phase"] in ("new", "checked")]
        for run in drafts[DRAFTS - 1 :]:
            shutil.rmtree(self.root / FOLDER / run, ignore_errors=True)

    async def put(self, run: str, split: str, suffix: str, chunks: AsyncIterator[bytes]) -> None:
        """Store a file of rows under a name of the gateway's. Fault 400 for a kind that the readers do not know."""
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
        """Run `appkit data check` on words and files; a run that is sound may be started.

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
                    output, errors = await asyncio.gather(
                        _beginning(process.stdout, LARGEST + 1), _beginning(process.stderr, LARGEST)
                    )
                    await process.wait()
            except TimeoutError:
                raise Fault(504, f"the check took more than {CHECK_S:.0f} s; send fewer rows") from None
            finally:
                process.stdin.close()  # the guard ends what still runs
                await asyncio.gather(_beginning(process.stdout, 0), _beginning(process.stderr, 0))
                await process.wait()
        if len(output) > LARGEST:
            raise Fault(
                413, f"the report of the check has more than {LARGEST:,} bytes; send fewer or smaller rows"
            )
        try:
            report: dict[str, Any] = await asyncio.to_thread(json.loads, output)
        except ValueError:
            lines = [*self._lines(run, errors.decode(errors="replace")), "the check failed"]
            stated = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            raise Fault(422, (stated or lines)[0]) from None
        if self._rows(run) != rows:
            raise Fault(409, f"other rows came for {run} while it was checked; check again")
        self._note(run, checked=bool(report["ok"]))
        return {**without_directories(report), "id": run}

    def _rows(self, run: str) -> dict[str, int]:
        """List the files of rows, and when each was written."""
        files = (self.folder(run) / DATA).iterdir()
        return {file.name: file.stat().st_mtime_ns for file in files if file.suffix != PART}

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
            self._note(run, code=None, stopped=False, since=time.time())
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
        """Send ctrl-C: the command ends its step and saves; the second one ends it at once."""
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
        """Start an appkit command below the guard: it ends when this process does, however that ends."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "appkit.serving.engines.guard", *APPKIT, *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "APPKIT_PROGRESS_S": "inf"},
            start_new_session=True,  # a terminal's ctrl-C is for the gateway
        )

    # -- reports -------------------------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """List the ids of all runs, the newest first."""
        folder = self.root / FOLDER
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        runs = [name for name in names if ID.fullmatch(name) and (folder / name / NOTE).is_file()]
        return sorted(runs, key=lambda name: name.split("-", 1)[1], reverse=True)

    def folder(self, run: str) -> Path:
        """The directory of a run. Fault 404 for what is no run."""
        folder = self.root / FOLDER / run
        if not ID.fullmatch(run) or not (folder / NOTE).is_file():
            raise Fault(404, f"no run {run[:80]!r}; GET /v1/runs lists them")
        return folder

    def phase(self, run: str) -> str:
        """The phase of a run: new, checked, training, stopping, stopped, failed or done."""
        noted, folder = self._noted(run), self.folder(run)
        if run == self.running:
            return "stopping" if noted.get("stopped") else "training"
        if state_of(folder).get("phase") == "done":
            return "done"
        if not (folder / LOG).exists():
            return "checked" if noted["checked"] else "new"
        # without a code the gateway ended while it was trained
        return "stopped" if noted.get("stopped") or noted.get("code") is None else "failed"

    def lines(self) -> list[dict[str, Any]]:
        """List all runs, the newest first."""
        lines = []
        for run in self.ids():
            with suppress(Fault):  # a draft that goes just now
                lines.append(self.line(run))
        return lines

    def line(self, run: str) -> dict[str, Any]:
        """Describe a run as an entry of a list."""
        state = state_of(self.folder(run))
        return {"id": run, "task": run.split("-")[0], "phase": self.phase(run), "score": state.get("score")}

    async def show(self, run: str, after: int) -> dict[str, Any]:
        """Describe a run in full; points: of its curve, behind step `after`."""
        folder, noted = self.folder(run), self._noted(run)
        phase = self.phase(run)  # before the rest, so that a run that is told to be done is told in full
        running = phase in ("training", "stopping")

        def read() -> tuple[dict[str, Any], list[str]]:
            report = self._histories.report(folder, after, running=running, since=noted.get("since", 0.0))
            return report, self._lines(run, log_tail(folder / LOG))

        report, lines = await asyncio.to_thread(read)
        error = next(iter(self._lines(run, report["error"] or "")), None)
        if error is None:  # a command that ends before it records anything prints its error last
            error = (lines or ["it printed nothing"])[-1].removeprefix("error: ")
        state = state_of(folder)
        return (
            self.line(run)
            | report
            | {
                "phase": phase,
                "words": noted["words"],
                "files": sorted(noted["files"]),
                "lines": lines[-LINES:],
                "error": error if phase == "failed" else None,
                "verdict": state.get("verdict"),
                "scores": {who: entry["metrics"] for who, entry in (state.get("results") or {}).items()},
                "bundle": f"{FOLDER}/{run}" if phase == "done" else None,
            }
        )

    def _lines(self, run: str, text: str) -> list[str]:
        """Split a text into lines, without a path of this machine."""
        folder = self.root / FOLDER / run
        places = ((f"{folder / DATA}/", ""), (str(folder), f"{FOLDER}/{run}"), (f"{self.root}/", ""))
        return list(without_paths(text, *places))

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
    """Read up to so many bytes, and drop the rest: a process does not end for asyncio before all is read."""
    beginning = bytearray()
    while piece := await stream.read(65_536):
        beginning += piece[: most - len(beginning)]
    return bytes(beginning)
