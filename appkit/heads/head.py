"""The kinds of tasks: how rows become examples, and what a model computes becomes predictions.

A run, an evaluation, a loaded bundle and a certificate all go through a `Kind`; what differs between answering in words
and choosing labels is here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from appkit.config import RunConfig
    from appkit.data.rows import Record
    from appkit.heads import Head
    from appkit.models.chat import Chat
    from appkit.task import Prediction, Task

__all__ = ["Kind", "of_manifest"]


class Kind(Protocol):
    """What a task's rows are to a model."""

    @property
    def task(self) -> Task:
        """With the metrics that apply."""

    @property
    def chat(self) -> Chat:
        """The base's tokenizer."""

    @property
    def head(self) -> Head:
        """What the training loop needs."""

    def encode(
        self, records: Sequence[Record], max_length: int, on_long: str
    ) -> tuple[list[Any], list[Record], list[str]]:
        """Training examples, the records kept, and a line for what was left out or cut. Raises DataError."""

    def audit(self, examples: Sequence[Any], records: Sequence[Record]) -> None:
        """Check every row's supervision. Raises DataError."""

    def render(self, examples: Sequence[Any], records: Sequence[Record]) -> str:
        """A few rows in Markdown, with what is learned of them."""

    def attach(self, base: Any) -> Any:
        """The model to put an adapter on."""

    def answer(
        self, model: Any, rows: Sequence[Any], *, title: str = "answering", show: bool = True
    ) -> list[Prediction]:
        """Predictions for rows (values of the pack's schema; their targets are not looked at)."""

    def settled(self, model: Any, dev: Sequence[Record]) -> Self:
        """The same with what is chosen on the dev rows once training is over."""

    def reference(self, model: Any) -> tuple[dict[str, Any], dict[str, str]]:
        """What the live trained model gives for the pack's examples: tensors and metadata of reference.safetensors."""

    def facts(self) -> dict[str, Any]:
        """What a manifest records, enough for `of_manifest`."""


def of_manifest(manifest: Mapping[str, Any], config: RunConfig, task: Task, chat: Chat) -> Kind:
    """The kind that a bundle was trained as. Raises BundleError when its head cannot be read."""
    if task.kind == "generate":
        from appkit.heads.lm import Generating

        decoding = config.decoding
        cap = int(manifest["decoding"]["cap"])
        return Generating(task, config.task, chat, decoding, cap, config.eval.batch_rows)
    from appkit.heads.label import Labelling, read_head_spec

    return Labelling.of(task, config, chat, read_head_spec(manifest))
