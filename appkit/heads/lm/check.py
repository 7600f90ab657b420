"""Records what a model that answers in words computes on the pack's examples, and compares an engine with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from appkit.errors import BundleError
from appkit.heads.checks import Check, distance_check, effect_check, same_answers_check
from appkit.heads.reference import Recorded, reference_tensors
from appkit.heads.roles import NULL, Asked, Checked, Job
from appkit.models.batch import Example

if TYPE_CHECKING:
    from appkit.models.chat import Chat
    from appkit.task import Task

__all__ = ["Prompts", "canaries", "check_engine", "check_files", "reference"]


class Prompts(Protocol):
    """Describes the head as recording and checking use it."""

    @property
    def task(self) -> Task: ...

    @property
    def chat(self) -> Chat: ...

    @property
    def cap(self) -> int: ...

    @property
    def stop(self) -> frozenset[int]: ...

    def prompt(self, row: Any) -> list[int]: ...


def reference(head: Prompts, model: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Computes the live trained model on the pack's examples, never on the user's data.

    For N canaries laid end to end: `tokens` (T,) int64 prompt and greedy answer; `lengths`, `supervised` (N,)
    int64, tokens of each and the place of its first answered one; `adapter`, `base` (L,) fp32, log-probability in
    nats of each answered token with the adapter on and off; and `reference_tensors` of them.
    """
    import torch

    from appkit.heads.lm import loss
    from appkit.models.batch import collate
    from appkit.models.generate import generate

    prompts = [head.prompt(head.task.input_row(text)) for text in head.task.examples]
    answers = generate(model, prompts, max_new_tokens=head.cap, stop=head.stop)
    end = min(head.chat.stop)
    examples = [
        Example(tuple(prompt) + answer.tokens + (() if answer.truncated else (end,)), len(prompt))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    batch = collate(examples, next(model.parameters()).device)

    def log_probabilities() -> dict[str, torch.Tensor]:
        on = -loss.token_losses(model, batch)
        with model.disable_adapter():
            off = -loss.token_losses(model, batch)
        return {"adapter": on.float().cpu(), "base": off.float().cpu()}

    tensors = {
        "tokens": torch.tensor([token for example in examples for token in example.tokens]),
        "lengths": torch.tensor([len(example.tokens) for example in examples]),
        "supervised": torch.tensor([example.supervised for example in examples]),
        **reference_tensors(model, log_probabilities),
    }
    if torch.equal(tensors["adapter"], tensors["base"]):
        raise BundleError("the adapter changes nothing: its log-probabilities equal the base's; train longer")
    return tensors, {"dtype": str(next(model.parameters()).dtype), "rows": str(len(prompts))}


def canaries(recorded: Recorded) -> list[Example]:
    """Reads the recorded prompts, each with the answer that the trained model gave."""
    tokens, lengths = recorded.tensors["tokens"].tolist(), recorded.tensors["lengths"].tolist()
    ends = np.cumsum(lengths).tolist()
    return [
        Example(tuple(tokens[end - length : end]), supervised)
        for end, length, supervised in zip(
            ends, lengths, recorded.tensors["supervised"].tolist(), strict=True
        )
    ]


def check_files(head: Prompts, recorded: Recorded) -> Iterator[Check]:
    """Compares the pack's examples through this base's template with the recorded ids."""
    examples = canaries(recorded)
    for text, canary in zip(head.task.examples, examples, strict=True):
        prompt = head.prompt(head.task.input_row(text))
        if tuple(prompt) != canary.tokens[: canary.supervised]:
            yield Check("token ids", False, f"the prompt of {text!r} has other tokens than in training")
            return
    if (mark := head.chat.fingerprint()) != recorded.template:
        yield Check("token ids", False, f"the chat template is another one ({mark[:19]}…)")
        return
    yield Check("token ids", True, f"equal in {len(examples)} prompts")


async def check_engine(
    head: Prompts, engine: Checked, adapter: str, recorded: Recorded, *, exact: bool
) -> AsyncIterator[Check]:
    """Compares log-probabilities of the recorded answers, base and adapter, and greedy answers with the record."""
    examples, tensors = canaries(recorded), recorded.tensors
    computed = {
        name: np.array([value for example in examples for value in await engine.score(adapter_name, example)])
        for name, adapter_name in (("base", NULL), ("adapter", adapter))
    }
    for name, values in computed.items():
        if tensors[name].shape != values.shape:  # numpy would make a table of them
            raise ValueError(
                f"{name} has the shape {tensors[name].shape}, {values.shape} is recorded in tokens"
            )
    effect = float(np.abs(tensors["adapter"] - tensors["base"]).mean())
    for name in ("base", "adapter"):
        # unlikely tokens, the base's here, are rounded by far more nats
        yield distance_check(
            f"log-probabilities, {name}",
            computed[name] - tensors[name],
            "nats over {} tokens",
            exact=exact,
            effect=effect,
            noise=recorded.noise(name),
        )
    moved = float(np.abs(computed["adapter"] - computed["base"]).mean())
    yield effect_check(moved, effect, "log-probabilities")
    yield await _check_answers(head, engine, adapter, examples, exact=exact)


async def _check_answers(
    head: Prompts, engine: Asked, adapter: str, examples: Sequence[Example], *, exact: bool
) -> Check:
    jobs = [
        Job(
            adapter,
            example.tokens[: example.supervised],
            min(head.cap, len(example.tokens) - example.supervised + 1),  # one more would show
            head.stop,
        )
        for example in examples
    ]
    answers = await asyncio.gather(*map(engine.complete, jobs))
    same = sum(
        answer.tokens
        == tuple(token for token in example.tokens[example.supervised :] if token not in head.stop)
        for answer, example in zip(answers, examples, strict=True)
    )
    return same_answers_check(same, len(examples), "greedy ones", exact=exact)
