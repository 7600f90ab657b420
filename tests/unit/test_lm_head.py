"""The fused loss against autograd through torch's cross-entropy."""

from types import SimpleNamespace

import pytest
import torch

from appkit.heads.lm import loss as lm_loss
from appkit.heads.lm.loss import _FrozenVocabularyLoss as Fused


def inputs(
    dtype: torch.dtype = torch.float64, scale: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = (scale * torch.randn(17, 8, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()
    weight = torch.randn(31, 8, generator=generator, dtype=torch.float64).to(dtype)
    labels = torch.randint(0, 31, (17,), generator=generator)
    return hidden, weight, labels


def reference(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum, and its gradient with respect to the hidden states, in float64."""
    own = hidden.detach().double().requires_grad_()
    total = torch.nn.functional.cross_entropy(own @ weight.double().T, labels, reduction="sum")
    (gradient,) = torch.autograd.grad(total, own)
    return total, gradient


@pytest.mark.parametrize("scale", [1.0, 40.0], ids=["plain", "logits of hundreds"])
def test_value_and_gradient(scale: float) -> None:
    hidden, weight, labels = inputs(torch.float32, scale)
    loss = Fused.apply(hidden, weight, labels).sum()
    loss.backward()
    expected, gradient = reference(hidden, weight, labels)
    torch.testing.assert_close(loss.double(), expected, atol=1e-4, rtol=1e-6)
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad.double(), gradient, atol=1e-5, rtol=1e-5)


def test_the_gradient_scales_with_what_follows() -> None:
    hidden, weight, labels = inputs(torch.float32)
    (Fused.apply(hidden, weight, labels).sum() / 7).backward()
    _, gradient = reference(hidden, weight, labels)
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad.double(), gradient / 7, atol=1e-6, rtol=1e-5)


def test_the_gradient_is_that_of_finite_differences() -> None:
    hidden, weight, labels = inputs(torch.float32)
    Fused.apply(hidden, weight, labels).sum().backward()
    direction = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-4
    moved = (hidden.detach().double() + sign * step * direction for sign in (1, -1))
    up, down = (reference(place, weight, labels)[0].item() for place in moved)
    assert hidden.grad is not None
    assert (hidden.grad.double() * direction).sum().item() == pytest.approx(
        (up - down) / (2 * step), rel=1e-4
    )


def test_bf16_rounds_products_but_sums_in_fp32() -> None:
    hidden, weight, labels = inputs(torch.bfloat16)
    loss = Fused.apply(hidden, weight, labels).sum()
    loss.backward()
    expected, gradient = reference(hidden, weight, labels)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss.double(), expected, atol=0.3, rtol=0.01)
    assert hidden.grad is not None
    assert hidden.grad.dtype is torch.bfloat16
    torch.testing.assert_close(hidden.grad.double(), gradient, atol=0.05, rtol=0.05)


class _Model(torch.nn.Module):
    """Hidden states that are given, and an output layer."""

    def __init__(self, hidden: torch.Tensor, weight: torch.Tensor, cap: float | None, bias: bool) -> None:
        super().__init__()
        self.hidden = hidden
        self.layer = torch.nn.Linear(8, 31, bias=bias)
        self.layer.weight = torch.nn.Parameter(weight, requires_grad=False)
        config = SimpleNamespace(final_logit_softcapping=cap)
        self.config = SimpleNamespace(get_text_config=lambda: config)

    def get_decoder(self):  # type: ignore[no-untyped-def]
        return lambda **_: SimpleNamespace(last_hidden_state=self.hidden[None])

    def get_output_embeddings(self) -> torch.nn.Linear:
        return self.layer


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_soft_caps_and_biases_are_in_the_loss(cap: float | None, bias: bool) -> None:
    hidden, weight, labels = inputs(torch.float32)
    model = _Model(hidden, weight, cap, bias)
    batch = SimpleNamespace(
        tokens=None,
        positions=None,
        segments=None,
        label_positions=torch.arange(17),
        labels=labels,
    )
    logits = hidden.detach() @ weight.T + (model.layer.bias if bias else 0)
    logits = cap * torch.tanh(logits / cap) if cap else logits
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none").detach()
    torch.testing.assert_close(lm_loss.token_losses(model, batch), expected, atol=1e-5, rtol=1e-5)  # type: ignore[arg-type]
    loss = lm_loss.loss(model, batch)  # type: ignore[arg-type]
    torch.testing.assert_close(loss.detach(), expected.sum(), atol=1e-4, rtol=1e-5)
    loss.backward()
    assert hidden.grad is not None


def test_an_output_layer_that_learns_gets_its_gradient() -> None:
    hidden, weight, labels = inputs(torch.float32)
    model = _Model(hidden, weight, None, False)
    model.layer.weight.requires_grad_(True)
    batch = SimpleNamespace(
        tokens=None,
        positions=None,
        segments=None,
        label_positions=torch.arange(17),
        labels=labels,
    )
    lm_loss.loss(model, batch).backward()  # type: ignore[arg-type]
    assert model.layer.weight.grad is not None
    assert model.layer.weight.grad.abs().max() > 0.1
