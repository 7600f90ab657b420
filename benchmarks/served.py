"""Starts a gateway as a process, watches what runs below it, and judges its answers."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

__all__ = ["Gateway", "Greedy", "References", "base_of", "judge", "variant"]

START_S = 400.0
TIE = 1e-3
"""Rounding decides between tokens whose logits are this near: such a prompt has no single right answer."""


def variant(bundle: Path, target: Path, name: str, *, factor: float, roll: int, cap: int) -> Path:
    """Copies a bundle so that it is sound but answers otherwise: its B is scaled, and its rows are moved by `roll`.

    Answers have at most `cap` tokens. The reference is that of the original, so the copy passes no certification.
    """
    from safetensors.torch import load_file, save_file

    from appkit.bundles.manifest import payload_sha
    from appkit.storage.atomic import file_sha256

    shutil.copytree(bundle, target, ignore=shutil.ignore_patterns("certificates"))
    file = target / "adapter_model.safetensors"
    changed = {
        key: (tensor * factor).roll(roll, 0).contiguous() if "lora_B" in key else tensor
        for key, tensor in load_file(file).items()
    }
    save_file(changed, file, metadata={"format": "pt"})
    manifest = json.loads((target / "appkit.json").read_text())
    manifest |= {"name": name, "decoding": manifest["decoding"] | {"cap": cap}}
    manifest["files"] = {file: file_sha256(target / file) for file in manifest["files"]}
    manifest["sha"] = payload_sha(manifest["files"])
    (target / "appkit.json").write_text(json.dumps(manifest))
    return target


def base_of(bundle: Path) -> Path:
    """Returns the directory of the weights that an engine loads for a bundle."""
    from appkit.config import build_run_config
    from appkit.models.sources import locate
    from appkit.serving.engines.protocol import served_base

    config = build_run_config(json.loads((bundle / "appkit.json").read_text())["config"])
    return served_base(config.model, config.quant, locate(config.model))


@dataclass(frozen=True)
class Greedy:
    """An answer. ended: not cut off. log_probability: nats, of text and end. tie: rounding could change the answer."""

    text: str
    ended: bool
    log_probability: float
    tie: bool


class References:
    """Answers greedily by transformers and PEFT in float32, independently of the gateway.

    `bundles`: name -> directory, all over one base; the name "" is the base alone.
    """

    def __init__(self, bundles: Mapping[str, Path]) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.bundles, self.torch = dict(bundles), torch
        base = base_of(next(iter(bundles.values())))
        self.tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        # the order of `bundles` names adapters, since PEFT allows no dots in a name
        self.adapters = {name: f"a{place}" for place, name in enumerate(self.bundles)}
        first, *further = self.bundles
        self.model = PeftModel.from_pretrained(plain, str(self.bundles[first]), adapter_name="a0")
        for name in further:
            self.model.load_adapter(str(self.bundles[name]), adapter_name=self.adapters[name])
        self.model.eval()

    def prompt(self, name: str, text: str) -> list[int]:
        """Returns token ids: a bundle's own instruction and the text; for the base, the text as the user's."""
        if name:
            from appkit.config import build_run_config
            from appkit.plugins import load_task

            config = build_run_config(json.loads((self.bundles[name] / "appkit.json").read_text())["config"])
            task = load_task(config.task.name)
            messages = [
                {"role": message.role, "content": message.text}
                for message in task.prompt(task.input_row(text), config.task)
            ]
        else:
            messages = [{"role": "user", "content": text}]
        rendered = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self.tokenizer(rendered, add_special_tokens=False)["input_ids"])

    def stops(self, name: str) -> list[int]:
        """Returns the tokens that end an answer: for a bundle also those with one of its stop strings."""
        ends = self.model.generation_config.eos_token_id
        tokens = {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
        if name:
            strings = json.loads((self.bundles[name] / "appkit.json").read_text())["decoding"]["stop"]
            texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
            tokens |= {token for token, text in enumerate(texts) if any(string in text for string in strings)}
        return sorted(tokens)

    def greedy(self, name: str, texts: Sequence[str], tokens: int) -> list[Greedy]:
        """Returns what `name` answers, in at most so many tokens."""
        from transformers import GenerationConfig

        stops = self.stops(name)
        prompts = {"input_ids": [self.prompt(name, text) for text in texts]}
        batch = self.tokenizer.pad(prompts, return_tensors="pt")
        settings = GenerationConfig(
            do_sample=False,
            max_new_tokens=tokens,
            eos_token_id=stops,
            pad_token_id=self.tokenizer.pad_token_id,
            output_logits=True,
            return_dict_in_generate=True,
        )
        self.model.set_adapter(self.adapters[name or next(iter(self.adapters))])
        threads = self.torch.get_num_threads()
        self.torch.set_num_threads(
            1
        )  # an engine starts at the same time: more threads would spin, waiting for each other
        try:
            with self.torch.inference_mode(), nullcontext() if name else self.model.disable_adapter():
                output = self.model.generate(**batch, generation_config=settings)
        finally:
            self.torch.set_num_threads(threads)
        logits = self.torch.stack(output.logits, 1).float()  # (B, T, V)
        best = logits.topk(2).values  # (B, T, 2)
        apart, sure = best[..., 0] - best[..., 1], best[..., 0] - logits.logsumexp(-1)  # (B, T)
        answers = []
        for row, ids in enumerate(output.sequences[:, batch["input_ids"].shape[1] :].tolist()):
            end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
            answers.append(
                Greedy(
                    self.tokenizer.decode(ids[:end], skip_special_tokens=True),
                    end < len(ids),
                    float(sure[row, : end + 1].sum()),
                    bool((apart[row, : end + 1] < TIE).any()),
                )
            )
        return answers


class Gateway:
    """Runs `appkit serve` with these words, as a user starts it. Its output is in `log`.

    `stop` ends it; leaving a `with` block kills what is left, so that a failed test leaves nothing.
    """

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self.log, self.seen = log, {}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from appkit.cli.main import main; main()",
                    "serve",
                    "--port",
                    "0",
                    *words,
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.url = ""

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *error: object) -> None:
        self.below()
        for process in [self.process, *self.left()]:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                process.kill()
        self.process.wait()

    def wait(self, seconds: float = START_S) -> float:
        """Waits until it is ready; returns the seconds. Raises RuntimeError when it ends or takes too long."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if self.process.poll() is not None:
                break
            if not self.url and (address := re.search(r"http://[\d.]+:\d+", self.output())):
                self.url = address[0]
            if self.url and self.ready():
                return time.monotonic() - began
            self.below()
            time.sleep(0.5)
        raise RuntimeError(f"the gateway is not ready: {self.output()[-2000:]}")

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=10, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def below(self) -> list[psutil.Process]:
        """Returns everything that runs below the gateway now; `left` remembers it."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        self.seen |= {(child.pid, child.create_time()): child for child in _alive(children)}
        return children

    def engine(self, part: str) -> psutil.Process:
        """Returns a process of the engine: "api_server", or a name such as "EngineCore"."""
        for process in self.below():
            with suppress(psutil.NoSuchProcess):
                words = " ".join(process.cmdline())
                if part in words and "appkit.serving.engines.guard" not in words:
                    return process
        raise RuntimeError(f"no {part} below the gateway")

    def left(self) -> list[psutil.Process]:
        """Returns the processes that it ever started and that still run."""
        return list(_alive(self.seen.values()))

    def left_after(self, seconds: float) -> list[psutil.Process]:
        """Returns the same, after they had so many seconds to end."""
        deadline = time.monotonic() + seconds
        while (running := self.left()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return running

    def stop(self, seconds: float = 90.0) -> int:
        """Sends SIGTERM; returns the exit code. What it started is noted before, for `left`."""
        self.below()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def _alive(processes: Any) -> Iterator[psutil.Process]:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def judge(
    expected: Mapping[str, Mapping[str, str]], answers: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the wrong ones of `answers`, each {"asked", "allowed", "model", "text", "answer"}.

    An answer is right if the request may have gone to its version (`model` is in `allowed`), and its text is that of
    the version's reference (`expected[model][text]`).
    """
    return [
        dict(answer)
        for answer in answers
        if answer["model"] not in answer["allowed"]
        or answer["answer"] != expected[answer["model"]][answer["text"]]
    ]
