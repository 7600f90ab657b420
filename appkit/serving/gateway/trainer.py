"""Trains for callers of a gateway: takes words and files, checks them, and runs `appkit train`, one run at a time.

A run has a directory `trained/<id>` below the bundle root: its command's run directory. Hidden files in it hold the
data, the words, and what the command printed. Only the process is kept in memory, so that a restart loses nothing. A
run's progress is read from its events.
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

from appkit.bundles.files import open_file
from appkit.data.lines import PACKABLE, SUFFIXES
from appkit.errors import BundleError
from appkit.runs.directory import STATE
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.overrides import check_overrides
from appkit.serving.gateway.redaction import without_directories, without_paths
from appkit.serving.gateway.run_report import Histories, log_tail, state_of
from appkit.serving.gateway.settings import Settings
from appkit.storage.atomic import write_text

__all__ = ["Trainer"]

FOLDER = "trained"
DATA, NOTE, LOG = ".data", ".asked.json", ".train.log"
PART = ".part"
"""suffix of a file of rows that is still being received"""
ID = re.compile(r"[a-z]\w{0,63}-\d{8}-\d{6}-[0-9a-f]{4}")
DRAFTS = 8
"""most runs that were never started; older ones are deleted with their files"""
CHECK_S = 90.0
SIGNALLED = 128
"""the guard adds it to the number of the signal that ended a command"""
CLOSE_S = 20.0
"""seconds that a run gets to save its state when the gateway ends"""
LINES = 40
MANY = 100
"""items of one kind in the report of a check"""
LARGEST = 8_000_000
"""most bytes of such a report: one row can be as large as a file"""
DEFAULTS = Settings()
APPKIT = (sys.executable, "-P", "-c", "from appkit.cli.main import main; main()")


class Trainer:
    """Trains runs below a bundle root. Raises Fault for errors of callers; messages name no path of this machine."""

    def __init__(self, root: Path, settings: Settings = DEFAULTS) -> None:
        """settings: limits of what a check reads, and of its memory."""
        self.root, self.settings = root, settings
        self.running: str | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._checks = asyncio.Semaphore(1)
        self._histories = Histories()

    # -- before training -----------------------------------------------------------------------------------------

    def new(self, words: Sequence[str]) -> str:
        """Makes a run of these words; returns its id. Fault 400 for a word that is not allowed."""
        task = check_overrides(words)
        self._forget_drafts()
        run = f"{task}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        (self.root / FOLDER / run / DATA).mkdir(parents=True)
        self._write_note(run, words=list(words), files={}, checked=False)
        return run

    def _forget_drafts(self) -> None:
        drafts = [line["id"] for line in self.lines() if line["phase"] in ("new", "checked")]
        for run in drafts[DRAFTS - 1 :]:
            shutil.rmtree(self.root / FOLDER / run, ignore_errors=True)

    async def put(self, run: str, split: str, suffix: str, chunks: AsyncIterator[bytes]) -> None:
        """Stores a file of rows under a name of the gateway's. Fault 400 for a kind that the readers do not know."""
        if suffix not in (*SUFFIXES, *PACKABLE):
            raise Fault(
                400,
                f"rows come as {', '.join(SUFFIXES)}, or as {PACKABLE[0]} and others with .gz, but Parquet, got "
                f"{suffix[:20]!r}; convert or rename the file",
            )
        remedy = {"remedy": "make another one for other rows"}
        self._require_phase(run, "new", "checked", **remedy)
        file = self.folder(run) / DATA / f"{split}{suffix}"
        # another file may come at the same time
        part = file.with_name(f"{split}-{secrets.token_hex(8)}{PART}")
        try:
            with part.open("wb") as handle:
                async for chunk in chunks:
                    handle.write(chunk)
            self._require_phase(run, "new", "checked", **remedy)  # it may have been started while they came
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        files = self._read_note(run)["files"]
        if files.get(split, file.name) != file.name:
            file.with_name(files[split]).unlink(missing_ok=True)
        self._write_note(run, files=files | {split: file.name}, checked=False)

    async def check(self, run: str) -> dict[str, Any]:
        """Runs `appkit data check` on words and files; a run that is sound may be started.

        Fault 422 with its line when they cannot even be read, 504 when it takes too long.
        """
        self._require_phase(run, "new", "checked", remedy="its rows were checked before it was started")
        self._write_note(run, checked=False)
        note, rows = self._read_note(run), self._rows(run)
        words = [*note["words"], *(f"data.{split}={file}" for split, file in note["files"].items())]
        async with self._checks:
            # from within the folder, so that places of rows name files without directories
            process = await self._start_command(
                ["data", "check", "--json", "--most", str(MANY), *self._limit_words(), "--", *words],
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
                        _read_beginning(process.stdout, LARGEST + 1), _read_beginning(process.stderr, LARGEST)
                    )
                    await process.wait()
            except TimeoutError:
                raise Fault(504, f"the check took more than {CHECK_S:.0f} s; send fewer rows") from None
            finally:
                process.stdin.close()  # the guard ends what still runs
                await asyncio.gather(_read_beginning(process.stdout, 0), _read_beginning(process.stderr, 0))
                await process.wait()
        if len(output) > LARGEST:
            raise Fault(
                413, f"the report of the check has more than {LARGEST:,} bytes; send fewer or smaller rows"
            )
        try:
            report: dict[str, Any] = await asyncio.to_thread(json.loads, output)
        except ValueError:
            reason = self._explain_check(run, errors.decode(errors="replace"), process.returncode or 0)
            raise Fault(422, reason) from None
        if self._rows(run) != rows:
            raise Fault(409, f"other rows came for {run} while it was checked; check again")
        self._write_note(run, checked=bool(report["ok"]))
        return {**without_directories(report), "id": run}

    def _limit_words(self) -> list[str]:
        limits = self.settings
        words = {"rows": limits.max_rows, "unpacked": limits.max_unpacked, "gib": limits.check_gib}
        return [f"--max-{name}={value}" for name, value in words.items()]

    def _explain_check(self, run: str, errors: str, code: int) -> str:
        """Says in one line why a check gave no report: its own error, else what ended it."""
        lines = self._lines(run, errors)
        stated = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if not stated and code > SIGNALLED:  # a library that gets no memory may end the process
            return (
                f"the check was ended by signal {code - SIGNALLED}; it may need more than {self.settings.check_gib} "
                "GiB of memory (serve.check_gib); send fewer or smaller rows"
            )
        return [*stated, *lines, "the check failed"][0]

    def _rows(self, run: str) -> dict[str, int]:
        """Lists the files of rows, and when each was written, in ns."""
        files = (self.folder(run) / DATA).iterdir()
        return {file.name: file.stat().st_mtime_ns for file in files if file.suffix != PART}

    # -- training ------------------------------------------------------------------------------------------------

    async def start(self, run: str) -> None:
        """Starts a checked run, or goes on with one that was stopped or failed. Fault 409 while another run trains."""
        self._require_phase(
            run, "checked", "stopped", "failed", remedy="check the data first, or take another run"
        )
        if self.running:
            raise Fault(409, f"{self.running} is being trained, one run at a time; wait for it, or stop it")
        self.running = run
        folder, note = self.folder(run), self._read_note(run)
        if (folder / STATE).exists():
            words = ["train", "--resume", str(folder)]
        else:
            rows = [f"data.{split}={folder / DATA / file}" for split, file in note["files"].items()]
            words = ["train", "--", *note["words"], *rows, f"run_dir={folder}"]
        try:
            self._write_note(run, code=None, stopped=False, since=time.time())
            with open(
                folder / LOG, "ab", opener=lambda path, flags: os.open(path, flags | os.O_NOFOLLOW)
            ) as log:
                self._process = await self._start_command(
                    words, run, cwd=folder, stdout=log, stderr=asyncio.subprocess.STDOUT
                )
        except BaseException:
            self.running = None
            raise
        self._watch = asyncio.create_task(self._await_end(run, self._process))

    async def _await_end(self, run: str, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        self.running = self._process = None
        self._write_note(run, code=code)

    async def stop(self, run: str) -> None:
        """Sends ctrl-C: the command ends its step and saves; a second one ends it at once."""
        if run != self.running or self._process is None:
            raise Fault(409, f"{run} is not being trained; there is nothing to stop")
        assert self._process.stdin
        self._write_note(run, stopped=True)
        with suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.write(b"\x03")
            await self._process.stdin.drain()

    async def close(self) -> None:
        """Ends the running command; its state is saved if that takes less than `CLOSE_S`."""
        process, watch = self._process, self._watch
        if process is None or watch is None or self.running is None:
            return
        assert process.stdin
        if not self._read_note(self.running).get("stopped"):  # a second ctrl-C would end it unsaved
            await self.stop(self.running)
        await asyncio.wait([watch], timeout=CLOSE_S)
        process.stdin.close()
        await watch

    async def _start_command(
        self, words: Sequence[str], run: str, *, cwd: Path, stdout: Any, stderr: Any = asyncio.subprocess.PIPE
    ) -> asyncio.subprocess.Process:
        """Starts an appkit command below the guard: it ends when this process does, even by kill -9."""
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
        """Lists the ids of all runs, the newest first."""
        folder = self.root / FOLDER
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        runs = [name for name in names if ID.fullmatch(name) and (folder / name / NOTE).is_file()]
        return sorted(runs, key=lambda name: name.split("-", 1)[1], reverse=True)

    def folder(self, run: str) -> Path:
        """Finds the directory of a run. Fault 404 for an unknown run."""
        folder = self.root / FOLDER / run
        if not ID.fullmatch(run) or not (folder / NOTE).is_file():
            raise Fault(404, f"no run {run[:80]!r}; GET /v1/runs lists them")
        return folder

    def phase(self, run: str) -> str:
        """Finds the phase of a run: new, checked, training, stopping, stopped, failed or done."""
        note, folder = self._read_note(run), self.folder(run)
        if run == self.running:
            return "stopping" if note.get("stopped") else "training"
        if state_of(folder).get("phase") == "done":
            return "done"
        if not (folder / LOG).exists():
            return "checked" if note["checked"] else "new"
        # without a code the gateway ended while it was trained
        return "stopped" if note.get("stopped") or note.get("code") is None else "failed"

    def lines(self) -> list[dict[str, Any]]:
        """Lists all runs, the newest first."""
        lines = []
        for run in self.ids():
            with suppress(Fault):  # a draft that is deleted at this moment
                lines.append(self.line(run))
        return lines

    def line(self, run: str) -> dict[str, Any]:
        """Describes a run as an entry of a list."""
        state = state_of(self.folder(run))
        return {"id": run, "task": run.split("-")[0], "phase": self.phase(run), "score": state.get("score")}

    async def show(self, run: str, after: int) -> dict[str, Any]:
        """Describes a run in full, with the points of its curve after step `after`."""
        folder, note = self.folder(run), self._read_note(run)
        phase = self.phase(run)  # before the rest, so that a run shown as done is complete
        running = phase in ("training", "stopping")

        def read() -> tuple[dict[str, Any], list[str]]:
            report = self._histories.report(folder, after, running=running, since=note.get("since", 0.0))
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
                "words": note["words"],
                "files": sorted(note["files"]),
                "lines": lines[-LINES:],
                "error": error if phase == "failed" else None,
                "verdict": state.get("verdict"),
                "scores": {who: entry["metrics"] for who, entry in (state.get("results") or {}).items()},
                "bundle": f"{FOLDER}/{run}" if phase == "done" else None,
            }
        )

    def _lines(self, run: str, text: str) -> list[str]:
        """Splits a text into lines, without a path of this machine."""
        folder = self.root / FOLDER / run
        places = ((f"{folder / DATA}/", ""), (str(folder), f"{FOLDER}/{run}"), (f"{self.root}/", ""))
        return list(without_paths(text, *places))

    # -- notes ---------------------------------------------------------------------------------------------------

    def _require_phase(self, run: str, *phases: str, remedy: str) -> None:
        if (phase := self.phase(run)) not in phases:
            raise Fault(409, f"{run} is {phase}; {remedy}")

    def _read_note(self, run: str) -> dict[str, Any]:
        """Reads what was asked for. Fault 422 where it is damaged: that run alone cannot be used."""
        try:
            with open_file(self.folder(run), NOTE) as handle:
                note: dict[str, Any] = json.load(handle)
            if not isinstance(note, dict) or not {"words", "files", "checked"} <= note.keys():
                raise ValueError("it lacks what was asked for")
        except (OSError, ValueError, RecursionError, BundleError) as error:
            raise Fault(
                422, f"{FOLDER}/{run}/{NOTE} cannot be read ({type(error).__name__}); remove the run"
            ) from None
        return note

    def _write_note(self, run: str, **values: Any) -> None:
        file = self.root / FOLDER / run / NOTE
        before = self._read_note(run) if file.exists() else {}
        write_text(file, json.dumps(before | values, ensure_ascii=False))


async def _read_beginning(stream: asyncio.StreamReader, most: int) -> bytes:
    """Reads up to `most` bytes, and drops the rest: for asyncio a process ends only once all is read."""
    beginning = bytearray()
    while piece := await stream.read(65_536):
        beginning += piece[: most - len(beginning)]
    return bytes(beginning)
