"""What is known of a bundle before any engine starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from appkit.serving.certify.checks import Check

if TYPE_CHECKING:
    from appkit.heads.label import Labelling
    from appkit.models.batch import Labelled
    from appkit.serving.deployment import Subject

__all__ = ["label_names", "label_tokens"]


def label_names(subject: Subject) -> Check:
    """The manifest's labels against those that the trained model recorded with its logits."""
    recorded = json.loads(subject.metadata.get("labels", "null"))
    named = list(subject.manifest.get("labels") or ())
    assert subject.spec is not None
    if recorded != named or named != list(subject.spec.labels):
        return Check(
            "labels", False, f"they are {_short(named)} here, and were {_short(recorded or [])} in training"
        )
    return Check("labels", True, f"{len(named)} in the order of training" if named else "a number")


def _short(labels: Sequence[str]) -> str:
    return f"{', '.join(labels[:4])}{', …' if len(labels) > 4 else ''}" or "none"


def label_tokens(subject: Subject) -> Check:
    """The pack's examples through this base's tokenizer, against the recorded ids and places."""
    kind = labelling(subject)
    found = [
        window
        for text in subject.task.examples
        for window in kind.windows(subject.task.input_row(text)).windows
    ]
    if found != recorded_windows(subject):
        return Check(
            "token ids", False, "the pack's examples have other tokens or labelled places than in training"
        )
    if (mark := subject.chat.fingerprint()) != subject.manifest["template"]:
        return Check("token ids", False, f"the tokenizer or chat template is another one ({mark[:19]}…)")
    return Check("token ids", True, f"equal in {len(found)} texts")


def labelling(subject: Subject) -> Labelling:
    assert subject.labelling is not None
    return subject.labelling


def recorded_windows(subject: Subject) -> list[Labelled]:
    """The windows of the reference."""
    from appkit.models.batch import Labelled

    tokens, places = subject.recorded["tokens"].tolist(), subject.recorded["places"].tolist()
    windows, at, place = [], 0, 0
    lengths, counts = subject.recorded["lengths"].tolist(), subject.recorded["counts"].tolist()
    for length, count in zip(lengths, counts, strict=True):
        windows.append(Labelled(tuple(tokens[at : at + length]), tuple(places[place : place + count])))
        at, place = at + length, place + count
    return windows
