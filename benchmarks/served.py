"""A gateway as a process of its own, what runs below it, and what its answers have to be."""

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
"""Logits this near leave it to rounding which token is greedy: such a prompt has no one right answer."""


def variant(bundle: Path, target: Path, name: str, *, factor: float, roll: int, cap: int) -> Path:
    """A copy of a bundle that is sound but answers otherwise: its B scaled, their rows moved on by `roll`.

    Answers have at most `cap` tokens. Its reference is the old one's, so that it passes no certification.
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
    """The weights that an engine loads for a bundle."""
    from appkit.config import build_run_config
    from appkit.models.sources import locate
    from appkit.serving.engines.protocol import served_base

    config = build_run_config(json.loads((bundle / "appkit.json").read_text())["config"])
    return served_base(config.model, config.quant, locate(config.model))


@dataclass(frozen=True)
class Greedy:
    """An answer. ended: not cut off. log_probability: nats, of it and its end. tie: rounding could make it another."""

    text: str
    ended: bool
    log_probability: float
    tie: bool


class References:
    """Greedy answers by transformers and PEFT in float32, of which the gateway knows nothing.

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
        first, *others = self.bundles
        self.model = PeftModel.from_pretrained(plain, str(self.bundles[first]), adapter_name="a0")
        for name in others:
            self.model.load_adapter(str(self.bundles[name]), adapter_name=self.adapters[name])
        self.model.eval()

    def prompt(self, name: str, text: str) -> list[int]:
        """Token ids: a bundle's own instruction and the text; for the base, the text as the user's."""
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
        """Tokens that end an answer: a bundle's are also those with one of its stop strings."""
        ends = self.model.generation_config.eos_token_id
        found = {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
        if name:
            strings = json.loads((self.bundles[name] / "appkit.json").read_text())["decoding"]["stop"]
            texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
            found |= {token for token, text in enumerate(texts) if any(one in text for one in strings)}
        return sorted(found)

    def greedy(self, name: str, texts: Sequence[str], tokens: int) -> list[Greedy]:
        """What `name` answers, of at most so many tokens."""
        from transformers import GenerationConfig

        stops = self.stops(name)
        prompts = {"input_ids": [self.prompt(name, text) for text in texts]}
        given = self.tokenizer.pad(prompts, return_tensors="pt")
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
        )  # an engine starts meanwhile: several would spin, waiting for each other
        try:
            with self.torch.inference_mode(), nullcontext() if name else self.model.disable_adapter():
                made = self.model.generate(**given, generation_config=settings)
        finally:
            self.torch.set_num_threads(threads)
        logits = self.torch.stack(made.logits, 1).float()  # (B, T, V)
        best = logits.topk(2).values  # (B, T, 2)
        apart, sure = best[..., 0] - best[..., 1], best[..., 0] - logits.logsumexp(-1)  # (B, T)
        found = []
        for row, ids in enumerate(made.sequences[:, given["input_ids"].shape[1] :].tolist()):
            end = next((place for place, token in enumerate(ids) if token in stops), len(ids))
            found.append(
                Greedy(
                    self.tokenizer.decode(ids[:end], skip_special_tokens=True),
                    end < len(ids),
                    float(sure[row, : end + 1].sum()),
                    bool((apart[row, : end + 1] < TIE).any()),
                )
            )
        return found


class Gateway:
    """`appkit serve` with these words, as a user starts it. Its output is in `log`.

    Ended by `stop`; leaving a `with` block kills what is left, so that a failed test leaves nothing.
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
        """Until it is ready; how long that took. Raises RuntimeError when it ends or takes too long."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if self.process.poll() is not None:
                break
            if not self.url and (found := re.search(r"http://[\d.]+:\d+", self.output())):
                self.url = found[0]
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
        """Everything that runs below the gateway now; `left` remembers it."""
        try:
            found = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        self.seen |= {(one.pid, one.create_time()): one for one in _alive(found)}
        return found

    def engine(self, part: str) -> psutil.Process:
        """A process of the engine: "api_server", or a name such as "EngineCore"."""
        for one in self.below():
            with suppress(psutil.NoSuchProcess):
                words = " ".join(one.cmdline())
                if part in words and "appkit.serving.engines.guard" not in words:
                    return one
        raise RuntimeError(f"no {part} below the gateway")

    def left(self) -> list[psutil.Process]:
        """What it ever started and is still there."""
        return list(_alive(self.seen.values()))

    def left_after(self, seconds: float) -> list[psutil.Process]:
        """The same, once they had so long to end."""
        deadline = time.monotonic() + seconds
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def stop(self, seconds: float = 90.0) -> int:
        """SIGTERM; its exit code. What it started has been seen before, for `left`."""
        self.below()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def _alive(processes: Any) -> Iterator[psutil.Process]:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            if one.is_running() and one.status() != psutil.STATUS_ZOMBIE:
                yield one


def judge(
    expected: Mapping[str, Mapping[str, str]], answers: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The wrong ones of `answers`, each {"asked", "allowed", "model", "text", "answer"}.

    Right is an answer whose version (`model`) the request may have gone to (`allowed`), and whose text is what the
    reference of that version (`expected[model][text]`) says.
    """
    return [
        dict(one)
        for one in answers
        if one["model"] not in one["allowed"] or one["answer"] != expected[one["model"]][one["text"]]
    ]
