"""Prefix-tuning beside PEFT's own: logits, gradients, start, export; rows packed, cached and alone."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    PeftModel,
    PrefixTuningConfig,
    get_peft_model,
    initialize_kv_prefix_from_past_key_values,
)
from safetensors.torch import load_file
from tiny import CONFIGS, VOCABULARY, tiny
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from appkit.adapters.prefix import METHOD
from appkit.adapters.prefix.build import build, read_tokens, start_from_tokens
from appkit.adapters.prefix.config import PrefixOptions
from appkit.adapters.virtual_tokens import EMBEDDINGS, Prefixed, Sizes, export, flatten, restore, split
from appkit.bundles import manifest as manifests
from appkit.config import build_run_config
from appkit.errors import BundleError, ConfigError
from appkit.heads.label import loss as label_loss
from appkit.heads.lm import loss as lm_loss
from appkit.method import Training
from appkit.models import attention
from appkit.models import generate as generating
from appkit.models.batch import Example, Labelled, collate, collate_labelled, collate_texts
from appkit.models.forward import states
from appkit.models.generate import generate

COUNTS = (3, 7)
"""virtual tokens, fewer and more than the windows of 4 and 5 tokens that two architectures have"""


def rows(count: int, seed: int = 0, prefix: int = 0) -> list[Example]:
    draw = random.Random(seed)
    shared = [draw.randrange(3, VOCABULARY) for _ in range(prefix)]
    own = [[draw.randrange(3, VOCABULARY) for _ in range(draw.randint(4, 17))] for _ in range(count)]
    return [Example((*shared, *one), prefix + draw.randint(1, len(one) - 1)) for one in own]


def based(architecture: str = "llama") -> Any:
    base = tiny(architecture)
    attention.use(base)
    return base


def seeded(base: Any, **options: Any) -> Prefixed:
    torch.manual_seed(5)
    return build(base, PrefixOptions(**options))


def pair(architecture: str = "llama", **options: Any) -> tuple[Prefixed, Any]:
    """Ours, and PEFT's over a base that attends as transformers does, drawn with the same seed."""
    ours = seeded(based(architecture), **options)
    projection = options.get("projection")
    config = PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=options["tokens"],
        prefix_projection=projection is not None,
        encoder_hidden_size=projection,
    )
    base = tiny(architecture)  # seeds by itself
    torch.manual_seed(5)
    return ours, get_peft_model(base, config)


def peft_losses(model: Any, examples: list[Example]) -> list[torch.Tensor]:
    """One row at a time through PEFT's forward."""
    losses = []
    for row in examples:
        logits = model(torch.tensor([row.tokens])).logits[0].float()
        targets = torch.tensor(row.tokens[row.supervised :])
        losses.append(
            torch.nn.functional.cross_entropy(logits[row.supervised - 1 : -1], targets, reduction="none")
        )
    return losses


