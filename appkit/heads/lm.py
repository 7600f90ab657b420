"""Answers in words: the base's own language-model head, decoded token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from appkit.data.rows import Record
from appkit.errors import BundleError
from appkit.heads import Head, audit
from appkit.models.chat import Chat
from appkit.task import Decoding, Message, Prediction, Task

__all__ = ["Generating", "token_cap"]


def token_cap(decoding: Decoding, longest_target: int) -> int:
    """The most tokens an answer may have."""
    return (
        decoding.max_new_tokens
        if isinstance(decoding.max_new_tokens, int)
        else max(16, longest_target * 3 // 2)
    )


@dataclass(frozen=True)
class Generating:
    """A generative task under one way of decoding.

    cap: tokens of an answer, at most. shots: earlier turns shown in every prompt. log_probabilities: of answers, kept.
    """

    task: Task
    options: Any
    chat: Chat
    decoding: Decoding
    cap: int
    batch_rows: int = 128
    shots: tuple[Message, ...] = ()
    log_probabilities: bool = False

    @property
    def head(self) -> Head:
        from appkit.heads import lm_loss

        return lm_loss.HEAD

    def encode(
        self, records: Sequence[Record], max_length: int, on_long: str
    ) -> tuple[list[Any], list[Record], list[str]]:
        return audit.encode(self.task, self.options, self.chat, records, max_length, on_long)

    def audit(self, examples: Sequence[Any], records: Sequence[Record]) -> None:
        audit.audit(self.task, self.options, self.chat, examples, records)

    def render(self, examples: Sequence[Any], records: Sequence[Record]) -> str:
        return audit.render(self.chat, examples, records)

    def attach(self, base: Any) -> Any:
        return base

    def answer(
        self, model: Any, rows: Sequence[Any], *, title: str = "answering", show: bool = True
    ) -> list[Prediction]:
        """Everything that answers goes through here: eval, predict and the certificate's reference."""
        from appkit.models.generate import generate
        from appkit.progress import Progress

        prompts = []
        for row in rows:
            messages = list(self.task.prompt(row, self.options))
            opening = 1 if messages[0].role == "system" else 0
            prompts.append(self.chat.prompt([*messages[:opening], *self.shots, *messages[opening:]]))
        model.eval()
        with Progress(title, len(prompts), "rows", show=show) as bar:
            generated = generate(
                model,
                prompts,
                max_new_tokens=self.cap,
                stop=self.chat.stops(self.decoding.stop),
                batch_rows=self.batch_rows,
                temperature=self.decoding.temperature,
                top_p=self.decoding.top_p,
                top_k=self.decoding.top_k,
                seed=self.decoding.seed,
                loop=self.decoding.loop,
                log_probabilities=self.log_probabilities,
                progress=bar.advance,
            )
        predictions = []
        for one in generated:
            text = self.chat.decode(one.tokens).strip()
            tokens = len(one.tokens) + (not one.truncated)
            predictions.append(
                Prediction(text, self.task.parse(text), tokens, one.truncated, one.log_probabilities)
            )
        return predictions

    def settled(self, model: Any, dev: Sequence[Record]) -> Self:
        return self

    def reference(self, model: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """What the live trained model gives for the pack's examples, never for the user's data.

        For N canaries laid end to end: `tokens` (T,) int64 prompt and greedy answer; `lengths`, `supervised` (N,)
        int64, tokens of each and the place of its first answered one; `adapter`, `base` (L,) fp32, log-probability in
        nats of each answered token with the adapter on and off; and `reference_tensors` of them.
        """
        import torch

        from appkit.heads import lm_loss
        from appkit.heads.reference import reference_tensors
        from appkit.models.batch import Example, collate
        from appkit.models.generate import generate

        rows = [self.task.input_row(text) for text in self.task.examples]
        prompts = [self.chat.prompt(self.task.prompt(row, self.options)) for row in rows]
        stop = self.chat.stops(self.decoding.stop)
        answers = generate(model, prompts, max_new_tokens=self.cap, stop=stop)
        end = min(self.chat.stop)
        examples = [
            Example(tuple(prompt) + answer.tokens + (() if answer.truncated else (end,)), len(prompt))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        batch = collate(examples, next(model.parameters()).device)

        def answered() -> dict[str, torch.Tensor]:
            on = -lm_loss.token_losses(model, batch)
            with model.disable_adapter():
                off = -lm_loss.token_losses(model, batch)
            return {"adapter": on.float().cpu(), "base": off.float().cpu()}

        tensors = {
            "tokens": torch.tensor([token for example in examples for token in example.tokens]),
            "lengths": torch.tensor([len(example.tokens) for example in examples]),
            "supervised": torch.tensor([example.supervised for example in examples]),
            **reference_tensors(model, answered),
        }
        if torch.equal(tensors["adapter"], tensors["base"]):
            raise BundleError(
                "the adapter changes nothing: its log-probabilities equal the base's; train longer"
            )
        return tensors, {"dtype": str(next(model.parameters()).dtype), "rows": str(len(rows))}

    def facts(self) -> dict[str, Any]:
        return {
            "labels": None,
            "decoding": self.decoding.model_dump() | {"cap": self.cap},
            "grammar": self.task.grammar(self.options) if self.task.grammar else None,
        }
