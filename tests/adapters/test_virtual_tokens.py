"""Virtual tokens in an engine, beside other adapters: each sees its own; and those that do not fit a base."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny import save_tiny
from transformers import AutoModelForCausalLM

from appkit.adapters.lora import METHOD as LORA
from appkit.adapters.lora.config import LoraOptions
from appkit.adapters.prefix import METHOD as PREFIX
from appkit.adapters.prefix.config import PrefixOptions
from appkit.bundles.schema import check_adapter_config
from appkit.errors import BundleError
from appkit.heads.lm import loss as lm_loss
from appkit.models import attention
from appkit.models.batch import Example, collate
from appkit.models.generate import generate
from appkit.serving.engines.compatibility import Adapter, faults
from appkit.serving.engines.protocol import NULL, Job, JobRefused
from appkit.serving.engines.transformers import TransformersEngine
from appkit.serving.engines.views import folded
from appkit.serving.gateway.faults import Fault
from appkit.serving.gateway.registry import Target
from appkit.serving.gateway.request import room_for
from appkit.task import HeadSpec

EXAMPLE = Example((1, 7, *range(20, 40)), 5)
CONFIG = {
    "peft_type": "PREFIX_TUNING",
    "task_type": "CAUSAL_LM",
    "num_virtual_tokens": 5,
    "num_layers": 2,
    "token_dim": 4,
    "num_attention_heads": 2,
}
LINEAR = {f"model.layers.{number}.self_attn.k_proj": (4, 8) for number in (0, 1)} | {"lm_head": (16, 8)}
FLAT = (5, 2 * 2 * 4)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "tiny", scale=8.0)


def loaded(base: Path) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    attention.use(model)
    return model


def write(form: Any, folder: Path) -> Path:
    folder.mkdir()
    config = form.config | {"peft_type": getattr(form.config["peft_type"], "value", "PREFIX_TUNING")}
    (folder / "adapter_config.json").write_text(json.dumps(config, default=str), encoding="utf-8")
    save_file(dict(form.tensors), folder / "adapter_model.safetensors", metadata={"format": "pt"})
    return folder


def scores(model: Any) -> list[float]:
    return list(map(float, -lm_loss.token_losses(model, collate([EXAMPLE]))))


def test_adapters_take_turns_in_one_engine(base: Path, tmp_path: Path) -> None:
    """Two with virtual tokens, a LoRA and the base; one after the other is removed."""
    expected, answers, folders = {NULL: scores(loaded(base))}, {}, {}
    for name, count in (("three", 3), ("nine", 9), ("lora", 0)):
        torch.manual_seed(count)
        method, options = (PREFIX, PrefixOptions(tokens=count)) if count else (LORA, LoraOptions(rank=4))
        model = method.build(loaded(base), options)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter))
        expected[name] = scores(model)
        (answers[name],) = generate(model, [EXAMPLE.tokens], max_new_tokens=6, stop=frozenset())
        folders[name] = write(method.export(model, options), tmp_path / name)
    assert len({tuple(values) for values in expected.values()}) == 4

    async def check() -> None:
        engine = TransformersEngine(base, dtype="float32")
        await engine.start()
        try:
            await engine.add("three", folders["three"])
            assert await engine.score("three", EXAMPLE) == pytest.approx(expected["three"], abs=1e-5)
            assert await engine.score(NULL, EXAMPLE) == pytest.approx(expected[NULL], abs=1e-5)
            for name in ("lora", "nine"):
                await engine.add(name, folders[name])
            for name in ("nine", "lora", NULL, "three", "lora", "nine", NULL):
                assert await engine.score(name, EXAMPLE) == pytest.approx(expected[name], abs=1e-5)
            jobs = [Job(name, EXAMPLE.tokens, 6) for name in answers]
            for name, piece in zip(answers, await asyncio.gather(*map(engine.complete, jobs)), strict=True):
                assert piece.tokens == answers[name].tokens
            await engine.remove("three")
            with pytest.raises(JobRefused, match="no adapter 'three' is loaded"):
                await engine.complete(jobs[0])
            await engine.remove("lora")
            for name in ("nine", NULL):
                assert await engine.score(name, EXAMPLE) == pytest.approx(expected[name], abs=1e-5)
            await engine.remove("nine")
            assert await engine.score(NULL, EXAMPLE) == pytest.approx(expected[NULL], abs=1e-5)
        finally:
            await engine.close()

    asyncio.run(check())


def test_they_take_room_of_the_context(base: Path, tmp_path: Path) -> None:
    options = PrefixOptions(tokens=9)
    folder = write(PREFIX.export(PREFIX.build(loaded(base), options), options), tmp_path / "nine")

    async def check() -> None:
        engine = TransformersEngine(base, dtype="float32", role="embed")
        await engine.start()
        try:
            await engine.add("nine", folder)
            text = [5] * engine.max_length
            with pytest.raises(JobRefused, match=f"1 to {engine.max_length - 9} tokens, got"):
                await engine.states("nine", text[8:])
            assert len(await engine.states("nine", text[:40])) == 40
        finally:
            await engine.close()

    asyncio.run(check())


def found(
    config: Mapping[str, Any] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    linear: Mapping[str, tuple[int, int]] = LINEAR,
    **more: Any,
) -> list[str]:
    given = {"prompt_embeddings": FLAT} if shapes is None else shapes
    adapter = Adapter(CONFIG | dict(config or {}), given)
    return list(faults(adapter, linear, **{"engine": "transformers", **more}))


def test_what_fits_a_base() -> None:
    assert found() == []
    head = HeadSpec(kind="sequence", labels=("a", "b", "c"))
    shapes = {"prompt_embeddings": FLAT, "base_model.score.weight": (3, 8)}
    saved = {"modules_to_save": ["score"]}
    assert found(saved, shapes, head=head, width=8) == []
    assert found(saved, shapes, head=head, width=9) != []
    assert found(head=head, width=8) == [
        "the head is missing (base_model.score.weight), 3 outputs are expected"
    ]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"engine": "vllm"}, "it holds virtual tokens, not factors"),
        ({"shapes": {}}, r"prompt_embeddings has shape None, .* ask for \(5, 16\)"),
        ({"shapes": {"prompt_embeddings": (5, 15)}}, r"prompt_embeddings has shape \(5, 15\)"),
        ({"config": {"num_virtual_tokens": 6}}, r"ask for \(6, 16\)"),
        ({"config": {"num_layers": 3}}, r"names layers and width \(3, 4\) of keys, the base has \(2, 4\)"),
        ({"config": {"token_dim": 5}}, r"names layers and width \(2, 5\)"),
        (
            {"shapes": {"prompt_embeddings": FLAT, "base_model.score.weight": (3, 8)}},
            "a label head, which this bundle's task does not have",
        ),
        ({"shapes": {"prompt_embeddings": FLAT, "more": (1,)}}, "tensor more is none of virtual tokens"),
        ({"linear": {"lm_head": (16, 8)}}, "no k_proj of one width"),
        ({"linear": LINEAR | {"model.layers.2.self_attn.k_proj": (8, 8)}}, "no k_proj of one width"),
        ({"linear": LINEAR | {"model.layers.2.self_attn.k_proj": (4, 8)}}, r"the base has \(3, 4\)"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_fit_a_base_is_named(given: dict[str, Any], reason: str) -> None:
    assert any(re.search(reason, fault) for fault in found(**given)), found(**given)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"prefix_projection": True}, "prefix_projection"),
        ({"num_virtual_tokens": 0}, "num_virtual_tokens"),
        ({"num_virtual_tokens": 10**9}, "num_virtual_tokens"),
        ({"num_transformer_submodules": 2}, "num_transformer_submodules"),
        ({"peft_type": "LORA"}, "peft_type"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
        ({"auto_mapping": {"parent_library": "os"}}, "auto_mapping"),
        ({"r": 4}, "r is no key"),
    ],
)
def test_an_option_that_is_not_allowed_is_refused_by_its_name(options: dict[str, Any], key: str) -> None:
    file = Path("adapter_config.json")
    check_adapter_config(file, CONFIG, "prefix")
    with pytest.raises(BundleError, match=key):
        check_adapter_config(file, CONFIG | options, "prefix")


def test_no_head_is_folded_beside_them(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    tensors = {"prompt_embeddings": torch.ones(FLAT), "base_model.score.weight": torch.ones(3, 8)}
    save_file(tensors, folder / "adapter_model.safetensors")
    head = HeadSpec(kind="sequence", labels=("a", "b", "c"))
    with pytest.raises(BundleError, match="cannot be folded: beside it is no LoRA"):
        folded(folder, base, tmp_path / "folded", head)


def test_they_take_room_of_the_context_of_a_request() -> None:
    engine = SimpleNamespace(engine=SimpleNamespace(max_length=64))
    gateway = SimpleNamespace(settings=SimpleNamespace(max_context=10_000, max_tokens=1000))

    def room(config: Mapping[str, Any], prompt: int) -> int:
        deployment = SimpleNamespace(virtual_tokens=Adapter(config, {}).virtual_tokens)
        target: Any = Target("a@1", "a", engine, None, deployment)  # type: ignore[arg-type]
        return room_for(gateway, target, range(prompt), None, 50)  # type: ignore[arg-type]

    assert (room({"r": 4}, 58), room(CONFIG, 58)) == (6, 1)
    with pytest.raises(Fault, match=r"^the context has 59 tokens; the prompt has 59"):
        room(CONFIG, 59)
