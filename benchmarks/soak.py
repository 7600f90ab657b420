"""Serves under load while engines are killed: `python benchmarks/soak.py`, or `make soak`.

A gateway with real vLLM serves more bundles than it has slots. Clients ask tasks and chats, streamed and not, of
aliases, versions (name@sha) and the base, and some hang up. Meanwhile a bundle is removed and added again and again,
an alias is moved, shared with a canary and rolled back, and the engine is killed twice: its core, then its server.
Each answer is compared with what transformers and PEFT gave beforehand in float32.

The exit code is 1 after a wrong answer; a request with neither an answer nor an error; an error while no engine was
down; no recovery; a process left behind; a gateway that grows faster than `ROOM` allows.

`--plant` sends one request to another adapter than it is compared with; the soak must fail, at once and without kills.
`--record FILE` keeps answers and references; `--replay FILE` judges them again without any engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
from serve_load import newest_bundle
from served import Gateway, References, judge, variant

from appkit.progress import Progress
from appkit.serving.gateway.keys import add_key

TEXTS = (
    "Every dog barks.",
    "Some cats sleep.",
    "All poets who love Rome are happy.",
    "If it rains, the street is wet.",
    "Socrates is a man.",
    "No bird that sings is sad.",
)
CHANGES = ((1.0, 0), (0.4, 0), (1.0, 1), (1.0, 7), (-0.7, 0), (1.0, 20))
"""(factor, roll) of B in each variant; the first is the bundle itself."""
SPARE, LATE, MOVED = "soak-spare", "soak-late", "moved"
TOKENS = 24  # of an answer, at most
RETRY_S = 2.0  # as the gateway asks
MARGIN_S = 3.0  # a kill is noticed, and readiness believed, this much later
ROOM = (50.0, 1.0)
"""MB in all, and MB a minute more, by which the gateway may grow after the warm-up"""


@dataclass
class Record:
    """Records what came of the requests.

    answers: as `judge` takes them, with seconds and time. errors: (time, status, message). lost: requests with neither
    an answer nor an error. outages: [from, to] seconds of a killed engine. memory: (time, MB).
    """

    expected: dict[str, dict[str, str]]
    answers: list[dict[str, Any]] = field(default_factory=list)
    errors: list[tuple[float, int, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    hung_up: int = 0
    outages: list[list[float]] = field(default_factory=list)
    memory: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {"gateway": [], "engine": []}
    )
    changes: dict[str, int] = field(default_factory=dict)

    def changed(self, what: str) -> None:
        self.changes[what] = self.changes.get(what, 0) + 1

    @property
    def requests(self) -> int:
        return len(self.answers) + len(self.errors) + len(self.lost) + self.hung_up

    def in_outage(self, at: float) -> bool:
        return any(start <= at <= end + MARGIN_S for start, end in self.outages)

    @property
    def down_s(self) -> float:
        return sum(end - start for start, end in self.outages)


# --- what is served, and what it has to answer ---------------------------------------------------------------


def variants(bundle: Path, root: Path) -> dict[str, Path]:
    """Makes the bundles: name -> directory below `root`; the last one is the spare."""
    names = [f"soak-{place}" for place in range(len(CHANGES) - 1)] + [SPARE]
    return {
        name: variant(bundle, root / name, name, factor=factor, roll=roll, cap=TOKENS)
        for name, (factor, roll) in zip(names, CHANGES, strict=True)
    }


def expectations(bundles: dict[str, Path]) -> tuple[dict[str, dict[str, str]], str]:
    """Returns version -> text -> answer, and the base's name, with only the texts that tell all versions apart."""
    from appkit.config import build_run_config

    references = References(bundles)
    config = build_run_config(
        json.loads((next(iter(bundles.values())) / "appkit.json").read_text())["config"]
    )
    base = config.model.name + ("" if config.quant.name == "none" else f"-{config.quant.name}")
    names = {"": base} | {name: version(path) for name, path in bundles.items()}
    expected: dict[str, dict[str, str]] = {shown: {} for shown in names.values()}
    with Progress("reference answers", len(names) * len(TEXTS), "answers") as bar:
        for name, shown in names.items():
            for text, answer in zip(TEXTS, references.greedy(name, TEXTS, TOKENS), strict=True):
                if not answer.tie:
                    expected[shown][text] = answer.text.strip()
            bar.advance(len(TEXTS))
    sure = [text for text in TEXTS if all(text in answers for answers in expected.values())]
    telling = [text for text in sure if len({answers[text] for answers in expected.values()}) == len(names)]
    if len(telling) < 2:
        raise SystemExit(f"only {len(telling)} texts tell all versions apart; choose another --bundle")
    return {shown: {text: answers[text] for text in telling} for shown, answers in expected.items()}, base


