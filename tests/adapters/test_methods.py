"""What every method owes the core, on a tiny base: whatever is installed and has a `tests/case.py` is held to it."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cases import Case, cases, folders
from peft import PeftModel
from safetensors.torch import load_file
from tiny import CONFIGS, VOCABULARY, tiny
from transformers import LlamaConfig, LlamaForCausalLM

from appkit.adapters import virtual_tokens
from appkit.adapters.whole import Whole
from appkit.bundles import manifest as manifests
from appkit.config import QuantConfig, RunConfig, build_run_config
from appkit.errors import ConfigError
from appkit.heads.lm import loss as lm_loss
from appkit.method import Method, Training
from appkit.models import attention
from appkit.models.batch import Example, collate
from appkit.models.quantize import load_quantized
from appkit.plugins import load_method
from appkit.task import Metric
from appkit.training.loop import fit
from appkit.training.optimizer import make_optimizer
from appkit.training.plan import Step, plan

HEAD: Any = SimpleNamespace(collate=collate, loss=lm_loss.loss, losses=lm_loss.losses)
NEVER = Metric("none", "", lambda row, prediction: (0.0,))
TRAIN = {"trackers": [], "warmup": 0, "learning_rate": 1e-2}
every = pytest.mark.parametrize(("name", "case"), cases())
Tensors = dict[str, torch.Tensor]


def rows(count: int) -> list[Example]:
    draw = random.Random(0)
    made = []
    for _ in range(count):
        tokens = [1, 7, *(draw.randrange(3, VOCABULARY) for _ in range(draw.randint(4, 17)))]
        made.append(Example(tuple(tokens), draw.randint(3, len(tokens) - 1)))
    return made


ROWS = rows(8)


def steps(count: int, tokens: int = 40) -> list[Step]:
    """All rows in each."""
    return plan([len(row.tokens) for row in ROWS], len(ROWS), tokens, count, seed=0)


def based(dtype: torch.dtype = torch.float32) -> Any:
    base = tiny().to(dtype)
    attention.use(base)
    return base


def log_probabilities(model: Any) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        return -lm_loss.token_losses(model, collate(ROWS))


def copies(model: Any, *, trained: bool = False) -> Tensors:
    named = model.named_parameters()
    return {name: one.detach().clone() for name, one in named if one.requires_grad or not trained}


def assert_equal(one: Tensors, other: Tensors) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


class Cut(Exception):
    """The power goes."""


@dataclass
class Subject:
    """A method with a model that it built, and its training."""

    method: Method
    config: RunConfig
    base: Any
    model: Any

    @classmethod
    def of(cls, name: str, case: Case, base: Any = None) -> Subject:
        options = {"name": name, **case.options}
        config = build_run_config(
            {"task": "nl2fol", "model": "smollm2-135m", "method": options, "train": TRAIN}
        )
        method, base = load_method(name), base or based()
        torch.manual_seed(config.seed)
        return cls(method, config, base, method.build(base, config.method))

    def fit(self, folder: Path, plan: Sequence[Step], **train: Any) -> None:
        given = self.config.train.model_copy(update=train)
        config = self.config.model_copy(update={"train": given})
        fit(self.model, config, self.method, HEAD, ROWS, plan, lambda _: {"none": 0.0}, NEVER, folder)

    def watch(self, look: Callable[[Any, Training], None]) -> None:
        """Have `look` called while the gradients live, before the method's own hook."""
        own = self.method.before_step

        def both(model: Any, training: Training) -> None:
            look(model, training)
            if own:
                own(model, training)

        self.method = replace(self.method, before_step=both)

    def gradients(self, folder: Path, plan: Sequence[Step]) -> Tensors:
        """Those of the only step, before the method's own hook."""
        found: Tensors = {}

        def look(model: Any, training: Training) -> None:
            named = model.named_parameters()
            found.update({name: one.grad.clone() for name, one in named if one.grad is not None})

        self.watch(look)
        self.fit(folder, plan, max_grad_norm=1e6)
        assert max(float(gradient.abs().max()) for gradient in found.values()) > 1e-3
        return found


def without_dropout(case: Case) -> Case:
    return replace(case, options={key: one for key, one in case.options.items() if key != "dropout"})


def test_every_method_has_a_case() -> None:
    missing = [name for name, folder in folders().items() if not (folder / "tests" / "case.py").is_file()]
    assert missing == []
    assert {"lora", "fast_b", "norms", "turns"} <= folders().keys()


@every
def test_it_begins_where_the_base_is(name: str, case: Case) -> None:
    begun = log_probabilities(Subject.of(name, case).model)
    assert torch.allclose(begun, log_probabilities(based()), atol=1e-4) == case.t0


