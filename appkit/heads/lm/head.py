"""Defines the head of tasks that answer in words: the base's own output layer, decoded token by token."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from appkit.errors import ConfigError, DataError
from appkit.heads.head import Reply, Wishes
from appkit.heads.lm import check, encode
from appkit.heads.lm.answer import TextQuestion, parse_text, read_tokens
from appkit.heads.lm.detokenize import deltas
from appkit.heads.roles import Asked, Checked, Job, Role
from appkit.models.batch import collate
from appkit.models.chat import Chat
from appkit.stats.confidence import Calibration, Uncalibrated, fit_metric, of_manifest
from appkit.task import Decoding, Message, Metric, Prediction, Task, TextHead

if TYPE_CHECKING:
    import torch

    from appkit.config import RunConfig
    from appkit.data.rows import Record
    from appkit.heads.checks import Check
    from appkit.heads.reference import Recorded
    from appkit.heads.roles import Matrix
    from appkit.models.batch import Batch, Example
    from appkit.models.grammar import Constraint

__all__ = ["LmHead", "check_options", "token_cap"]


def check_options(task: Task, config: RunConfig) -> None:
    """Raises ConfigError for options that would change nothing, or cut answers."""
    default = type(config.head)()
    for key, value in config.head.model_dump().items():
        if value != getattr(default, key):
            raise ConfigError(
                f"head.{key} has no effect on task {task.name!r}, which answers in words; leave it out"
            )
    if config.data.on_long == "cut":
        raise ConfigError(
            f"data.on_long=cut would cut the answers of task {task.name!r}; use refuse or drop, "
            "or raise data.max_length"
        )


def token_cap(decoding: Decoding, longest_target: int) -> int:
    """Computes the most tokens that an answer may have."""
    if isinstance(decoding.max_new_tokens, int):
        return decoding.max_new_tokens
    return max(16, longest_target * 3 // 2)


@dataclass(frozen=True)
class LmHead:
    """Answers a task in words, under one way of decoding."""

    task: Task
    words: TextHead
    """the task's declaration of its head"""
    options: Any
    """the pack's configuration"""
    chat: Chat
    decoding: Decoding
    cap: int = 0
    """tokens of an answer, at most; 0 until `fitted`"""
    batch_rows: int = 128
    """rows that are answered at once"""
    shots: tuple[Message, ...] = ()
    """earlier turns shown in every prompt"""
    learns_prompt: bool = False
    """the loss is over the prompt's tokens too"""
    log_probabilities: bool = False
    """keep those of answers"""
    grammar: str | None = None
    """EBNF that an engine can keep to, of all rows"""
    constrain: bool = False
    """keep answers in this process to the grammar"""
    calibration: Calibration | None = None
    """what a confidence goes by"""
    uncalibrated: str | None = None
    """why there is no calibration"""

    spec: ClassVar[None] = None
    role: ClassVar[Role] = "generate"
    serving_note: ClassVar[str] = ""

    @classmethod
    def of_config(cls, task: Task, config: RunConfig, chat: Chat) -> LmHead:
        """Makes the head before training; `fitted` completes it."""
        assert isinstance(task.head, TextHead)
        grammar = task.head.grammar(config.task) if task.head.grammar else None
        return cls(
            task,
            task.head,
            config.task,
            chat,
            config.decoding,
            batch_rows=config.eval.batch_rows,
            learns_prompt=config.train.loss_on == "all",
            grammar=grammar,
        )

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any], config: RunConfig, task: Task, chat: Chat) -> LmHead:
        """Makes the head of a bundle."""
        assert isinstance(task.head, TextHead)
        return cls(
            task,
            task.head,
            config.task,
            chat,
            config.decoding,
            int(manifest["decoding"]["cap"]),
            config.eval.batch_rows,
            grammar=manifest.get("grammar"),
            calibration=of_manifest(manifest),
            uncalibrated=manifest.get("no_confidence"),
        )

    @property
    def constrains(self) -> bool:
        return bool(self.grammar or self.words.row_grammar)

    def grammar_of(self, row: Any) -> str | None:
        """Returns the EBNF that an answer to the row can be kept to."""
        return self.words.row_grammar(row, self.options) if self.words.row_grammar else self.grammar

    @property
    def stop(self) -> frozenset[int]:
        """Ids that end an answer."""
        return self.chat.stops(self.decoding.stop)

    def prompt(self, row: Any) -> list[int]:
        """Puts the row's prompt through the template, behind the shots if there are any."""
        try:
            messages = list(self.task.prompt(row, self.options))
        except ValueError as error:  # the pack cannot ask about this row
            raise DataError(" ".join(str(error).split())) from error
        opening = 1 if messages[0].role == "system" else 0
        return self.chat.prompt([*messages[:opening], *self.shots, *messages[opening:]])

    # --- training

    def encode(
        self, records: Sequence[Record], max_length: int, on_long: str
    ) -> tuple[list[Example], list[Record], list[str]]:
        examples, sources, notes = encode.encode(
            self.task, self.options, self.chat, records, max_length, on_long
        )
        if self.learns_prompt:
            examples = [replace(example, whole=True) for example in examples]
        return examples, sources, notes

    def audit(self, examples: Sequence[Example], records: Sequence[Record]) -> None:
        encode.audit(self.task, self.options, self.chat, examples, records)

    def render(self, examples: Sequence[Example], records: Sequence[Record]) -> str:
        return encode.render(self.chat, examples, records)

    def fitted(self, examples: Sequence[Example]) -> Self:
        return replace(self, cap=token_cap(self.decoding, max(example.answered for example in examples)))

    def attach(self, base: Any) -> Any:
        return base

    def collate(self, examples: Sequence[Example], device: Any) -> Batch:
        return collate(examples, device)

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        from appkit.heads.lm.loss import loss

        return loss(model, batch)

    def losses(self, model: Any, batch: Batch) -> torch.Tensor:
        from appkit.heads.lm.loss import losses

        return losses(model, batch)

    def calibrate(self, model: Any, dev: Sequence[Record]) -> Self:
        return self

    def rivals(self, baselines: str) -> tuple[str, ...]:
        return ("base",)

    # --- answering in this process

    def answering(
        self, *, batch_rows: int | None = None, confidence: bool = False, constrain: bool = False
    ) -> Self:
        return replace(
            self,
            batch_rows=batch_rows or self.batch_rows,
            log_probabilities=confidence,
            constrain=constrain,
        )

    def shown(self, rows: Sequence[Any], count: int) -> Self:
        turns: list[Message] = []
        for row in self.words.few_shot(rows, self.options)[:count]:
            turns += [message for message in self.task.prompt(row, self.options) if message.role != "system"]
            turns.append(Message.of("assistant", self.task.answer_text(row, self.options)))
        return replace(self, shots=tuple(turns))

    def measured_as(self, config: RunConfig, train: Sequence[Record]) -> Self:
        cap = self.cap
        if not cap or config.decoding.max_new_tokens != self.decoding.max_new_tokens:
            answers = (self.task.answer_text(record.value, config.task) for record in train)
            cap = token_cap(config.decoding, max(len(self.chat.ids(answer)) for answer in answers))
        return replace(
            self,
            decoding=config.decoding,
            cap=cap,
            batch_rows=config.eval.batch_rows,
            log_probabilities=True,  # of bundles, as in their runs
        )

    def answer(
        self, model: Any, rows: Sequence[Any], *, title: str = "answering", show: bool = True
    ) -> list[Prediction]:
        from appkit.models.generate import generate
        from appkit.progress import Progress

        prompts = [self.prompt(row) for row in rows]
        constraint = self._constraint(model, rows) if self.constrain else None
        model.eval()
        with Progress(title, len(prompts), "rows", show=show) as bar:
            generations = generate(
                model,
                prompts,
                max_new_tokens=self.cap,
                stop=self.stop,
                batch_rows=self.batch_rows,
                temperature=self.decoding.temperature,
                top_p=self.decoding.top_p,
                top_k=self.decoding.top_k,
                seed=self.decoding.seed,
                loop=self.decoding.loop,
                log_probabilities=self.log_probabilities,
                constrain=constraint,
                watch=constraint.watch if constraint else None,
                progress=bar.advance,
            )
        return [
            read_tokens(
                self.words,
                self.chat,
                generation.tokens,
                ended=not generation.truncated,
                log_probabilities=generation.log_probabilities,
            )
            for generation in generations
        ]

    def _constraint(self, model: Any, rows: Sequence[Any]) -> Constraint:
        from appkit.models.grammar import Constraint

        vocabulary = int(model.config.get_text_config().vocab_size)
        grammars = [self.grammar_of(row) for row in rows]
        return Constraint(grammars, self.chat.tokenizer, vocabulary, sorted(self.stop))

    def reread(self, entry: Mapping[str, Any]) -> Prediction:
        return Prediction(
            entry["text"],
            parse_text(self.words, entry["text"]),
            entry["tokens"],
            entry["truncated"],
            tuple(entry.get("log_probabilities", ())),  # runs of older versions kept none
        )

    def confidence(
        self,
        metric: Metric,
        statistics: Any,
        test: Sequence[Record],
        predictions: Sequence[Prediction],
        dev_rows: int,
    ) -> Calibration | Uncalibrated:
        try:
            return fit_metric(metric, statistics, predictions)
        except Uncalibrated as reason:
            return reason

    # --- bundles and certificates

    def reference(self, model: Any) -> tuple[dict[str, Any], dict[str, str]]:
        return check.reference(self, model)

    def facts(self) -> dict[str, Any]:
        return {
            "labels": None,
            "decoding": self.decoding.model_dump() | {"cap": self.cap},
            "grammar": self.grammar,
        }

    def served(self, matrix: Matrix | None, *, folded: bool) -> Self:
        return self

    def check_files(self, recorded: Recorded) -> Iterator[Check]:
        return check.check_files(self, recorded)

    def check_engine(
        self, engine: Checked, adapter: str, recorded: Recorded, *, exact: bool
    ) -> AsyncIterator[Check]:
        return check.check_engine(self, engine, adapter, recorded, exact=exact)

    # --- asking an engine

    def refusal(self, wishes: Wishes, ref: str) -> str | None:
        if wishes.constrain and not self.constrains:
            return f"task {self.task.name!r} has no grammar; ask without constrain"
        confidence = wishes.confidence or wishes.threshold is not None
        if wishes.base and confidence:
            return "confidence is calibrated for the adapter, not for its base; ask without one of them"
        if confidence and self.calibration is None:
            why = self.uncalibrated or "it was trained before there were any"
            return f"{ref} has no calibrated confidence ({why}); ask without it"
        return None

    def question(self, row: Any, wishes: Wishes) -> TextQuestion:
        decoding, confidence = self.decoding, wishes.confidence or wishes.threshold is not None
        job = Job(
            "",
            tuple(self.prompt(row)),
            self.cap,
            self.stop,
            decoding.temperature,
            decoding.top_p,
            decoding.top_k,
            decoding.seed if decoding.temperature else None,
            self.grammar_of(row) if wishes.constrain else None,
            confidence,
        )
        return TextQuestion(job, confidence)

    async def ask(self, engine: Asked, adapter: str, question: TextQuestion) -> Reply:
        piece = await engine.complete(replace(question.job, adapter=adapter))
        ended = piece.finish == "stop"
        return self._reply(question, piece.tokens, piece.log_probabilities, ended, len(piece.tokens) + ended)

    async def stream(
        self, engine: Asked, adapter: str, question: TextQuestion
    ) -> AsyncGenerator[str | Reply]:
        tokens: list[int] = []
        likely: list[float] = []
        written = 0
        async with aclosing(deltas(engine, replace(question.job, adapter=adapter), self.chat)) as parts:
            async for part in parts:
                tokens += part.tokens
                likely += part.log_probabilities
                written += part.count
                if part.text:
                    yield part.text
                if part.finish:
                    yield self._reply(question, tokens, likely, part.finish == "stop", written)

    def _reply(
        self,
        question: TextQuestion,
        tokens: Sequence[int],
        log_probabilities: Sequence[float],
        ended: bool,
        written: int,
    ) -> Reply:
        prediction = read_tokens(
            self.words,
            self.chat,
            tokens,
            ended=ended,
            loop=self.decoding.loop,
            log_probabilities=log_probabilities,
            calibration=self.calibration if question.confidence else None,
        )
        return Reply(prediction, written)