def version(path: Path) -> str:
    manifest = json.loads((path / "appkit.json").read_text())
    return f"{manifest['name']}@{manifest['sha'][:12]}"


# --- the load ------------------------------------------------------------------------------------------------


class Soak:
    """Runs clients, an admin and the killer of engines around one gateway."""

    def __init__(
        self,
        gateway: Gateway,
        record: Record,
        bundles: dict[str, Path],
        base: str,
        keys: tuple[str, str],
        plant: bool,
    ) -> None:
        self.gateway, self.record, self.bundles, self.base, self.plant = gateway, record, bundles, base, plant
        self.versions = {name: version(path) for name, path in bundles.items()}
        self.spare_served = True
        self.moves: list[list[Any]] = []  # [version, from, to]: where `MOVED` may point
        self.restarts, self.ended, self.draw = 0, False, random.Random(0)
        limits = httpx.Limits(max_connections=None)
        self.http, self.admin = (
            httpx.AsyncClient(
                base_url=gateway.url,
                headers={"Authorization": f"Bearer {key}"},
                timeout=300,
                limits=limits,
                trust_env=False,
            )
            for key in keys
        )

    async def run(self, seconds: float, clients: int) -> None:
        """Runs `seconds` of load with an engine that answers; outages come on top."""
        await self.point(MOVED, "soak-0")
        kills = [] if self.plant else [(seconds / 3, "EngineCore"), (2 * seconds / 3, "api_server")]
        began, shown = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            for work in (*[self.client] * clients, self.churn, self.move, self.watch):
                group.create_task(work())
            with Progress("soak", round(seconds), "s") as bar:
                while (served := time.monotonic() - began - self.record.down_s) < seconds and not self.ended:
                    await asyncio.sleep(0.5)
                    if kills and served >= kills[0][0]:
                        await self.kill(kills.pop(0)[1])
                    bar.advance(min(round(served), bar.total) - shown, self.note())
                    shown = bar.done
            self.ended = True

    def note(self) -> str:
        wrong = len(judge(self.record.expected, self.record.answers))
        return f"{len(self.record.answers)} answers, {wrong} wrong, {len(self.record.errors)} errors told"

    async def client(self) -> None:
        while not self.ended:
            if not await self.ask():
                await asyncio.sleep(RETRY_S)

    async def ask(self) -> bool:
        """Sends one request and records what came of it; returns False if it was answered with an error."""
        target, text = self.target(), self.draw.choice(list(self.record.expected[self.base]))
        chat, stream = target == self.base or self.draw.random() < 0.5, self.draw.random() < 0.5
        sent_to = target
        if self.plant and target == "soak-0":
            sent_to, self.plant = "soak-1", False
        began = time.monotonic()
        try:
            if chat:
                body = {
                    "model": sent_to,
                    "messages": [{"role": "user", "content": text}],
                    "max_tokens": TOKENS,
                }
                reply = await self.reply("/v1/chat/completions", body | {"stream": stream})
            else:
                reply = await self.reply(f"/v1/tasks/{sent_to}", {"rows": [text], "stream": stream})
        except GatewayFault as error:
            self.record.errors.append((time.monotonic(), error.status, str(error)))
            return False
        except (httpx.TransportError, ValueError, KeyError) as error:
            self.record.lost.append(f"{target}: {type(error).__name__}: {error}")
            return True
        if reply is None:
            self.record.hung_up += 1
            return True
        model, answer = reply
        if sent_to != target:
            model, self.ended = self.versions["soak-0"], True
        now = time.monotonic()
        self.record.answers.append(
            {
                "asked": target,
                "allowed": self.allowed(target, began, now),
                "model": model,
                "text": text,
                "answer": answer.strip(),
                "seconds": now - began,
                "at": now,
            }
        )
        return True

    def target(self) -> str:
        """Draws an alias, a version, the base, or the alias that moves."""
        names = [name for name in self.bundles if name != SPARE or self.spare_served]
        name = self.draw.choice(names)
        return self.draw.choice([name, name, self.versions[name], MOVED, self.base])

    def allowed(self, target: str, began: float, ended: float) -> list[str]:
        """Returns the versions that a request may have gone to."""
        if target == MOVED:
            return sorted({ref for ref, since, until in self.moves if since <= ended and began <= until})
        return [self.versions.get(target, target)]

    async def reply(self, path: str, body: dict[str, Any]) -> tuple[str, str] | None:
        """Returns (version, answer); None: hung up on purpose.

        Raises GatewayFault for an error of the gateway; any other error counts as a lost request.
        """
        if not body["stream"]:
            answer = await self.http.post(path, json=body)
            if answer.status_code != 200:
                raise GatewayFault(answer.status_code, answer.json()["error"]["message"])
            payload = answer.json()
            if "results" in payload:
                return payload["model"], payload["results"][0]["text"]
            return payload["model"], payload["choices"][0]["message"]["content"]
        hang_up, model, text = self.draw.random() < 0.05, "", ""
        async with self.http.stream("POST", path, json=body) as answer:
            if answer.status_code != 200:
                raise GatewayFault(answer.status_code, json.loads(await answer.aread())["error"]["message"])
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    return model, text
                if not line.startswith("data: "):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    raise GatewayFault(200, event["error"]["message"])
                if "choices" in event:
                    model = event["model"]
                    text += event["choices"][0]["delta"]["content"]
                elif "result" in event:
                    model, text = event["model"], event["result"]["text"]
                if hang_up:
                    return None
        raise ValueError("a stream ended without [DONE] and without an error")

    # -- what happens meanwhile -------------------------------------------------------------------------------

    async def change(self, method: str, path: str, body: Any = None) -> None:
        """Makes a change as the admin, again while the engine is away. A lost request ends the soak."""
        while True:
            try:
                answer = await self.admin.request(method, path, json=body)
            except httpx.TransportError as error:
                self.record.lost.append(f"{method} {path}: {type(error).__name__}: {error}")
                self.ended = True
                return
            if answer.status_code != 503:
                break
            await asyncio.sleep(1)
        if answer.is_error:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text}")

    async def churn(self) -> None:
        """Removes and adds the spare; requests under way when it goes are still answered by it."""
        while not self.ended:
            await asyncio.sleep(3)
            self.spare_served = False
            await asyncio.sleep(0.5)  # no request is on its way to the gateway any more
            await self.change("DELETE", f"/v1/aliases/{SPARE}")
            await self.change("DELETE", f"/v1/bundles/{self.versions[SPARE]}")
            await self.change("POST", "/v1/bundles", {"path": SPARE})
            self.spare_served = True
            self.record.changed("removed and added")

    async def move(self) -> None:
        """Moves the alias wholly and rolls it back; shares it with a canary, and withdraws that."""
        while not self.ended:
            for share, kind in ((1.0, "moved and rolled back"), (0.5, "canaries")):
                await self.point(MOVED, "soak-1", share)
                await asyncio.sleep(2)
                self.moves.append([self.versions["soak-0"], time.monotonic(), float("inf")])
                await self.change("POST", f"/v1/aliases/{MOVED}/rollback")
                self.end_moves()
                await asyncio.sleep(2)
                self.record.changed(kind)

    async def point(self, alias: str, name: str, share: float = 1.0) -> None:
        self.moves.append([self.versions[name], time.monotonic(), float("inf")])
        await self.change("PUT", f"/v1/aliases/{alias}", {"bundle": self.versions[name], "share": share})
        if share == 1:
            self.end_moves()

    def end_moves(self) -> None:
        """Ends the earlier moves: from now on no request goes where they led."""
        for move in self.moves[:-1]:
            move[2] = min(move[2], time.monotonic())

    async def kill(self, part: str) -> None:
        """Kills a process of the engine (kill -9); waits until the gateway is ready again.

        The core is suspended first, so that it dies while it loads an adapter.
        """
        old = self.gateway.below()
        killed = self.gateway.engine(part)
        outage = [time.monotonic(), float("inf")]
        self.record.outages.append(outage)
        adding = None
        if part == "EngineCore":
            killed.suspend()
            adding = asyncio.create_task(self.change("POST", "/v1/bundles", {"path": LATE}))
            await asyncio.sleep(6)
        killed.kill()
        await self.until(lambda ready: not ready, 90, f"the gateway does not notice that {part} was killed")
        await self.until(lambda ready: ready, 400, f"no engine after {part} was killed")
        outage[1] = time.monotonic()
        self.restarts += 1
        still = [
            process for process in old if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        ]
        if still:
            raise SystemExit(f"the killed engine left {still}")
        if adding is not None:
            await asyncio.wait_for(adding, 60)

    async def until(self, true: Callable[[bool], bool], seconds: float, fault: str) -> None:
        deadline = time.monotonic() + seconds
        while not true(await self.is_ready()):
            if time.monotonic() > deadline:
                raise SystemExit(f"{fault}, after {seconds:.0f} s: {self.gateway.output()[-2000:]}")
            await asyncio.sleep(0.2)

    async def is_ready(self) -> bool:
        with suppress(httpx.TransportError):
            return (await self.http.get("/readyz")).status_code == 200
        return False

    async def watch(self) -> None:
        """Records the memory of the gateway and of everything below it."""
        while not self.ended:
            below = await asyncio.to_thread(self.gateway.below)
            engine = 0
            for process in below:
                with suppress(psutil.NoSuchProcess):
                    engine += process.memory_info().rss
            now = time.monotonic()
            if not any(start <= now <= end for start, end in self.record.outages):
                gateway = psutil.Process(self.gateway.process.pid).memory_info().rss
                self.record.memory["gateway"].append((now, gateway / 1e6))
                self.record.memory["engine"].append((now, engine / 1e6))
            await asyncio.sleep(1)

    async def busy(self) -> int:
        """Counts the requests that the gateway believes to run; after a while there must be none."""
        for _ in range(100):
            bundles = (await self.admin.get("/v1/bundles")).json()["bundles"]
            if not (running := sum(bundle["running"] for bundle in bundles)):
                return 0
            await asyncio.sleep(0.1)
        return int(running)