@every
def test_exactly_what_it_declares_learns_in_fp32(name: str, case: Case) -> None:
    subject = Subject.of(name, case)
    trained = {name: one for name, one in subject.model.named_parameters() if one.requires_grad}
    assert {one.dtype for one in trained.values()} == {torch.float32}
    lm_loss.loss(subject.model, collate(ROWS)).backward()
    assert {name for name, one in subject.model.named_parameters() if one.grad is not None} == trained.keys()
    device = torch.device("cpu")
    optimizer = make_optimizer(subject.model, trained, subject.config, subject.method, device)
    held = Counter(id(one) for group in optimizer.param_groups for one in group["params"])
    assert held == {id(one): 1 for one in trained.values()}


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (lambda every: [{"params": every[1:]}], r"lora_A\S+ is in 0 of the optimizer's groups"),
        (lambda every: [{"params": every}, {"params": every[:1]}], r"lora_A\S+ is in 2 of the"),
        (
            lambda every: [{"params": [*every, torch.nn.Parameter(torch.ones(1))]}],
            "hold 1 parameters that are not",
        ),
    ],
)
def test_groups_that_do_not_hold_each_parameter_once_are_refused(
    groups: Callable[[list[Any]], list[dict[str, Any]]], reason: str, tmp_path: Path
) -> None:
    subject = Subject.of("lora", Case({"rank": 4}))

    def param_groups(model: Any, options: Any, learning_rate: float) -> list[dict[str, Any]]:
        return groups([one for one in model.parameters() if one.requires_grad])

    subject.method = replace(subject.method, param_groups=param_groups)
    with pytest.raises(ConfigError, match=f"method lora: .*{reason}.*correct its param_groups"):
        subject.fit(tmp_path, steps(1))


@every
def test_the_export_is_what_was_trained(name: str, case: Case, tmp_path: Path) -> None:
    """Loaded without the method: by plain PEFT, as weights of the base, or as virtual tokens before its rows."""
    subject = Subject.of(name, case)
    subject.fit(tmp_path / "run", steps(3))
    trained = log_probabilities(subject.model)
    assert not torch.allclose(trained, log_probabilities(based()), atol=1e-2)
    options = subject.config.method
    form, servable = subject.method.export(subject.model, options), subject.method.servable(options)
    assert (form.kind, form.rank) == (case.form, case.rank)
    assert (servable.rank or 0) >= (form.rank or 0)
    manifest = {"base": {"id": "tiny"}}
    bundle = manifests.write(tmp_path / "bundle", form, {"x": torch.ones(1)}, {}, manifest, "", "")
    if form.kind == "lora":
        again = PeftModel.from_pretrained(based(), str(bundle))
    elif form.kind == "prefix":
        again = virtual_tokens.restore(based(), load_file(bundle / "adapter_model.safetensors"))
    else:
        tensors = load_file(bundle / "adapter_model.safetensors")
        assert {tensor.dtype for tensor in tensors.values()} == {subject.base.dtype}
        again = Whole(based(), tensors)
    torch.testing.assert_close(log_probabilities(again), trained, atol=1e-4, rtol=1e-4)


@every
def test_the_base_is_afterwards_as_it_was(name: str, case: Case, tmp_path: Path) -> None:
    subject, before = Subject.of(name, case), log_probabilities(based())
    subject.fit(tmp_path, steps(2))
    assert not torch.equal(log_probabilities(subject.model), before)
    with subject.model.disable_adapter():
        assert torch.equal(log_probabilities(subject.model), before)
    assert not torch.equal(log_probabilities(subject.model), before)
    base = subject.model.unload()
    assert_equal(copies(base), copies(based()))
    assert torch.equal(log_probabilities(base), before)


@every
def test_cut_and_resumed_it_ends_in_the_same_bits(name: str, case: Case, tmp_path: Path) -> None:
    def run(folder: Path, cut: int | None = None) -> tuple[Tensors, Tensors, bytes]:
        subject = Subject.of(name, case)
        trained = [name for name, one in subject.model.named_parameters() if one.requires_grad]

        def look(model: Any, training: Training) -> None:
            if training.step == cut:
                raise Cut

        subject.watch(look)
        subject.fit(folder, steps(5, tokens=1000), save_steps=2)
        state = subject.method.state(subject.model) if subject.method.state else {}
        weights = {name: one for name, one in copies(subject.model).items() if name in trained}
        return weights, dict(state), (folder / "metrics.jsonl").read_bytes()

    unbroken = run(tmp_path / "unbroken")
    with pytest.raises(Cut):
        run(tmp_path / "broken", cut=3)
    checkpoints = sorted(path.name for path in (tmp_path / "broken" / "checkpoints").iterdir())
    assert checkpoints == ["step-000002"]
    resumed = run(tmp_path / "broken")
    assert_equal(resumed[0], unbroken[0])
    assert_equal(resumed[1], unbroken[1])
    assert resumed[2] == unbroken[2]


