"""Measures throughput and latency of one base with 0, 1, 8 and 64 adapters: `python benchmarks/serve_load.py`.

Contenders, one after the other: vLLM without LoRA (engine-nolora; what LoRA costs is measured against it), vLLM with
its own LoRA for CPU (stock), vLLM with appkit's plug-in (plugin), and transformers with PEFT (peft-each: one request
after another, each with set_adapter; peft-batch: as many rows as there are clients in one generate(), mixed adapters
by adapter_names). Clients send a request, wait for the answer, and send the next. Every prompt has 64 random tokens
and every answer 32. The adapters are copies of one with its B scaled, so that each has to be computed.

Other work on the machine changes the figures: compare contenders of one run only.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tables import table

PROMPT, ANSWER = 64, 32  # tokens
ENGINES = {"engine-nolora": {}, "stock": {"APPKIT_STOCK_LORA": "1"}, "plugin": {}}
KNOWN = (*ENGINES, "peft-each", "peft-batch")
START_S = 300.0
Complete = Callable[[str, list[int], int], None]
"""(model, token ids of the prompt, tokens of the answer): returns when the answer has come."""


@dataclass(frozen=True)
class Result:
    """One measurement. tokens_per_s: of answers. latencies: seconds of each request, sorted. adapters 0: the base."""

    contender: str
    dtype: str
    adapters: int
    concurrency: int
    tokens_per_s: float
    latencies: list[float]

    def latency(self, share: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


# --- clients ---------------------------------------------------------------------------------------------


def openai_client(base_url: str, key: str = "none") -> Complete:
    """Makes a client of any server with OpenAI's completions, such as http://127.0.0.1:8000/v1.

    It keeps a connection for each thread.
    """
    parts = urlsplit(base_url)
    own = threading.local()

    def complete(model: str, tokens: list[int], answer: int) -> None:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=600)
        body = {"model": model, "prompt": tokens, "max_tokens": answer, "temperature": 0, "ignore_eos": True}
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        own.connection.request("POST", f"{parts.path}/completions", json.dumps(body), headers)
        response = own.connection.getresponse()
        reply = response.read()
        if response.status != 200:
            raise RuntimeError(f"{model}: {response.status} {reply[:300]!r}")
        if (tokens_made := json.loads(reply)["usage"]["completion_tokens"]) != answer:
            raise RuntimeError(f"{model}: {tokens_made} tokens in the answer instead of {answer}")

    return complete


def measure(
    complete: Complete, models: Sequence[str], concurrency: int, requests: int, prompts: Prompts
) -> tuple[float, list[float]]:
    """Sends `requests` requests a client, to the models in turn: -> (seconds in all, sorted seconds of each)."""
    turns = count()  # next() is atomic

    def client(_: int) -> list[float]:
        seconds = []
        for _ in range(requests):
            model, prompt = models[next(turns) % len(models)], prompts.next()
            began = time.perf_counter()
            complete(model, prompt, ANSWER)
            seconds.append(time.perf_counter() - began)
        return seconds

    with ThreadPoolExecutor(concurrency) as pool:
        # adapters are copied into their slots at their first request
        list(pool.map(complete, models, [prompts.next() for _ in models], [2] * len(models)))
        began = time.perf_counter()
        latencies = list(pool.map(client, range(concurrency)))
        elapsed = time.perf_counter() - began
    return elapsed, sorted(second for seconds in latencies for second in seconds)


class Prompts:
    """Draws random token ids, never the same twice: else a cache of prefixes would answer."""

    def __init__(self, base: Path, seed: int = 0) -> None:
        self.size = int(json.loads((base / "config.json").read_text())["vocab_size"])
        self.draw, self.lock = random.Random(seed), threading.Lock()

    def next(self) -> list[int]:
        with self.lock:
            return [self.draw.randrange(self.size) for _ in range(PROMPT)]


# --- contenders ------------------------------------------------------------------------------------------


@contextmanager
def engine(
    name: str, base: Path, adapters: dict[str, Path], dtype: str, slots: int, folder: Path
) -> Iterator[str]:
    """Runs vLLM in a process of its own; yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(base)),
        *("--served-model-name", "base", "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", dtype, "--enforce-eager", "--no-enable-log-requests"),
    ]
    if name != "engine-nolora":
        settings = [json.loads((path / "adapter_config.json").read_text()) for path in adapters.values()]
        ranks = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM takes
        words += [
            *("--enable-lora", "--max-loras", str(slots), "--max-cpu-loras", str(max(slots, len(adapters)))),
            *("--max-lora-rank", str(next(rank for rank in ranks if rank >= settings[0]["r"]))),
            *("--lora-target-modules", *sorted(settings[0]["target_modules"])),
            *("--lora-modules", *(f"{adapter}={path}" for adapter, path in adapters.items())),
        ]
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    environment = os.environ | {
        "VLLM_CPU_OMP_THREADS_BIND": cores,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "APPKIT_ENGINE": "1",
        **ENGINES[name],
    }
    log = folder / f"{name}-{dtype}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=output, env=environment, cwd=folder, start_new_session=True
        )
    try:
        wait_for(port, process, log)
        used = "Using GroupedLora" in log.read_text()
        if used is not (name == "plugin"):
            raise SystemExit(f"{name}: the plug-in was {'' if used else 'not '}used (see {log})")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_S and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit(f"vLLM did not start: {log.read_text(errors='replace')[-1000:]}")


