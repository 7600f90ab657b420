"""Label heads in the real engines over the real base, against PEFT in fp32, each text alone and unpadded."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import LABELS as MOST_LABELS
from engines import Engines, Shared

from appkit.heads.roles import Role
from appkit.serving.engines.protocol import NULL, Engine, Job, JobRefused, served_base
from appkit.serving.engines.transformers import TransformersEngine
from appkit.serving.engines.views import folded, without_head
from appkit.serving.engines.vllm import Room, VllmEngine, installed_version, null_adapter
from appkit.task import HeadSpec

pytestmark = pytest.mark.vllm
needs_vllm = pytest.mark.skipif(
    installed_version() is None and not os.environ.get("CI"), reason="vLLM is not here; make serve-setup"
)

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LABELS = {"two": 2, "ten": 10, "many": 77}
RANKS = {"two": 8, "ten": 16, "many": 8, "words": 16, "plain": 8}
LENGTHS = (1, 17, 40, 65, 161)
LOGITS, STATES = 1e-4, 2e-4

Tokens = list[int]


@dataclass(frozen=True)
class World:
    """The base, adapters by name, texts, and what PEFT gives: logits by adapter and text, final hidden states of
    "words" and of the base, causal and unmasked, by text.

    rounding: how far PEFT's own fp32 states are from its fp64 ones. Mostly 5e-5; but short texts under unmasked
    attention, which this base never saw, tip over at a breath: up to 1e-2.
    """

    base: Path
    adapters: dict[str, Path]
    texts: list[Tokens]
    logits: dict[str, list[np.ndarray]]
    states: dict[tuple[str, str], list[np.ndarray]]
    rounding: dict[tuple[str, str], list[float]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    from appkit.config import build_run_config
    from appkit.models.files import load_tokenizer
    from appkit.models.sources import locate

    config = build_run_config({"task": "nl2fol", "model": "smollm2-135m"})
    base = served_base(config.model, config.quant, locate(config.model))  # as the engines of bundles load it
    written = load_tokenizer(base)((Path(__file__).parents[2] / "LICENSE").read_text())["input_ids"]
    texts = [written[100 * at :][:length] for at, length in enumerate(LENGTHS)]
    folder = tmp_path_factory.mktemp("adapters")
    logits: dict[str, list[np.ndarray]] = {}
    states: dict[tuple[str, str], list[np.ndarray]] = {}
    exact: dict[tuple[str, str], list[np.ndarray]] = {}
    kinds: dict[str, tuple[Any, str, dict[str, int]]] = {
        **{
            name: (AutoModelForSequenceClassification, "SEQ_CLS", {"num_labels": count})
            for name, count in LABELS.items()
        },
        "words": (AutoModelForTokenClassification, "TOKEN_CLS", {"num_labels": 9}),
        "plain": (AutoModelForCausalLM, "CAUSAL_LM", {}),
    }
    for seed, (name, (auto, task, more)) in enumerate(kinds.items()):
        torch.manual_seed(seed)
        net = auto.from_pretrained(base, dtype=torch.float32, attn_implementation="eager", **more)
        net.config.pad_token_id = None  # the last token is the last, whichever it is
        options = LoraConfig(
            r=RANKS[name], lora_alpha=2 * RANKS[name], target_modules=list(TARGETS), task_type=task
        )
        model = get_peft_model(net, options)
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(parameter, std=0.02)
            elif "modules_to_save" in key:
                torch.nn.init.normal_(parameter, std=0.05)
        model.eval().save_pretrained(folder / name)
        with torch.inference_mode():
            if name in LABELS:
                logits[name] = [model(torch.tensor([text])).logits[0].numpy() for text in texts]
            if name == "words":
                for kept in (states, exact):
                    for attention in ("causal", "unmasked"):
                        kept["words", attention] = [_states(model, text, attention) for text in texts]
                        with model.disable_adapter():
                            kept[NULL, attention] = [_states(model, text, attention) for text in texts]
                    model.double()
    adapters = {name: folder / name for name in kinds}
    rounding = {key: [_off(*pair) for pair in zip(states[key], exact[key], strict=True)] for key in states}
    return World(base, adapters, texts, logits, states, rounding)


def _off(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max())


def _states(model: Any, text: Tokens, attention: str) -> np.ndarray:
    import torch

    T = len(text)
    mask = None if attention == "causal" else torch.zeros(1, 1, T, T, dtype=model.dtype)
    found = model.get_base_model().model(torch.tensor([text]), attention_mask=mask, use_cache=False)
    return np.asarray(found.last_hidden_state[0])


def vllm(
    engines: Engines,
    world: World,
    folder: Path,
    role: Role,
    targets: Sequence[str] = TARGETS,
    rank: int = 16,
) -> Shared:
    return engines.vllm(
        world.base,
        dtype="float32",
        null=null_adapter(folder / "null", "model.layers.0.self_attn.q_proj", (576, 576)),
        room=Room(rank=rank, targets=targets, slots=4, adapters=5, labels=77),
        log=folder / "log",
        role=role,
    )


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[Engine]:
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def refused(engine: Engine, ask: Awaitable[Any], reason: str) -> None:
    with pytest.raises(JobRefused, match=reason) as caught:
        await ask
    assert "\n" not in str(caught.value)


async def off_in_logits(engine: Engine, world: World) -> float:
    """The largest difference from PEFT over all adapters and texts, asked at once."""
    jobs = [(name, at) for at in range(len(world.texts)) for name in LABELS]
    found = await asyncio.gather(*(engine.classify(name, world.texts[at]) for name, at in jobs))
    assert all(
        one.shape == (LABELS[name],) and one.dtype == np.float32
        for (name, _), one in zip(jobs, found, strict=True)
    )
    return max(_off(one, world.logits[name][at]) for (name, at), one in zip(jobs, found, strict=True))


async def same_states(engine: Engine, world: World, attention: str) -> None:
    """Within STATES, where PEFT's own are so well known; most are."""
    jobs = [(name, at) for at in range(len(world.texts)) for name in ("words", NULL)]
    found = await asyncio.gather(*(engine.states(name, world.texts[at]) for name, at in jobs))
    assert all(
        one.shape == (LENGTHS[at], 576) and one.dtype == np.float32
        for (_, at), one in zip(jobs, found, strict=True)
    )
    off = [_off(one, world.states[name, attention][at]) for (name, at), one in zip(jobs, found, strict=True)]
    rounding = [world.rounding[name, attention][at] for name, at in jobs]
    assert all(one <= max(STATES, 10 * own) for one, own in zip(off, rounding, strict=True)), (off, rounding)
    assert sorted(rounding)[len(jobs) // 2] < STATES / 2, rounding


async def classifies(engine: Engine, world: World) -> None:
    for name in LABELS:
        await engine.add(name, world.adapters[name])
    apart = np.abs(world.logits["ten"][3] - world.logits["ten"][4]).max()
    assert apart > 1  # the texts matter
    assert await off_in_logits(engine, world) <= LOGITS
    await refused(
        engine, engine.add("plain", world.adapters["plain"]), "has no label head|holds no label head"
    )
    await refused(engine, engine.classify(NULL, world.texts[0]), "the base has no label head")
    await refused(engine, engine.classify("unknown", world.texts[0]), "unknown")
    await refused(engine, engine.classify("two", []), ".")
    await refused(engine, engine.states("two", world.texts[0]), "role=embed or embed-unmasked")
    await refused(engine, engine.complete(Job("two", (1,), 1)), "role=generate")


async def embeds(engine: Engine, world: World, attention: str, folder: Path) -> None:
    await engine.add("words", without_head(world.adapters["words"], folder / "words"))
    masked, unmasked = (world.states["words", kind][4] for kind in ("causal", "unmasked"))
    assert np.abs(masked - unmasked).max() > 1
    assert np.abs(world.states[NULL, attention][4] - world.states["words", attention][4]).max() > 1
    await same_states(engine, world, attention)
    await refused(engine, engine.states("unknown", world.texts[0]), "unknown")
    await refused(engine, engine.classify("words", world.texts[0]), "role=classify")
    await refused(engine, engine.complete(Job("words", (1,), 1)), "role=generate")


@needs_vllm
@pytest.mark.parametrize(("role", "attention"), [("embed", "causal"), ("embed-unmasked", "unmasked")])
def test_vllm_gives_the_states_of_every_token(
    engines: Engines, world: World, tmp_path: Path, role: Role, attention: str
) -> None:
    async def check() -> None:
        async with running(vllm(engines, world, tmp_path, role)) as engine:
            await embeds(engine, world, attention, tmp_path)
            await refused(engine, engine.add("whole", world.adapters["words"]), "vLLM does not load it")
            await same_states(engine, world, attention)

    asyncio.run(check())


@needs_vllm
def test_vllm_classifies_with_heads_of_different_size_in_one_batch(
    engines: Engines, world: World, tmp_path: Path
) -> None:
    async def check() -> None:
        async with running(vllm(engines, world, tmp_path, "classify")) as engine:
            await classifies(engine, world)
            for name, shape, reason in (
                ("wide", (MOST_LABELS + 1, 576), "incompatible weight shape"),
                ("thin", (2, 64), "incompatible weight shape"),
            ):
                await refused(engine, engine.add(name, with_head(world, tmp_path / name, shape)), reason)
            assert await off_in_logits(engine, world) <= LOGITS

    asyncio.run(check())


def with_head(world: World, folder: Path, shape: tuple[int, int]) -> Path:
    """The adapter "two" with another head."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(world.adapters["two"], folder)
    file = folder / "adapter_model.safetensors"
    save_file(load_file(file) | {"base_model.model.score.weight": torch.zeros(shape)}, file)
    return folder


@needs_vllm
def test_vllm_answers_folded_heads_beside_a_plain_adapter(
    engines: Engines, world: World, tmp_path: Path
) -> None:
    names = ("two", "many")
    prompts = [text[:40] for text in world.texts[1:]]
    jobs = [Job("plain", tuple(prompt), max_tokens=16, log_probabilities=True) for prompt in prompts]

    async def check() -> None:
        async with running(TransformersEngine(world.base, dtype="float32")) as local:
            await local.add("plain", world.adapters["plain"])
            expected = await asyncio.gather(*map(local.complete, jobs))
        engine_of_words = vllm(engines, world, tmp_path, "generate", (*TARGETS, "lm_head"), rank=77)
        async with running(engine_of_words) as engine:
            for name in names:
                head = HeadSpec(kind="sequence", labels=tuple(map(str, range(LABELS[name]))))
                await engine.add(
                    name, folded(world.adapters[name], world.base, tmp_path / f"{name}-folded", head)
                )
            await engine.add("plain", world.adapters["plain"])
            asked = [(name, at) for at in range(len(world.texts)) for name in names]
            told, answers = await asyncio.gather(
                asyncio.gather(*(engine.classify(name, world.texts[at]) for name, at in asked)),
                asyncio.gather(*map(engine.complete, jobs)),
            )
            for (name, at), one in zip(asked, told, strict=True):
                logits = world.logits[name][at].astype(np.float64)
                logits -= logits.max()
                assert np.abs(one - (logits - np.log(np.exp(logits).sum()))).max() <= LOGITS
            for answer, wanted in zip(answers, expected, strict=True):
                assert answer.tokens == wanted.tokens
                np.testing.assert_allclose(
                    answer.log_probabilities, wanted.log_probabilities, rtol=0, atol=LOGITS
                )
            from appkit.models.batch import Example

            await refused(engine, engine.score("plain", Example((1, 2, 3), 1)), "beside LoRA on lm_head")
            await refused(engine, engine.classify("plain", world.texts[2]), "was not added folded")
            await refused(engine, engine.states("plain", world.texts[2]), "role=embed")

    asyncio.run(check())


@needs_vllm
def test_a_folded_head_needs_room_and_an_unmasked_engine_a_base_that_it_knows(
    world: World, tmp_path: Path
) -> None:
    from appkit.errors import RunError

    view = folded(
        world.adapters["two"], world.base, tmp_path / "view", HeadSpec(kind="sequence", labels=("a", "b"))
    )
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text('{"architectures": ["Gemma3ForCausalLM"]}')
    unknown = VllmEngine(
        tmp_path / "base",
        dtype="float32",
        null=tmp_path,
        room=Room(8, TARGETS),
        log=tmp_path / "log",
        role="embed-unmasked",
    )

    async def check() -> None:
        engine = VllmEngine(
            world.base,
            dtype="float32",
            null=tmp_path,
            room=Room(rank=16, targets=TARGETS),
            log=tmp_path / "log",
        )
        await refused(engine, engine.add("two", view), "with room for lm_head")
        with pytest.raises(RunError, match="attends causally in Gemma3ForCausalLM"):
            await unknown.start()

    asyncio.run(check())


def test_transformers_classifies(world: World) -> None:
    async def check() -> None:
        async with running(TransformersEngine(world.base, dtype="float32", role="classify")) as engine:
            await classifies(engine, world)
            await engine.remove("ten")
            await refused(engine, engine.classify("ten", world.texts[0]), "no adapter 'ten' is loaded")
            found = await engine.classify("two", world.texts[4])
            assert np.abs(found - world.logits["two"][4]).max() <= LOGITS

    asyncio.run(check())


@pytest.mark.parametrize(("role", "attention"), [("embed", "causal"), ("embed-unmasked", "unmasked")])
def test_transformers_gives_the_states_of_every_token(
    world: World, tmp_path: Path, role: Role, attention: str
) -> None:
    async def check() -> None:
        async with running(TransformersEngine(world.base, dtype="float32", role=role)) as engine:
            await embeds(engine, world, attention, tmp_path)
            opening = world.texts[4][:50]  # texts of one opening are read together
            found = await asyncio.gather(*(engine.states("words", opening[:end]) for end in (50, 30, 50, 31)))
            if attention == "causal":
                for one in found:
                    assert np.abs(one - world.states["words", "causal"][4][: len(one)]).max() <= STATES
            assert np.abs(found[0] - found[2]).max() <= STATES

    asyncio.run(check())
