"""Records what a model with a label head computes on the pack's examples, and compares an engine with it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from appkit.errors import BundleError
from appkit.heads.checks import Check, distance_check, effect_check, same_answers_check
from appkit.heads.label.answer import engine_logits
from appkit.heads.label.encode import Labeller, windows
from appkit.heads.reference import Recorded, reference_tensors
from appkit.heads.roles import Checked
from appkit.models.batch import Labelled

if TYPE_CHECKING:
    from appkit.heads.roles import Matrix

__all__ = ["Checkable", "check_engine", "check_files", "reference"]


class Checkable(Labeller, Protocol):
    """Describes the head as recording and checking use it."""

    @property
    def named(self) -> tuple[str, ...]: ...

    @property
    def matrix(self) -> Matrix | None: ...

    @property
    def folded(self) -> bool: ...


def reference(head: Checkable, model: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Computes the live trained model on the pack's examples, never on the user's data.

    For N windows laid end to end: `tokens` (T,) int64; `lengths`, `counts` (N,) int64, the tokens and the labelled
    places of each; `places` (L,) int64; `adapter`, `base` (N or L, C) fp32, logits with the adapter on and off,
    both times under the trained head; and `reference_tensors` of them.
    """
    import torch

    from appkit.heads.label import loss

    rows = [head.task.input_row(text) for text in head.task.examples]
    example_windows = _example_windows(head)
    batch = head.collate(example_windows, next(model.parameters()).device)

    @torch.inference_mode()
    def logits() -> dict[str, torch.Tensor]:
        on = loss.logits(model, batch, head.spec.pooling)
        with model.disable_adapter():
            off = loss.logits(model, batch, head.spec.pooling)
        return {"adapter": on.float().cpu().clone(), "base": off.float().cpu().clone()}

    tensors = {
        "tokens": torch.tensor([token for window in example_windows for token in window.tokens]),
        "lengths": torch.tensor([len(window.tokens) for window in example_windows]),
        "counts": torch.tensor([window.targets for window in example_windows]),
        "places": torch.tensor([place for window in example_windows for place in window.places]),
        **reference_tensors(model, logits),
    }
    if torch.equal(tensors["adapter"], tensors["base"]):
        raise BundleError("the adapter changes nothing: its logits equal the base's; train longer")
    facts = {"dtype": str(next(model.parameters()).dtype), "rows": str(len(rows))}
    return tensors, facts | {"labels": json.dumps(head.spec.labels, ensure_ascii=False)}


def _example_windows(head: Checkable) -> list[Labelled]:
    return [
        window for text in head.task.examples for window in windows(head, head.task.input_row(text)).windows
    ]


def _recorded_windows(recorded: Recorded) -> list[Labelled]:
    tokens, places = recorded.tensors["tokens"].tolist(), recorded.tensors["places"].tolist()
    recorded_windows, at, place = [], 0, 0
    lengths, counts = recorded.tensors["lengths"].tolist(), recorded.tensors["counts"].tolist()
    for length, count in zip(lengths, counts, strict=True):
        recorded_windows.append(
            Labelled(tuple(tokens[at : at + length]), tuple(places[place : place + count]))
        )
        at, place = at + length, place + count
    return recorded_windows


def check_files(head: Checkable, recorded: Recorded) -> Iterator[Check]:
    """Compares the manifest's labels and the tokens of the pack's examples with what was recorded."""
    trained = json.loads(recorded.facts.get("labels", "null"))
    labels = list(head.spec.labels)
    if trained != labels or list(head.named) != labels:
        yield Check(
            "labels",
            False,
            f"they are {_shorten(head.named)} here, and were {_shorten(trained or [])} in training",
        )
    else:
        yield Check("labels", True, f"{len(labels)} in the order of training" if labels else "a number")
    yield _check_tokens(head, recorded)


def _shorten(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:4])}{', …' if len(labels) > 4 else ''}" or "none"


def _check_tokens(head: Checkable, recorded: Recorded) -> Check:
    example_windows = _example_windows(head)
    if example_windows != _recorded_windows(recorded):
        return Check(
            "token ids", False, "the pack's examples have other tokens or labelled places than in training"
        )
    if (mark := head.chat.fingerprint()) != recorded.template:
        return Check("token ids", False, f"the tokenizer or chat template is another one ({mark[:19]}…)")
    return Check("token ids", True, f"equal in {len(example_windows)} texts")


async def check_engine(
    head: Checkable, engine: Checked, adapter: str, recorded: Recorded, *, exact: bool
) -> AsyncIterator[Check]:
    """Compares an engine's logits of the recorded windows, and the likeliest labels, with the record."""
    recorded_windows = _recorded_windows(recorded)
    parts = await engine_logits(engine, adapter, head.spec, head.matrix, recorded_windows)
    computed = np.concatenate([np.atleast_2d(part) for part in parts])
    adapted, base = recorded.tensors["adapter"], recorded.tensors["base"]
    if computed.shape != adapted.shape:
        raise ValueError(
            f"the logits recorded have the shape {adapted.shape}, those computed {computed.shape}"
        )
    noise = recorded.noise("adapter")
    if head.folded:  # of a folded head the logits are known up to a constant
        if noise is not None:
            noise = _log_softmax(recorded.tensors["adapter_bf16"]) - _log_softmax(
                recorded.tensors["adapter_fp32"]
            )
        computed, adapted, base = _log_softmax(computed), _log_softmax(adapted), _log_softmax(base)
    effect = float(np.abs(adapted - base).mean())
    yield distance_check(
        "head logits",
        computed - adapted,
        "over {} logits",
        exact=exact,
        effect=effect,
        noise=noise,
        # rounding is relative: logits of 30 are not known to 1e-4 by either side
        scale=max(1.0, float(np.abs(adapted).mean())),
    )
    yield effect_check(float(np.abs(computed - base).mean()), effect, "logits")
    if head.spec.problem == "single":
        same = int((computed.argmax(1) == adapted.argmax(1)).sum())
        yield same_answers_check(same, len(computed), "likeliest ones", exact=exact)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """Computes the log-softmax of logits (N, C)."""
    z = logits - logits.max(1, keepdims=True)
    shares: np.ndarray = z - np.log(np.exp(z).sum(1, keepdims=True))
    return shares
