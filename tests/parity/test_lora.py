"""LoRA here against PEFT's own forward, and the loop's loss and gradients against transformers' own."""

import copy
import dataclasses
import json
import math
import os
import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import CONFIGS, VOCABULARY, tiny

from appkit.adapters.carrier import export
from appkit.adapters.lora import METHOD
from appkit.adapters.lora.build import lora_model
from appkit.adapters.lora.config import LoraOptions
from appkit.bundles import manifest as manifests
from appkit.config import build_run_config
from appkit.errors import ConfigError
from appkit.heads.lm import loss as lm_loss
from appkit.method import Training
from appkit.models import attention
from appkit.models.batch import Example, collate
from appkit.task import Metric
from appkit.training import checkpoint
from appkit.training.loop import Outcome, fit
from appkit.training.plan import Step, plan

TOKENS = torch.randint(3, VOCABULARY, (2, 11), generator=torch.Generator().manual_seed(5))


def adapted(options: LoraOptions, architecture: str = "llama") -> torch.nn.Module:
    """Ours, with a B that is not zero, so that everything matters."""
    base = tiny(architecture)
    torch.manual_seed(1)
    model = lora_model(base, options)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def by_peft(ours: torch.nn.Module, options: LoraOptions, architecture: str = "llama") -> torch.nn.Module:
    """PEFT's own model with the same numbers."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=options.targets if options.targets == "all-linear" else list(options.targets),
        use_rslora=options.rslora,
        use_dora=options.dora,
        task_type="CAUSAL_LM",
    )
    reference = get_peft_model(tiny(architecture), config)
    reference.load_state_dict(ours.state_dict())
    return reference


def short(model: torch.nn.Module) -> list[str]:
    """Names of the LoRA layers that left PEFT's forward."""
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert layers
    return [name for name, module in layers.items() if "forward" in vars(module)]