class Peft:
    """Runs transformers and PEFT in this process, as one would write it first."""

    def __init__(self, base: Path, adapters: dict[str, Path], dtype: str, threads: int) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        self.torch = torch
        model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype)).eval()
        names = list(adapters)
        self.model = PeftModel.from_pretrained(model, adapters[names[0]], adapter_name=names[0])
        for name in names[1:]:
            self.model.load_adapter(adapters[name], adapter_name=name)
        self.model.eval()
        self.turn = threading.Lock()

    def generate(self, prompts: list[list[int]], answer: int = ANSWER, **settings: Any) -> None:
        ids = self.torch.tensor(prompts)
        with self.torch.inference_mode():
            sequences = self.model.generate(
                input_ids=ids,
                attention_mask=self.torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=answer,
                min_new_tokens=answer,
                **settings,
            )
        assert sequences.shape[1] == PROMPT + answer, sequences.shape

    def each(self, model: str, tokens: list[int], answer: int) -> None:
        """Answers one request, as a server's `complete`: requests wait for each other."""
        with self.turn:
            if model == "base":
                with self.model.disable_adapter():
                    self.generate([tokens], answer)
            else:
                self.model.set_adapter(model)
                self.generate([tokens], answer)

    def batches(
        self, models: Sequence[str], concurrency: int, requests: int, prompts: Prompts
    ) -> tuple[float, list[float]]:
        """Measures as `measure`; all clients' requests are computed as one batch, and wait for its end."""
        turns, seconds = count(), []
        for _ in range(requests):
            rows = [models[next(turns) % len(models)] for _ in range(concurrency)]
            tokens = [prompts.next() for _ in rows]
            began = time.perf_counter()
            if models[0] == "base":
                with self.model.disable_adapter():
                    self.generate(tokens)
            elif len(models) == 1:
                self.model.set_adapter(models[0])
                self.generate(tokens)
            else:
                self.generate(tokens, adapter_names=rows)
            seconds += [time.perf_counter() - began] * concurrency
        return sum(seconds) / concurrency, sorted(seconds)


# --- running ---------------------------------------------------------------------------------------------


def copies(bundle: Path, number: int, folder: Path) -> dict[str, Path]:
    """Copies the adapter of a bundle, each copy with another size of B: name -> directory."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(bundle / "adapter_model.safetensors")
    directories = {}
    for at in range(number):
        name = f"adapter-{at:02d}"
        directories[name] = folder / name
        directories[name].mkdir()
        shutil.copy(bundle / "adapter_config.json", directories[name])
        factor = 1 - at / (2 * number)
        scaled = {key: value * factor if "lora_B" in key else value for key, value in tensors.items()}
        save_file(scaled, directories[name] / "adapter_model.safetensors", metadata={"format": "pt"})
    return directories


def contend(options: argparse.Namespace, dtype: str, name: str, folder: Path) -> list[Result]:
    adapters, prompts, results = options.copies, Prompts(options.base), []
    names = list(adapters)

    def run(how: Callable[[Sequence[str], int, int, Prompts], tuple[float, list[float]]]) -> None:
        for load in options.adapters:
            if load and name == "engine-nolora":
                continue
            for concurrency in options.concurrency:
                models = names[:load] if load else ["base"]
                elapsed, latencies = how(models, concurrency, options.requests, prompts)
                rate = len(latencies) * ANSWER / elapsed
                results.append(Result(name, dtype, load, concurrency, rate, latencies))
                say(
                    f"{dtype} {name}, {describe_load(load)}, {concurrency} at once: {rate:.1f} tokens/s "
                    f"({elapsed:.0f} s)"
                )

    if name in ENGINES:
        began = time.monotonic()
        slots = min(options.slots, max(1, len(adapters)))
        with engine(name, options.base, adapters, dtype, slots, folder) as url:
            say(f"{dtype} {name}: started in {time.monotonic() - began:.0f} s")
            complete = openai_client(url)
            run(lambda *load: measure(complete, *load))
    else:
        peft = Peft(options.base, adapters, dtype, options.threads)
        run((lambda *load: measure(peft.each, *load)) if name == "peft-each" else peft.batches)
    return results


def describe_load(adapters: int) -> str:
    return "base" if not adapters else f"{adapters} adapter{'s' * (adapters > 1)}"


def say(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


# --- report ----------------------------------------------------------------------------------------------


def report(results: Sequence[Result], options: argparse.Namespace) -> str:
    parts = [
        f"{processor()}, {options.threads} threads; vLLM {vllm_version()}, LoRA r {options.rank}, {options.slots} "
        f"slots; {PROMPT} tokens in, {ANSWER} out, {options.requests} requests a client, one after the other. "
        "Output tokens/s (p50 / p95 seconds a request)."
    ]
    for dtype in dict.fromkeys(result.dtype for result in results):
        results_of_dtype = [result for result in results if result.dtype == dtype]
        cells = {
            (result.contender, result.adapters, result.concurrency): result for result in results_of_dtype
        }
        rows = []
        for contender, load in dict.fromkeys(
            (result.contender, result.adapters) for result in results_of_dtype
        ):
            results_of_load = [cells[contender, load, at] for at in options.concurrency]
            texts = [
                f"{result.tokens_per_s:.1f} ({result.latency(0.5):.1f} / {result.latency(0.95):.1f})"
                for result in results_of_load
            ]
            rows.append([contender, describe_load(load), *texts])
        header = ["contender", "load", *(f"{at} at once" for at in options.concurrency)]
        parts += [f"{dtype}:", table(header, rows, text=(0, 1)), *ratios(cells, options)]
    return "\n\n".join(parts)


def ratios(cells: dict[tuple[str, int, int], Result], options: argparse.Namespace) -> list[str]:
    """Compares the plug-in with each other contender on the same load; without LoRA there is only the base's."""
    rows = []
    for load in options.adapters:
        for rival in options.contenders:
            rival_load = 0 if rival == "engine-nolora" else load
            pairs = [
                (cells.get(("plugin", load, at)), cells.get((rival, rival_load, at)))
                for at in options.concurrency
            ]
            if rival == "plugin" or not all(plugin and rival_result for plugin, rival_result in pairs):
                continue
            texts = [
                f"{plugin.tokens_per_s / rival_result.tokens_per_s:.2f}x"
                for plugin, rival_result in pairs
                if plugin and rival_result
            ]
            rows.append([f"plugin / {rival}", describe_load(load), *texts])
    if not rows:
        return []
    header = ["ratio", "load", *(f"{at} at once" for at in options.concurrency)]
    return [table(header, rows, text=(0, 1))]


def processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "CPU")


def vllm_version() -> str:
    from importlib.metadata import PackageNotFoundError

    try:
        return version("vllm")
    except PackageNotFoundError:
        return version("vllm-cpu")


# --- command ---------------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", type=words, default=["float32"], help="such as float32,bfloat16")
    parser.add_argument(
        "--contenders", type=words, default=list(KNOWN), help=f"in turn (default {','.join(KNOWN)})"
    )
    parser.add_argument("--adapters", type=numbers, default=[0, 1, 8, 64], help="loads; 0 is the base")
    parser.add_argument("--concurrency", type=numbers, default=[1, 8, 32], help="clients at once")
    parser.add_argument("--requests", type=int, default=2, help="of each client, one after the other")
    parser.add_argument("--slots", type=int, default=32, help="adapters that vLLM computes with in one step")
    parser.add_argument("--bundle", type=Path, help="adapter to copy (default: the newest in runs/)")
    parser.add_argument("--base", type=Path, help="directory of the weights (default: what is served for it)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of peft-*")
    parser.add_argument("--write", type=Path, nargs="?", const=Path(__file__).with_suffix(".md"), help="file")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and adapters")
    options = parser.parse_args(argv)
    if unknown := set(options.contenders) - set(KNOWN):
        parser.error(f"no contender {', '.join(sorted(unknown))}; known: {', '.join(KNOWN)}")
    return options


def newest_bundle() -> Path:
    bundles = sorted(Path("runs").rglob("bundle"))
    if not bundles:
        raise SystemExit("no bundle in runs/; appkit train task=nl2fol makes one, or name one with --bundle")
    return bundles[-1]


def default_base() -> Path:
    from appkit.config import build_run_config
    from appkit.models.sources import locate
    from appkit.serving.engines.protocol import served_base

    config = build_run_config({"task": "nl2fol", "model": "smollm2-135m"})
    return served_base(config.model, config.quant, locate(config.model))


def main() -> None:
    options = arguments()
    options.bundle = options.bundle or newest_bundle()
    options.base = options.base or default_base()
    options.rank = json.loads((options.bundle / "adapter_config.json").read_text())["r"]
    folder = Path(tempfile.mkdtemp(prefix="serve_load-"))
    results: list[Result] = []
    try:
        options.copies = copies(options.bundle, max(1, *options.adapters), folder)
        for dtype in options.dtype:
            for name in options.contenders:
                results += contend(options, dtype, name, folder)
    finally:
        if options.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder)
    text = report(results, options)
    print(text)
    if options.write:
        command = f"python benchmarks/serve_load.py {' '.join(sys.argv[1:])}"
        heading = f"# Throughput under load\n\n`{command}` on {time.strftime('%Y-%m-%d')}.\n\n"
        options.write.write_text(heading + text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
