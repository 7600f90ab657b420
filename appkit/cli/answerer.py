"""Answerer says who answers the rows of a command: a bundle in this process, or a gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from appkit.cli.terminal import quiet_libraries
from appkit.errors import ConfigError
from appkit.progress import Progress

if TYPE_CHECKING:
    from appkit.task import Prediction, Task

__all__ = ["Answered", "Answerer", "check_answerer", "find_answerer"]

BATCH = 32
"""rows that are answered together"""
AT_ONCE = 4
"""requests under way to a gateway, so that its engine never waits for the next"""

Answered = tuple["Prediction", float | None]


@dataclass(frozen=True)
class Answerer:
    """Who answers: a bundle in this process, or a gateway."""

    task: Task
    options: Any
    """the pack's, of the bundle"""
    name: str
    """of the version that answers: another one's stored answers are not used"""
    answer: Callable[[Sequence[Mapping[str, Any]], bool], list[Answered]]
    """(rows, whether answers are kept to the grammar)"""
    at_once: int
    unbound: str
    """why answers cannot be kept to the pack's grammar; "": they can"""

    def answer_batches(
        self, rows: Sequence[Mapping[str, Any]], *, constrain: bool = False
    ) -> Iterator[list[Answered]]:
        """Yields the answers of each batch, in the order of the rows."""
        batches = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]
        with ThreadPoolExecutor(self.at_once) as threads:
            yield from threads.map(lambda batch: self.answer(batch, constrain), batches)

    def answer_all(self, rows: Sequence[Mapping[str, Any]], *, constrain: bool = False) -> list[Answered]:
        """Answers rows; more than a batch show a bar."""
        answers: list[Answered] = []
        with Progress("answering", len(rows), "rows", show=len(rows) > BATCH) as bar:
            for batch in self.answer_batches(rows, constrain=constrain):
                answers += batch
                bar.advance(len(batch))
        return answers


def check_answerer(bundle: Path | None, gateway: str | None) -> None:
    """Raises ConfigError unless exactly one is named."""
    if bundle is not None and gateway is not None:
        raise ConfigError("--bundle and --gateway exclude each other; leave one out")
    if bundle is None and gateway is None:
        raise ConfigError("name who answers: --bundle DIRECTORY, or --gateway URL")


def find_answerer(bundle: Path | None, gateway: str | None, alias: str, key: str | None) -> Answerer:
    """Loads the bundle, or finds the gateway's alias.

    Raises ConfigError unless exactly one is named, and for a gateway whose options are not known here; as `load` for a
    bundle, and GatewayError for a gateway that does not answer.
    """
    check_answerer(bundle, gateway)
    quiet_libraries()
    return _load_bundle(bundle) if bundle else _ask_gateway(str(gateway), alias, key)


def _load_bundle(path: Path) -> Answerer:
    import appkit

    specialist = appkit.load(path)

    def answer(rows: Sequence[Mapping[str, Any]], constrain: bool) -> list[Answered]:
        predictions = specialist.predict(list(rows), batch_rows=BATCH, constrain=constrain, show=False)
        return [(prediction, specialist.confidence(prediction)) for prediction in predictions]

    unbound = "" if find_spec("xgrammar") else "xgrammar is not installed; pip install 'appkit[serve]'"
    if not specialist.head.constrains:
        unbound = f"task {specialist.task.name!r} has no grammar"
    return Answerer(specialist.task, specialist.config.task, specialist.manifest["sha"], answer, 1, unbound)


def _ask_gateway(url: str, alias: str, key: str | None) -> Answerer:
    from appkit.client import Client
    from appkit.heads.lm.answer import parse_text
    from appkit.plugins import load_task
    from appkit.task import Prediction

    client = Client(url, key=key)
    about = client.describe(alias)
    task = load_task(about["task"])
    try:
        options = task.config(**about.get("options", {}))
    except ValidationError as error:
        option = error.errors()[0]["loc"][0]
        raise ConfigError(
            f"{url} serves {alias!r} with task.{option}, which task {task.name!r} does not take here; install the "
            "gateway's version of appkit"
        ) from None
    task = task.under(options)
    calibrated = about.get("confidence") is not None

    def answer(rows: Sequence[Mapping[str, Any]], constrain: bool) -> list[Answered]:
        answers = client.task(alias, list(rows), constrain=constrain, confidence=calibrated, batch=BATCH)
        return [
            (
                Prediction(one.text, parse_text(task.head, one.text), one.tokens, one.truncated),  # type: ignore[arg-type]
                one.confidence,
            )
            for one in answers
        ]

    unbound = "" if about.get("constrain") else f"{url} does not constrain {alias!r}; update the gateway"
    return Answerer(task, options, about["model"], answer, AT_ONCE, unbound)