def outputs(model: torch.nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits, and the gradient of every trained parameter."""
    torch.manual_seed(2)  # of dropout
    model.zero_grad()
    logits = model(TOKENS).logits
    torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()).backward()
    return logits.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def assert_equals_peft(
    options: LoraOptions, architecture: str = "llama", training: bool = False
) -> torch.nn.Module:
    ours = adapted(options, architecture).train(training)
    reference = by_peft(ours, options, architecture).train(training)
    (got, gradients), (expected, expected_gradients) = outputs(ours), outputs(reference)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    assert gradients
    for name, gradient in gradients.items():
        assert expected_gradients[name].abs().max() > 1e-5
        torch.testing.assert_close(gradient, expected_gradients[name], atol=1e-5, rtol=1e-5, msg=name)
    return ours


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize(
    "options",
    [
        {"rank": 4, "alpha": 8},
        {"rank": 3, "alpha": 5, "rslora": True},
        {"rank": 9, "targets": ("q_proj", "down_proj")},
    ],
    ids=["plain", "rslora", "targets"],
)
def test_logits_and_gradients_equal_peft(options: dict[str, Any], architecture: str) -> None:
    """qwen2 has biases in q, k and v."""
    chosen = LoraOptions(**options)
    model = assert_equals_peft(chosen, architecture)
    # 3 layers of 7 linears: all of them, or 2 each
    assert len(short(model)) == 3 * (7 if chosen.targets == "all-linear" else 2)


def test_the_base_is_untouched_while_the_adapter_is_off() -> None:
    model = adapted(LoraOptions(rank=4))
    with model.disable_adapter():
        torch.testing.assert_close(model(TOKENS).logits, tiny()(TOKENS).logits, atol=0, rtol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{"dropout": 0.3}, {"dora": True}], ids=["dropout", "dora"])
def test_what_is_not_plain_keeps_the_forward_of_peft(options: dict[str, Any], training: bool) -> None:
    model = assert_equals_peft(LoraOptions(rank=4, **options), training=training)
    assert short(model) == []


def test_dropout_drops() -> None:
    model = adapted(LoraOptions(rank=4, dropout=0.3)).train()
    assert not torch.equal(model(TOKENS).logits, model(TOKENS).logits)


def test_scaling_is_alpha_over_rank_or_its_root() -> None:
    for rslora, expected in ((False, 8 / 16), (True, 8 / 4)):
        model = lora_model(tiny(), LoraOptions(rank=16, alpha=8, rslora=rslora))
        assert {m.scaling["default"] for m in model.modules() if hasattr(m, "lora_A")} == {expected}


def test_targets_by_name() -> None:
    model = lora_model(tiny(), LoraOptions(rank=2, targets=("q_proj", "v_proj")))
    trained = {
        name.split(".lora_")[0].rsplit(".", 1)[-1] for name, p in model.named_parameters() if p.requires_grad
    }
    assert trained == {"q_proj", "v_proj"}
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


def test_an_unknown_target_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'c_attn'.*down_proj.*q_proj") as caught:
        lora_model(tiny(), LoraOptions(rank=2, targets=("q_proj", "c_attn")))
    assert "'q_proj'" not in str(caught.value)


# --- export ----------------------------------------------------------------------------------------------

INITS = ("default", "gaussian", "orthogonal")


@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("init", INITS)
def test_the_export_on_the_untouched_base_is_the_live_model(init: str, rslora: bool, tmp_path: Path) -> None:
    from peft import PeftModel

    options = LoraOptions(rank=4, alpha=8, init=init, rslora=rslora)
    torch.manual_seed(3)
    model = lora_model(tiny(), options)
    before = model(TOKENS).logits.detach()
    # no initialization may move the model: it starts as the base
    torch.testing.assert_close(before, tiny()(TOKENS).logits, atol=1e-4, rtol=1e-4)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        model(TOKENS, labels=TOKENS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    live = model(TOKENS).logits.detach()
    assert (live - before).abs().max() > 1e-2

    exported = export(model, options)
    path = manifests.write(
        tmp_path / "bundle", exported, {"none": torch.zeros(1)}, {}, {"base": {"id": "tiny"}}, "", ""
    )
    loaded = PeftModel.from_pretrained(tiny(), str(path)).eval()
    torch.testing.assert_close(loaded(TOKENS).logits, live, atol=1e-4, rtol=1e-4)
    assert exported.error < 1e-5
    assert loaded.peft_config["default"].r == METHOD.servable(options).rank


# --- loss and gradients of the loop ----------------------------------------------------------------------


def examples(count: int, seed: int = 0) -> list[Example]:
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        tokens = [1, 7, *(draw.randrange(3, VOCABULARY) for _ in range(draw.randint(4, 17)))]
        rows.append(Example(tuple(tokens), draw.randint(3, len(tokens) - 1)))
    return rows


def packed(architecture: str = "llama", **options: Any) -> torch.nn.Module:
    model = adapted(LoraOptions(rank=4, **options), architecture)
    attention.use(model.get_base_model())
    return model


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_loss_is_that_of_transformers(architecture: str) -> None:
    """Padded rows, labels of -100 outside of the answer, normalized over all supervised tokens."""
    rows = examples(6)
    width = max(len(row.tokens) for row in rows)
    ids, mask, labels = (torch.full((6, width), fill) for fill in (0, 0, -100))
    for place, row in enumerate(rows):
        length = len(row.tokens)
        ids[place, :length] = torch.tensor(row.tokens)
        mask[place, :length] = 1
        labels[place, row.supervised : length] = torch.tensor(row.tokens[row.supervised :])
    units = sum(row.targets for row in rows)
    theirs = adapted(LoraOptions(rank=4), architecture)
    expected = theirs(
        input_ids=ids,
        attention_mask=mask,
        labels=labels,
        num_items_in_batch=torch.tensor(units),
        use_cache=False,
    ).loss
    expected.backward()
    ours = packed(architecture)
    loss = lm_loss.loss(ours, collate(rows)) / units
    loss.backward()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    reference = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, reference[name].grad, atol=1e-5, rtol=1e-4, msg=name)


HEAD: Any = SimpleNamespace(collate=collate, loss=lm_loss.loss, losses=lm_loss.losses)


class Fitted:
    """What `loop.fit` did: its outcome, its losses, and the gradients of every step before they were used."""

    def __init__(
        self, model: Any, rows: Sequence[Example], steps: Sequence[Step], path: Path, **train: Any
    ) -> None:
        values = {"trackers": [], "schedule": "constant", "warmup": 0, "max_grad_norm": 1e6, **train}
        config = build_run_config({"task": "nl2fol", "model": "smollm2-135m", "train": values})
        self.gradients: list[dict[str, torch.Tensor]] = []
        method = dataclasses.replace(METHOD, before_step=self._look)
        never = Metric("none", "", lambda row, prediction: (0.0,))
        self.outcome: Outcome = fit(
            model, config, method, HEAD, rows, steps, lambda _: {"none": 0.0}, never, path
        )
        entries = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        self.losses = [entry["loss"] for entry in entries if "loss" in entry]

    def _look(self, model: torch.nn.Module, training: Training) -> None:
        self.gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})


def assert_same_gradients(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert one
    assert max(gradient.abs().max() for gradient in one.values()) > 1e-2
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], atol=1e-6, rtol=1e-5, msg=name)


def test_many_micro_batches_are_one(tmp_path: Path) -> None:
    """The loss is divided by the supervised tokens of the whole step, not of each micro-batch."""
    rows = examples(9)
    lengths = [len(row.tokens) for row in rows]
    one, many = (plan(lengths, 9, size, 1, seed=0) for size in (10_000, 30))
    assert [len(step.batches) for step in one] == [1]
    assert len(many[0].batches) > 3
    together = Fitted(packed(), rows, one, tmp_path / "one")
    apart = Fitted(packed(), rows, many, tmp_path / "many")
    assert together.losses == pytest.approx(apart.losses, abs=1e-6)
    assert_same_gradients(together.gradients[0], apart.gradients[0])


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    rows = examples(5)
    steps = plan([len(row.tokens) for row in rows], 5, 40, 1, seed=0)
    model = packed()
    model.get_base_model().gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": False}
    )
    checkpointed = Fitted(model, rows, steps, tmp_path / "on")
    plain = Fitted(packed(), rows, steps, tmp_path / "off")
    assert checkpointed.losses == pytest.approx(plain.losses, abs=1e-6)
    assert_same_gradients(checkpointed.gradients[0], plain.gradients[0])


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_architecture_learns(architecture: str, tmp_path: Path) -> None:
    rows = examples(6)
    steps = plan([len(row.tokens) for row in rows], 6, 50, 2, seed=0)
    done = Fitted(packed(architecture), rows, steps, tmp_path, learning_rate=1e-3)
    assert len(done.losses) == done.outcome.steps == 2
    assert all(map(math.isfinite, done.losses))
    assert done.losses[1] < done.losses[0] - 1e-3
    assert done.outcome.supervised == 2 * sum(row.targets for row in rows)
    assert done.outcome.tokens == 2 * sum(len(row.tokens) for row in rows)


def test_bf16_loses_no_small_update(tmp_path: Path) -> None:
    """Updates below bf16's resolution add up, since what the optimizer moves is fp32."""
    base = tiny().to(torch.bfloat16)
    model = lora_model(base, LoraOptions(rank=4))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    attention.use(base)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    start = {name: parameter.detach().clone() for name, parameter in trained.items()}
    rows = examples(6)
    steps = plan([len(row.tokens) for row in rows], 6, 50, 3, seed=0)
    done = Fitted(model, rows, steps, tmp_path, learning_rate=1e-6)
    assert all(map(math.isfinite, done.losses))
    assert base.model.layers[0].mlp.up_proj.base_layer.weight.dtype is torch.bfloat16
    moved = rounded_away = total = 0
    for name, parameter in trained.items():
        assert parameter.dtype is torch.float32
        total += parameter.numel()
        moved += int((parameter != start[name]).sum())
        rounded_away += int((parameter.bfloat16() == start[name].bfloat16()).sum())
        # Adam moves each number by about the learning rate a step
        assert float((parameter - start[name]).detach().abs().max()) == pytest.approx(3e-6, rel=0.1)
    assert moved > 0.95 * total
    assert rounded_away > 0.95 * total


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    from appkit.errors import RunError

    model = packed()
    rows = examples(3)
    next(p for p in model.parameters() if p.requires_grad).data.fill_(math.nan)
    with pytest.raises(RunError, match=r"loss became nan at step 1; lower train.learning_rate"):
        Fitted(model, rows, plan([len(row.tokens) for row in rows], 3, 50, 1, seed=0), tmp_path)


def test_the_curve_is_on_the_disk_before_a_checkpoint_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a checkpoint must not stand without the lines that lead to it."""
    synced: dict[int, int] = {}  # inode -> bytes that are on the disk
    fsync, save, saved = os.fsync, checkpoint.save, []

    def look(descriptor: int) -> None:
        fsync(descriptor)
        synced[os.fstat(descriptor).st_ino] = os.fstat(descriptor).st_size

    def save_then(*arguments: Any) -> Path:
        curve = (tmp_path / "metrics.jsonl").stat()
        assert synced.get(curve.st_ino) == curve.st_size
        assert tmp_path.stat().st_ino in synced
        saved.append(arguments[1])
        return save(*arguments)

    monkeypatch.setattr(os, "fsync", look)
    monkeypatch.setattr(checkpoint, "save", save_then)
    rows = examples(6)
    steps = plan([len(row.tokens) for row in rows], 3, 50, 2, seed=0)
    Fitted(packed(), rows, steps, tmp_path, save_steps=1)
    assert saved == [1, 2, 3, 4]


def test_a_copy_of_the_model_keeps_its_own_factors() -> None:
    """`install` puts a closure on each layer; a deep copy must not compute with the original's factors."""
    model = adapted(LoraOptions(rank=4))
    other = copy.deepcopy(model)
    expected = model(TOKENS).logits.detach()
    for name, parameter in other.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()
    torch.testing.assert_close(other(TOKENS).logits, tiny()(TOKENS).logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(TOKENS).logits, expected, atol=0, rtol=0)
