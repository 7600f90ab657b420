"""Makes the head that a task declares, from training rows or from a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from appkit.errors import ConfigError
from appkit.heads.head import Head
from appkit.task import LabelHead, Task, TextHead

if TYPE_CHECKING:
    from appkit.config import RunConfig
    from appkit.data.rows import Record
    from appkit.models.chat import Chat

__all__ = ["base_answers", "check_options", "count_tokens", "head_of_bundle", "head_of_rows"]


def check_options(task: Task, config: RunConfig) -> None:
    """Checks the head's options before any row is read. Raises ConfigError for options that would change nothing."""
    if isinstance(task.head, TextHead):
        from appkit.heads.lm.head import check_options

        check_options(task, config)
    elif config.train.loss_on != "answer":
        raise ConfigError(
            f"train.loss_on={config.train.loss_on} has no effect on task {task.name!r}, which chooses labels; leave it "
            "out"
        )


def base_answers(task: Task) -> bool:
    """Tells whether a base can answer the task without training."""
    return isinstance(task.head, TextHead)


def count_tokens(task: Task, options: Any, chat: Chat, row: Any) -> int:
    """Counts the tokens of a training row, whatever its targets turn out to be."""
    messages = task.prompt(row, options)
    if isinstance(task.head, LabelHead):
        return len(chat.ids(messages[-1].text))
    return len(chat.example(messages, task.answer_text(row, options)).tokens)


def head_of_rows(
    task: Task, config: RunConfig, chat: Chat, train: Sequence[Record], others: Mapping[str, Sequence[Record]]
) -> tuple[Head, Sequence[str]]:
    """Makes the head to train, and notes for the user on the rows' targets; others: further splits by name.

    Raises ConfigError for options that do not fit the targets, DataError for targets that cannot be learned.
    """
    task = task.under(config.task)
    match task.head:
        case TextHead():
            from appkit.heads.lm.head import LmHead

            return LmHead.of_config(task, config, chat), ()
        case LabelHead():
            from appkit.heads.label.head import LinearHead

            return LinearHead.of_rows(task, config, chat, train, others)


def head_of_bundle(manifest: Mapping[str, Any], config: RunConfig, task: Task, chat: Chat) -> Head:
    """Makes the head that a bundle was trained with. Raises BundleError when it cannot be read."""
    task = task.under(config.task)
    match task.head:
        case TextHead():
            from appkit.heads.lm.head import LmHead

            return LmHead.of_manifest(manifest, config, task, chat)
        case LabelHead():
            from appkit.heads.label.head import LinearHead

            return LinearHead.of_manifest(manifest, config, task, chat)