@every
def test_micro_batches_are_one_step_with_an_extra_loss_too(name: str, case: Case, tmp_path: Path) -> None:
    """The extra loss is planted: the size of what is trained, and of what this batch has learned."""

    def extra(model: Any, batch: Any, training: Training) -> torch.Tensor:
        size = sum((one + 1).square().sum() for one in model.parameters() if one.requires_grad)
        return 0.1 * size * lm_loss.loss(model, batch) / batch.labels.numel()

    def gradients(folder: str, tokens: int, *, penalized: bool) -> Tensors:
        subject = Subject.of(name, without_dropout(case))
        if penalized:
            subject.method = replace(subject.method, extra_loss=extra)
        return subject.gradients(tmp_path / folder, steps(1, tokens))

    assert [len(steps(1, tokens)[0].batches) > 1 for tokens in (1000, 40)] == [False, True]
    one, many = (gradients(str(tokens), tokens, penalized=True) for tokens in (1000, 40))
    assert one.keys() == many.keys()
    for parameter, gradient in one.items():
        largest = max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(gradient, many[parameter], atol=1e-4 * largest, rtol=1e-3)
    plain = gradients("plain", 1000, penalized=False)
    assert any(not torch.allclose(one[name], plain[name], atol=1e-3, rtol=1e-2) for name in plain)


@every
def test_gradients_are_the_same_with_checkpointing(name: str, case: Case, tmp_path: Path) -> None:
    plain = Subject.of(name, without_dropout(case)).gradients(tmp_path / "plain", steps(1, 1000))
    subject, passes = Subject.of(name, without_dropout(case)), []
    before_forward = subject.method.before_forward

    def begin(model: Any, training: Training) -> None:
        passes.clear()  # of a start from gradients
        if before_forward:
            before_forward(model, training)

    subject.method = replace(subject.method, before_forward=begin)
    subject.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    subject.base.model.layers[0].register_forward_pre_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    assert_equal(subject.gradients(tmp_path / "again", steps(1, 1000)), plain)
    # forward, and once more in backward; one without gradients is of a method's own hook
    assert [grad for grad in passes if grad] == [True, True]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a base wide enough for blocks of 64 weights."""
    shape = CONFIGS["llama"]().to_dict() | {"hidden_size": 64, "intermediate_size": 128}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape))
    folder = tmp_path_factory.mktemp("path")
    model.save_pretrained(folder)
    return folder


@every
def test_over_4_bits_it_learns_as_over_the_weights_that_they_stand_for(
    name: str, case: Case, path: Path, tmp_path: Path
) -> None:
    losses = []
    for kept in ("never", "always"):
        quant = QuantConfig(name="nf4", dequantize=kept)
        base = load_quantized(path, quant, torch.float32, torch.device("cpu"))[0].requires_grad_(False)
        assert (type(base.model.layers[0].mlp.up_proj) is torch.nn.Linear) == (kept == "always")
        attention.use(base)
        if not case.nf4:
            with pytest.raises(ConfigError, match=r"stay quantized here; use .*quant\.dequantize=always"):
                Subject.of(name, case, base)
            return
        folder = tmp_path / kept
        Subject.of(name, without_dropout(case), base).fit(folder, steps(3), learning_rate=1e-3)
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert losses[0] == pytest.approx(losses[1], abs=1e-2)
    assert losses[0][2] < losses[0][0]


@every
def test_a_base_in_bf16(name: str, case: Case, tmp_path: Path) -> None:
    if not case.bf16:
        with pytest.raises(ConfigError, match=r"bfloat16; use model\.dtype=float32"):
            Subject.of(name, case, based(torch.bfloat16))
        return
    subject = Subject.of(name, case, based(torch.bfloat16))
    before = copies(subject.model, trained=True)
    subject.fit(tmp_path, steps(3))
    named = dict(subject.model.named_parameters())
    assert {named[name].dtype for name in before} == {torch.float32}
    frozen = {one.dtype for name, one in named.items() if name not in before and ".lora_" not in name}
    assert frozen == {torch.bfloat16}  # of the base; a method's frozen factors are fp32
    assert any(not torch.equal(named[name], before[name]) for name in before)
    assert torch.isfinite(log_probabilities(subject.model)).all()