def write(model: Prefixed, folder: Path) -> Path:
    form = export(model, None)
    return manifests.write(folder, form, {"x": torch.ones(1)}, {}, {"base": {"id": "tiny"}}, "", "")


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("tokens", COUNTS)
@pytest.mark.parametrize("share_prefix", [True, False])
def test_packed_rows_give_what_pefts_prefix_tuning_gives(
    architecture: str, tokens: int, share_prefix: bool
) -> None:
    ours, reference = pair(architecture, tokens=tokens)
    examples = rows(5, prefix=6)
    batch = collate(examples, share_prefix=share_prefix)
    assert batch.segments.prefix == 6 * share_prefix
    with torch.no_grad():
        expected = torch.cat(peft_losses(reference, examples))
        plain = torch.cat(peft_losses(tiny(architecture), examples))
    assert not torch.allclose(expected, plain, atol=0.1)
    torch.testing.assert_close(lm_loss.token_losses(ours, batch), expected, atol=1e-5, rtol=1e-5)
    with ours.disable_adapter():
        torch.testing.assert_close(lm_loss.token_losses(ours, batch), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("keys", [0, 1000], ids=["tiled", "plain"])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_gradients_are_pefts(architecture: str, keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "SHORT", keys)
    ours, reference = pair(architecture, tokens=3)
    examples = rows(5, prefix=6)
    torch.cat(peft_losses(reference, examples)).sum().backward()
    lm_loss.loss(ours, collate(examples)).backward()
    expected = reference.prompt_encoder["default"].embedding.weight.grad
    assert expected.abs().max() > 1e-2
    torch.testing.assert_close(ours.encoder.weight.grad, expected, atol=1e-4, rtol=1e-4)


def test_a_projection_is_pefts() -> None:
    ours, reference = pair(tokens=3, projection=11)
    examples = rows(4)
    losses = torch.cat(peft_losses(reference, examples))
    losses.sum().backward()
    batch = collate(examples)
    torch.testing.assert_close(lm_loss.losses(ours, batch), losses, atol=1e-5, rtol=1e-5)
    lm_loss.loss(ours, batch).backward()
    encoder = reference.prompt_encoder["default"]
    for (name, mine), (_, its) in zip(
        ours.encoder.named_parameters(), encoder.named_parameters(), strict=True
    ):
        torch.testing.assert_close(mine.grad, its.grad, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("options", [{}, {"projection": 11}], ids=["plain", "projected"])
def test_plain_peft_loads_the_export(options: dict[str, int], tmp_path: Path) -> None:
    ours = seeded(based(), tokens=4, **options)
    bundle = write(ours, tmp_path / "bundle")
    assert load_file(bundle / "adapter_model.safetensors").keys() == {EMBEDDINGS}
    reference = PeftModel.from_pretrained(tiny(), str(bundle))
    assert type(reference.active_peft_config) is PrefixTuningConfig
    examples = rows(4)
    with torch.no_grad():
        expected = torch.cat(peft_losses(reference, examples))
    torch.testing.assert_close(lm_loss.token_losses(ours, collate(examples)), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "task"), [("sequence", "SEQ_CLS"), ("token", "TOKEN_CLS")])
def test_plain_peft_loads_a_label_head_beside_it(kind: str, task: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    headed = label_loss.attach(based(), kind, 3)
    untrained = headed.score
    ours = seeded(headed, tokens=4)
    trained = {name for name, one in ours.named_parameters() if one.requires_grad}
    assert trained == {"encoder.weight", *(f"base.score.{name}" for name, _ in untrained.named_parameters())}
    with torch.no_grad():
        ours.base.score.weight.mul_(50)
    bundle = write(ours, tmp_path / "bundle")
    reference = PeftModel.from_pretrained(label_loss.attach(tiny(), kind, 3), str(bundle))
    assert reference.active_peft_config.task_type == task
    texts = [row.tokens for row in rows(3)]
    places = [(len(text) - 1,) if kind == "sequence" else (0, 2) for text in texts]
    batch = collate_labelled([Labelled(text, place) for text, place in zip(texts, places, strict=True)])
    with torch.no_grad():
        given = [reference(torch.tensor([text])).logits[0] for text in texts]
        mine = label_loss.logits(ours, batch, "last" if kind == "sequence" else "none")
    if kind == "token":
        given = [logits[list(place)] for logits, place in zip(given, places, strict=True)]
    expected = torch.cat([logits.view(-1, 3) for logits in given])
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)
    again = restore(label_loss.attach(based(), kind, 3), load_file(bundle / "adapter_model.safetensors"))
    with torch.no_grad():
        assert torch.equal(label_loss.logits(again, batch, "last" if kind == "sequence" else "none"), mine)
    assert ours.unload().score is untrained


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("shared", [0, 9])
@pytest.mark.parametrize("ahead", [None, 7], ids=["short", "long"])
def test_decoding_with_the_cache_is_recomputing_with_peft(
    architecture: str, shared: int, ahead: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ahead:  # prompts are long then: read before the others answer, in pieces
        monkeypatch.setattr(generating, "BESIDE", 2)
        monkeypatch.setattr(generating, "AHEAD", ahead)
    ours, reference = pair(architecture, tokens=3)
    prompts = [list(row.tokens) for row in rows(6, seed=11, prefix=shared)]
    answers = generate(
        ours, prompts, max_new_tokens=8, stop=frozenset({5}), batch_rows=4, log_probabilities=True
    )
    for prompt, answer in zip(prompts, answers, strict=True):
        tokens = answer.tokens + (() if answer.truncated else (5,))
        with torch.no_grad():
            logits = reference(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
        assert logits.argmax(-1).tolist() == list(tokens)
        likely = logits.float().log_softmax(-1).amax(-1)
        torch.testing.assert_close(torch.tensor(answer.log_probabilities), likely, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("keys", [0, 1000], ids=["tiled", "plain"])
def test_rows_beside_each_other_are_rows_alone(keys: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "SHORT", keys)
    ours = seeded(based("mistral"), tokens=3)
    examples = rows(2, prefix=2)
    together = lm_loss.token_losses(ours, collate(examples))
    alone = torch.cat([lm_loss.token_losses(ours, collate([row])) for row in examples])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("keys", [0, 1000], ids=["tiled", "plain"])
@pytest.mark.parametrize(("architecture", "window"), [("llama", None), ("mistral", 5)])
def test_unmasked_rows_see_them_too(
    architecture: str, window: int | None, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers' own attention, over PEFT's kind of cache and with a mask that we write."""
    monkeypatch.setattr(attention, "SHORT", keys)
    ours, plain = seeded(based(architecture), tokens=3), tiny(architecture)
    texts = [row.tokens for row in rows(3)]
    with torch.no_grad():
        mine = states(ours, collate_texts(texts, causal=False))
        given = []
        for text in texts:
            T = len(text)
            distance = (torch.arange(3, 3 + T)[:, None] - torch.arange(3 + T)).abs()
            hidden = distance >= (window or 1000)
            mask = torch.zeros(1, 1, T, 3 + T).masked_fill(hidden, float("-inf"))
            cache = DynamicCache([(key, value) for key, value in ours.tokens()])
            answer = plain.model(
                torch.tensor([text]),
                attention_mask=mask,
                position_ids=torch.arange(3, 3 + T)[None],
                past_key_values=cache,
            )
            given.append(answer.last_hidden_state[0])
    torch.testing.assert_close(mine, torch.cat(given), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("tokens", [4, 50])
def test_a_start_from_tokens_is_the_base_behind_these_tokens(architecture: str, tokens: int) -> None:
    base = based(architecture)
    ours = seeded(base, tokens=tokens, init="tokens")
    examples = rows(2, prefix=5)
    batch = collate(examples)
    training = Training(
        PrefixOptions(tokens=tokens, init="tokens"), 0, 1, lm_loss.loss, lambda: iter([batch, None])
    )
    start_from_tokens(ours, training)
    line = batch.tokens[0].tolist()
    opening = tuple((line * tokens)[:tokens])
    assert opening[:4] == examples[0].tokens[:4]
    behind = [Example((*opening, *row.tokens), tokens + row.supervised) for row in examples]
    with ours.disable_adapter():
        expected = lm_loss.token_losses(ours, collate(behind))
    torch.testing.assert_close(lm_loss.token_losses(ours, batch), expected, atol=1e-4, rtol=1e-4)
    assert {module.training for module in base.modules()} == {False}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_keys_and_values_of_tokens_are_those_that_peft_starts_from(architecture: str) -> None:
    text = torch.tensor([1, 7, 30])  # a window of 4 tokens keeps three in the cache
    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(text))
    reference = get_peft_model(tiny(architecture), config)
    with torch.no_grad():
        cache = tiny(architecture)(text[None], use_cache=True).past_key_values
        tokens = read_tokens(based(architecture), text)
    pairs = [(layer.keys, layer.values) for layer in cache.layers]
    expected = initialize_kv_prefix_from_past_key_values(reference, past_key_values=pairs)
    assert torch.equal(reference.prompt_encoder["default"].embedding.weight, expected)
    torch.testing.assert_close(flatten(tokens), expected, atol=1e-5, rtol=1e-5)


def test_the_start_is_left_as_it_is_where_it_is_random() -> None:
    ours = seeded(based(), tokens=4)
    before = ours.encoder.weight.detach().clone()
    start_from_tokens(
        ours, Training(PrefixOptions(tokens=4, init="normal"), 0, 1, lm_loss.loss, lambda: iter([]))
    )
    assert torch.equal(ours.encoder.weight, before)


def test_flat_tokens_are_split_and_joined_again() -> None:
    sizes = Sizes(layers=3, heads=2, width=5)
    flat = torch.arange(4.0 * sizes.flat).view(4, sizes.flat)
    tokens = split(flat, sizes, torch.float32)
    assert {tuple(part.shape) for both in tokens for part in both} == {(1, 2, 4, 5)}
    assert tokens[1][1][0, 1, 2].tolist() == (flat[2, 35:40]).tolist()  # layer 1, values, head 1, token 2
    assert torch.equal(flatten(tokens), flat)


def test_a_copy_computes_with_its_own_tokens() -> None:
    ours = seeded(based(), tokens=3)
    batch = collate(rows(2))
    before = lm_loss.token_losses(ours, batch)
    again = copy.deepcopy(ours)
    with torch.no_grad():
        again.encoder.weight.mul_(3)
    assert torch.equal(lm_loss.token_losses(ours, batch), before)
    assert not torch.allclose(lm_loss.token_losses(again, batch), before, atol=1e-2)


@pytest.mark.parametrize("options", [{"tokens": 7}, {"tokens": 7, "projection": 11}])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_it_counts_what_is_trained(architecture: str, options: dict[str, int]) -> None:
    ours = seeded(based(architecture), **options)
    linear = [module for module in ours.base.model.modules() if isinstance(module, torch.nn.Linear)]
    shapes = [(module.out_features, module.in_features) for module in linear]
    count = sum(parameter.numel() for parameter in ours.parameters() if parameter.requires_grad)
    assert METHOD.trained_parameters(PrefixOptions(**options), shapes) == count


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"tokens": 0}, r"method\.tokens: input should be greater than or equal to 1, got 0"),
        ({"tokens": 5000}, r"method\.tokens: input should be less than or equal to 4096, got 5000"),
        ({"projection": 0}, r"method\.projection: input should be greater than or equal to 1, got 0"),
        ({"projection": 8, "init": "tokens"}, r"method\.init: tokens needs method\.projection=none"),
        ({"rank": 8}, r"method\.rank"),
    ],
)
def test_bad_options_are_refused_in_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as refused:
        build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": {"name": "prefix", **options}})
    assert "\n" not in str(refused.value)


def test_a_base_without_one_width_of_keys_is_refused() -> None:
    base = tiny()
    layer = base.model.layers[1].self_attn
    layer.k_proj = torch.nn.Linear(32, 8)
    with pytest.raises(ConfigError, match=r"LlamaForCausalLM has 3 of 2 widths; choose another base"):
        build(base, PrefixOptions())
    del layer.k_proj
    with pytest.raises(ConfigError, match=r"in each of its 3 layers, LlamaForCausalLM has 2 of 1 widths"):
        build(base, PrefixOptions())


def test_tokens_of_another_base_are_refused(tmp_path: Path) -> None:
    tensors = load_file(write(seeded(based(), tokens=3), tmp_path / "bundle") / "adapter_model.safetensors")
    shape = CONFIGS["llama"]().to_dict() | {"num_hidden_layers": 2}
    for base, given in (
        (LlamaForCausalLM(LlamaConfig(**shape)), tensors),
        (based(), {}),
        (based(), tensors | {"base_model.score.weight": torch.ones(2, 32)}),
    ):
        with pytest.raises(BundleError, match=r"the base asks for .*; copy the bundle again"):
            restore(base, given)


def test_every_option_of_the_installed_pefts_prefix_tuning_is_known() -> None:
    """After an upgrade of PEFT: decide about each new option, in appkit/bundles/schema.py."""
    import dataclasses

    from appkit.bundles.schema import CONFIGS as SCHEMAS

    options = {field.name for field in dataclasses.fields(PrefixTuningConfig)} - {"runtime_config"}
    assert options <= set(SCHEMAS["prefix"].model_fields)


def test_no_room_in_the_context_is_said_before_anything_is_loaded(tmp_path: Path) -> None:
    from appkit.training.forecast import forecast

    def of(tokens: int) -> Any:
        method = {"name": "prefix", "tokens": tokens}
        config = build_run_config({"task": "nl2fol", "model": "smollm2-135m", "method": method})
        architecture = LlamaConfig(**CONFIGS["llama"]().to_dict() | {"max_position_embeddings": 64})
        return forecast(
            config, METHOD, architecture, 10**6, torch.float32, "cpu", rows(4), [], 4, 20, tmp_path
        )

    longest = max(len(row.tokens) for row in rows(4)) + 20
    assert of(64 - longest).memory > 0
    with pytest.raises(
        ConfigError, match=rf"reach {longest} tokens behind {65 - longest} virtual ones of method=prefix"
    ):
        of(65 - longest)
