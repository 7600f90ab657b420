"""Measures what the gateway costs over the engine behind it: `python benchmarks/gateway_overhead.py`.

The program asks one `appkit serve` with real vLLM in three ways, in turn: the engine itself, past the gateway (its
address and secret are read from its process, which this user owns); the gateway's /v1/completions with the same token
ids; and its /v1/tasks with the rows, which adds template, tokenizer, detokenizer and parser. All ask the same
adapters with the same stops, over training rows of the bundle, each used once. Rounds go forwards and
backwards, so that other work of the machine falls on all. Rates still need a quiet machine; the processor time of
gateway and engine does not: where all cores are busy, its share is what the gateway costs in throughput.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from serve_load import newest_bundle, processor, say
from served import Gateway, variant
from tables import table

from appkit.vllm_plugin.door import SECRET

Row = dict[str, Any]
Ask = Callable[[str, Row, list[int]], int]
"""(bundle's sha, a row's input fields, its prompt's ids) -> tokens of the answer."""


class Connections:
    """Keeps a connection for each thread."""

    def __init__(self, url: str, secret: str = "") -> None:
        self.parts, self.secret, self.own = urlsplit(url), secret, threading.local()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if not hasattr(self.own, "connection"):
            self.own.connection = http.client.HTTPConnection(
                self.parts.hostname, self.parts.port, timeout=600
            )
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.secret}"}
        self.own.connection.request("POST", path, json.dumps(body), headers)
        response = self.own.connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status} {answer[:300]!r}")
        return json.loads(answer)


def ways(url: str, engine_url: str, secret: str, name: str, stop: Sequence[int], cap: int) -> dict[str, Ask]:
    raw, gateway = Connections(engine_url, secret), Connections(url)

    def engine(sha: str, row: Row, tokens: list[int]) -> int:
        body = {
            "model": sha,
            "prompt": tokens,
            "max_tokens": cap,
            "temperature": 0,
            "stop_token_ids": list(stop),
        }
        return raw.post("/v1/completions", body)["usage"]["completion_tokens"]

    def completions(sha: str, row: Row, tokens: list[int]) -> int:
        body = {"model": f"{name}@{sha[:12]}", "prompt": tokens, "max_tokens": cap, "temperature": 0}
        return gateway.post("/v1/completions", body)["usage"]["completion_tokens"]

    def tasks(sha: str, row: Row, tokens: list[int]) -> int:
        return gateway.post(f"/v1/tasks/{name}@{sha[:12]}", {"rows": [row]})["results"][0]["tokens"]

    return {"engine": engine, "gateway /v1/completions": completions, "gateway /v1/tasks": tasks}


def engine_behind(gateway: Gateway) -> tuple[str, str]:
    """Returns the URL and the secret of the vLLM server below a gateway."""
    server = gateway.engine("vllm.entrypoints.openai.api_server")
    words = server.cmdline()
    return f"http://127.0.0.1:{words[words.index('--port') + 1]}", server.environ()[SECRET]


def ask_round(
    ask: Ask, shas: Sequence[str], rows: list[tuple[Row, list[int]]], concurrency: int
) -> tuple[float, list[float]]:
    """Asks for these rows, the adapters in turn: -> (tokens/s, seconds of each request)."""

    def ask_row(place: int) -> tuple[int, float]:
        began = time.perf_counter()
        tokens = ask(shas[place % len(shas)], *rows[place])
        return tokens, time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        done = list(pool.map(ask_row, range(len(rows))))
    elapsed = time.perf_counter() - began
    return sum(tokens for tokens, _ in done) / elapsed, [seconds for _, seconds in done]


