"""The plug-in in the real vLLM: base and adapters in one batch, every slot full, against PEFT in fp32."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from appkit import vllm_plugin
from appkit.serving.engines.vllm import installed_version, null_adapter

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        installed_version() is None and not os.environ.get("CI"), reason="vLLM is not here; make serve-setup"
    ),
]

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RANKS = {"one": 8, "two": 3}


@pytest.fixture(scope="module")
def base() -> Path:
    from appkit.config import build_run_config
    from appkit.models.sources import locate

    return locate(build_run_config({"task": "nl2fol", "model": "smollm2-135m"}).model)


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Large updates, so that a row with another's adapter is far off."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters")
    for seed, (name, rank) in enumerate(RANKS.items()):
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        torch.manual_seed(seed)
        peft = get_peft_model(
            model,
            LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS), task_type="CAUSAL_LM"),
        )
        for key, parameter in peft.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(parameter, std=0.02)
        peft.save_pretrained(folder / name)
    return {name: folder / name for name in RANKS}


@pytest.fixture(scope="module")
def prompts(base: Path) -> list[list[int]]:
    size = json.loads((base / "config.json").read_text())["vocab_size"]
    draw = random.Random(0)
    return [[draw.randrange(size) for _ in range(20 + 3 * at)] for at in range(8)]


@pytest.fixture(scope="module")
def expected(base: Path, adapters: dict[str, Path], prompts: list[list[int]]) -> dict[str, list[list[float]]]:
    """PEFT's log-probability of every token but the first, by adapter and prompt."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    peft = PeftModel.from_pretrained(model, adapters["one"], adapter_name="one")
    peft.load_adapter(adapters["two"], adapter_name="two")
    peft.eval()

    def log_probabilities(tokens: list[int]) -> list[float]:
        with torch.no_grad():
            found = peft(torch.tensor([tokens])).logits[0].log_softmax(-1)
        return found[:-1].gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist()

    made = {}
    for name in RANKS:
        peft.set_adapter(name)
        made[name] = [log_probabilities(tokens) for tokens in prompts]
    with peft.disable_adapter():
        made["base"] = [log_probabilities(tokens) for tokens in prompts]
    return made


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[bytes]
    port: int
    log: Path


@contextmanager
def served(base: Path, adapters: dict[str, Path], folder: Path) -> Iterator[Served]:
    """vLLM with two slots and the plug-in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(base)),
        *("--served-model-name", "base", "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--enforce-eager", "--enable-lora", "--max-logprobs", "1"),
        *("--distributed-executor-backend", "uni"),
        *("--max-loras", "2", "--max-cpu-loras", str(max(2, len(adapters))), "--max-lora-rank", "64"),
        *("--lora-target-modules", *TARGETS),
        *("--lora-modules", *(f"{name}={path}" for name, path in adapters.items())),
    ]
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "APPKIT_ENGINE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "APPKIT_STOCK_LORA": "",
    }
    environment.pop("APPKIT_WARM", None)  # the processes must be each other's children
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=output, env=environment, cwd=folder, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield Served(process, port, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def engine(
    base: Path, adapters: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Both slots are full with the two adapters; a third, which changes nothing, has to take turns with them."""
    folder = tmp_path_factory.mktemp("engine")
    null = null_adapter(folder / "null", "model.layers.0.self_attn.q_proj", (576, 576))
    with served(base, {**adapters, "null": null}, folder) as running:
        yield running


def ask(engine: Served, model: str, tokens: list[int]) -> list[float]:
    body = {"model": model, "prompt": tokens, "max_tokens": 8, "prompt_logprobs": 0, "ignore_eos": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{engine.port}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        places = json.load(answer)["choices"][0]["prompt_logprobs"]
    return [places[at][str(tokens[at])]["logprob"] for at in range(1, len(tokens))]


def test_every_row_of_a_mixed_batch_is_pefts(
    engine: Served, prompts: list[list[int]], expected: dict[str, list[list[float]]]
) -> None:
    """Both slots are full, and rows without any adapter are in the same batch."""
    assert vllm_plugin.active()
    assert "Using GroupedLora" in engine.log.read_text()
    jobs = [(name, at) for at in range(len(prompts)) for name in ("base", "one", "two")]
    with ThreadPoolExecutor(len(jobs)) as pool:
        found = list(pool.map(lambda job: ask(engine, job[0], prompts[job[1]]), jobs))
    off = {
        name: max(
            abs(ours - theirs)
            for job, values in zip(jobs, found, strict=True)
            if job[0] == name
            for ours, theirs in zip(values, expected[name][job[1]], strict=True)
        )
        for name in expected
    }
    apart = [abs(one - two) for one, two in zip(expected["one"][0], expected["base"][0], strict=True)]
    assert max(apart) > 0.5  # the adapters matter
    assert all(value <= 1e-4 for value in off.values()), off


def test_slots_that_several_adapters_share(
    engine: Served, prompts: list[list[int]], expected: dict[str, list[list[float]]]
) -> None:
    """Three adapters in two slots: each comes back to a slot that another had meanwhile."""
    for at, name in enumerate(("one", "two", "null", "two", "one", "null", "one", "two")):
        wanted = expected["base" if name == "null" else name][at]
        found = ask(engine, name, prompts[at])
        off = max(abs(ours - theirs) for ours, theirs in zip(found, wanted, strict=True))
        assert off <= 1e-4, (at, name, off)


def running(process: psutil.Process) -> bool:
    """Not when it ended and only waits for who started it to ask how."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_no_process_outlives_the_one_that_serves(engine: Served) -> None:
    """The last test of this engine: it ends it as the kernel does when memory is short."""
    assert engine.process is not None
    below = psutil.Process(engine.process.pid).children(recursive=True)
    cores = [one for one in below if "EngineCore" in " ".join(one.cmdline())]
    assert cores, below
    os.kill(engine.process.pid, signal.SIGKILL)
    engine.process.wait(10)
    left = psutil.wait_procs(cores, timeout=10)[1]
    assert not [one for one in left if running(one)]