class GatewayFault(Exception):
    """The gateway answered with an error; status 200 in a stream that had begun."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


# --- report --------------------------------------------------------------------------------------------------


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Computes MB a minute, by a line through all samples."""
    if len(samples) < 3:
        return 0.0
    return 60 * statistics.linear_regression(*zip(*samples, strict=True)).slope


def settled(
    samples: Sequence[tuple[float, float]], outages: Sequence[Sequence[float]]
) -> list[tuple[float, float]]:
    """Returns the samples without the first quarter of the time.

    Of an engine: the longest stretch between outages, without its first quarter.
    """
    edges = [samples[0][0], *(end for _, end in outages), samples[-1][0]]
    stretches = [[sample for sample in samples if a <= sample[0] <= b] for a, b in pairwise(edges)]
    longest = max(stretches, key=len)
    return longest[len(longest) // 4 :]


def report(record: Record) -> tuple[list[str], list[str]]:
    """Writes (lines, faults) of what was recorded."""
    wrong = judge(record.expected, record.answers)
    seconds = sorted(answer["seconds"] for answer in record.answers) or [0.0]
    unprovoked = [error for error in record.errors if not record.in_outage(error[0])]
    by_status = Counter(status for _, status, _ in record.errors)
    lines = [
        f"requests   {record.requests}; {record.hung_up} clients hung up",
        f"answers    {len(record.answers) - len(wrong)} right, {len(wrong)} wrong",
        f"errors     {len(record.errors)} told (by status: {dict(by_status)}; 200: in a stream that had begun), "
        f"{len(unprovoked)} of them outside of outages; {len(record.lost)} requests lost",
        f"latency    p50 {statistics.median(seconds):.1f} s, p95 {seconds[int(0.95 * (len(seconds) - 1))]:.1f} s",
        f"outages    {', '.join(f'{end - start:.0f} s' for start, end in record.outages) or 'none'}",
        f"changes    {dict(record.changes)}",
    ]
    faults = [
        f"wrong: {answer['asked']} answered {answer['answer']!r} as {answer['model']}" for answer in wrong[:5]
    ]
    faults += [f"lost: {request}" for request in record.lost[:5]]
    faults += [f"error while an engine ran: {status} {message}" for _, status, message in unprovoked[:5]]
    if not record.answers:
        faults.append("no answers")
    if gateway := record.memory["gateway"]:
        steady = settled(gateway, ())
        minutes = (steady[-1][0] - steady[0][0]) / 60
        rate, limit = slope(steady), ROOM[0] + ROOM[1] * minutes
        engine = record.memory["engine"]
        lines.append(
            f"memory     gateway {steady[-1][1]:.0f} MB, {rate:+.2f} MB/min; engine {engine[-1][1]:.0f} MB, "
            f"{slope(settled(engine, record.outages)):+.2f} MB/min"
        )
        if rate * minutes > limit:
            faults.append(
                f"the gateway grew by {rate * minutes:.0f} MB in {minutes:.1f} min, limit {limit:.0f}"
            )
    return lines, faults


def swapped(record: Record) -> Record:
    """Replaces one reply by that of another adapter to the same text."""
    reply = next(answer for answer in record.answers if answer["asked"].startswith("soak-0"))
    reply["answer"] = next(
        record.expected[version][reply["text"]]
        for version in record.expected
        if version.startswith("soak-1@")
    )
    return record


# --- command -------------------------------------------------------------------------------------------------


def soak(options: argparse.Namespace, folder: Path) -> tuple[Record, list[str]]:
    """Runs the soak; returns the record, and the faults at the end."""
    root = folder / "bundles"
    root.mkdir()
    bundle = options.bundle or newest_bundle()
    bundles = variants(bundle, root)
    keys = add_key(folder / "keys.json", "user"), add_key(folder / "keys.json", "admin", admin=True)
    words = ["--bundles", str(root), "--keys", str(folder / "keys.json"), "--uncertified", "--engine", "vllm"]
    # an engine keeps what was removed until it needs the room: with little of that its memory settles in minutes
    words += ["serve.max_slots=2", "serve.dtype=float32", f"serve.max_bundles={len(bundles) + 2}"]
    with Gateway(words, folder / "gateway.log") as gateway:
        expected, base = expectations(bundles)  # while the engine starts
        record = Record(expected)
        texts = len(expected[base])
        say(f"{len(bundles)} bundles in 2 slots, and {base}; {texts} texts, each answered in its own way")
        gateway.wait()
        variant(bundle, root / LATE, LATE, factor=0.9, roll=0, cap=TOKENS)  # nobody asks it
        clients = Soak(gateway, record, bundles, base, keys, options.plant)

        async def run() -> int:
            async with clients.http, clients.admin:
                await clients.run(options.seconds, options.clients)
                return await clients.busy()

        busy = asyncio.run(run())
        code = gateway.stop()
        left = gateway.left_after(15)
    faults = []
    if busy:
        faults.append(f"the gateway believes that {busy} requests run after the last one ended")
    if code:
        faults.append(f"the gateway ended with code {code}: {gateway.output()[-500:]}")
    if left:
        faults.append(f"left behind: {left}")
    say(f"restarts {clients.restarts}; the gateway ended with code {code}; processes left: {len(left)}")
    return record, faults


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=float, default=1200, help="of load, outages not counted (default 1200)"
    )
    parser.add_argument("--clients", type=int, default=12, help="at once (default 12)")
    parser.add_argument("--bundle", type=Path, help="to make variants of (default: the newest in runs/)")
    parser.add_argument("--plant", action="store_true", help="a wrong adapter's reply, which must be noticed")
    parser.add_argument("--record", type=Path, help="write answers and references to this file")
    parser.add_argument("--replay", type=Path, help="judge a recording; starts nothing")
    parser.add_argument(
        "--keep", type=Path, help="an empty directory for bundles, keys and logs, which then stay"
    )
    return parser.parse_args()


def main() -> None:
    options = arguments()
    faults: list[str] = []
    if options.replay:
        record = Record(**json.loads(options.replay.read_text()))
        if options.plant:
            record = swapped(record)
    else:
        with ExitStack() as stack:
            folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
            folder.mkdir(parents=True, exist_ok=True)
            record, faults = soak(options, folder)
        if options.record:
            options.record.write_text(json.dumps(asdict(record)))
    lines, faults_of_record = report(record)
    print("\n".join(lines))
    for fault in (faults := faults_of_record + faults):
        print(f"FAULT      {fault}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