def measure(options: argparse.Namespace, folder: Path) -> str:
    from appkit.data.splits import load_splits
    from appkit.serving.deployment import Deployment

    subject = Deployment(options.bundle, folder / "store")
    train = load_splits(subject.task, subject.config.task, subject.config.data).train
    values = [record.value for record in train]
    random.Random(0).shuffle(values)
    waiting = iter(values)

    def take(number: int) -> list[tuple[Row, list[int]]]:
        return [
            (inputs(value), list(subject.chat.prompt(subject.task.prompt(value, subject.config.task))))
            for value, _ in zip(waiting, range(number), strict=False)
        ]

    def inputs(value: Any) -> Row:
        fields = value.model_dump(mode="json", exclude_defaults=True)
        return {name: field for name, field in fields.items() if name != subject.task.output}

    decoding = subject.manifest["decoding"]
    stop = sorted(subject.chat.stops(decoding["stop"]))
    name, root = subject.manifest["name"], folder / "bundles"
    shas = []
    for at in range(options.adapters):  # they differ a little, so that each has to be computed
        directory = variant(
            options.bundle, root / f"{at:02d}", name, factor=1 - at / 1000, roll=0, cap=decoding["cap"]
        )
        shas.append(json.loads((directory / "appkit.json").read_text())["sha"])
    words = ["--bundles", str(root), "--engine", "vllm", "--uncertified", f"serve.dtype={options.dtype}"]
    with Gateway([*words, "serve.timeout_s=900"], folder / "log") as gateway:
        gateway.wait()
        asks = ways(gateway.url, *engine_behind(gateway), name, stop, decoding["cap"])
        for ask in asks.values():  # adapters come into their slots, connections are made
            ask_round(ask, shas, take(options.concurrency), options.concurrency)
        rates: dict[str, list[float]] = {name: [] for name in asks}
        seconds: dict[str, list[float]] = {name: [] for name in asks}
        processor_seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in asks}
        for number in range(options.rounds):
            for name in list(asks)[:: -1 if number % 2 else 1]:
                before = cpu_seconds(gateway.process.pid)
                rate, latencies = ask_round(asks[name], shas, take(options.requests), options.concurrency)
                processor_seconds[name].append(
                    tuple(b - a for a, b in zip(before, cpu_seconds(gateway.process.pid), strict=True))
                )
                rates[name].append(rate)
                seconds[name] += latencies
                say(f"round {number + 1} of {options.rounds}, {name}: {rate:.1f} tokens/s")
        gateway.stop()
    return report(options, rates, seconds, processor_seconds)


def cpu_seconds(gateway: int) -> tuple[float, float]:
    """Returns the processor time so far of the gateway, and of the engine's processes below it."""
    root = psutil.Process(gateway)

    def of(process: psutil.Process) -> float:
        times = process.cpu_times()
        return times.user + times.system

    return of(root), sum(of(child) for child in root.children(recursive=True))


def report(
    options: argparse.Namespace,
    rates: dict[str, list[float]],
    seconds: dict[str, list[float]],
    processor_seconds: dict[str, list[tuple[float, float]]],
) -> str:
    rows = []
    for name, rates_of_way in rates.items():
        share = [rate / engine for rate, engine in zip(rates_of_way, rates["engine"], strict=True)]
        ordered = sorted(seconds[name])
        middle, late = (ordered[int(part * (len(ordered) - 1))] for part in (0.5, 0.95))
        gateway_ms, engine_ms = (
            sum(part) / len(ordered) * 1000 for part in zip(*processor_seconds[name], strict=True)
        )
        rows.append(
            [
                name,
                f"{statistics.mean(rates_of_way):.1f}",
                f"{middle:.2f} / {late:.2f}",
                f"{statistics.mean(share):.3f} ({min(share):.3f} to {max(share):.3f})",
                f"{gateway_ms:.1f}",
                f"{engine_ms:.0f}",
                f"{gateway_ms / (gateway_ms + engine_ms):.1%}",
            ]
        )
    heading = (
        f"{processor()}, {len(os.sched_getaffinity(0))} threads, {options.dtype}; {options.adapters} adapters, "
        f"{options.concurrency} clients, {options.rounds} rounds of {options.requests} requests each way. "
        "Processor time in ms a request; the gateway's share of it is the last column."
    )
    header = [
        "asked",
        "tokens/s",
        "p50 / p95 s",
        "of the engine (rounds)",
        "gateway ms",
        "engine ms",
        "share",
    ]
    return f"{heading}\n\n{table(header, rows, text=(0,))}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, help="a bundle of nl2fol (default: the newest in runs/)")
    parser.add_argument("--adapters", type=int, default=8)
    parser.add_argument("--concurrency", type=int, default=32, help="clients at once")
    parser.add_argument("--requests", type=int, default=128, help="a round, each way")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--write", type=Path, nargs="?", const=Path(__file__).with_suffix(".md"), help="file")
    options = parser.parse_args()
    options.bundle = options.bundle or newest_bundle()
    with tempfile.TemporaryDirectory(prefix="gateway_overhead-") as folder:
        text = measure(options, Path(folder))
    print(text)
    if options.write:
        command = " ".join(["python", "benchmarks/gateway_overhead.py", *sys.argv[1:]])
        options.write.write_text(
            f"# What the gateway costs\n\n`{command}` on {time.strftime('%Y-%m-%d')}.\n\n{text}\n"
        )


if __name__ == "__main__":
    main()
