"""Seen tells which test rows a bundle was trained on: the bundle keeps salted hashes of its rows' inputs, no text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from appkit.data.overlap import input_key
from appkit.data.splits import subset
from appkit.errors import DataError

if TYPE_CHECKING:
    from appkit.data.rows import Record
    from appkit.task import Task

__all__ = ["check_seen", "hash_rows"]

BYTES = 6
"""of a hash: two of 100,000 rows share one by chance in one bundle of 50,000"""
MOST_ROWS = 1_000_000
"""of a split; hashes of more would make the manifest larger than it may be"""


def hash_rows(task: Task, fingerprint: str, splits: Mapping[str, Sequence[Record]]) -> dict[str, str] | None:
    """Hash the inputs of each split, for the manifest's `rows`; None for a split of more than MOST_ROWS.

    fingerprint: of the training rows; makes the salt, so that equal runs give equal hashes and one table of hashed
    texts does not serve for all bundles. A split is its sorted hashes of 6 bytes, without repeats, in base64.
    """
    if max(map(len, splits.values())) > MOST_ROWS:
        return None
    salt = hashlib.sha256(f"rows:{fingerprint}".encode()).hexdigest()[:32]
    key = input_key(task)
    return {"salt": salt} | {
        name: base64.b64encode(b"".join(sorted({_hash(salt, key(r)) for r in records}))).decode()
        for name, records in splits.items()
    }


def _hash(salt: str, text: str) -> bytes:
    return hashlib.sha256(f"{salt}:{text}".encode()).digest()[:BYTES]


def _read_hashes(rows: Any) -> tuple[str, dict[str, set[bytes]]] | None:
    """Read a manifest's `rows`; None where a bundle has none (before 0.2) or another form of it."""
    try:
        packed = {name: base64.b64decode(rows[name], validate=True) for name in ("train", "dev", "test")}
        return str(rows["salt"]), {
            name: {data[at : at + BYTES] for at in range(0, len(data), BYTES)}
            for name, data in packed.items()
        }
    except (KeyError, TypeError, ValueError):
        return None


def check_seen(
    task: Task,
    manifests: Mapping[str, Mapping[str, Any]],
    test: Sequence[Record],
    choice: str,
    most: int | None = None,
) -> tuple[list[Record], list[str]]:
    """Choose the rows to measure, and note how many of them bundles were trained on, or selected and calibrated by.

    manifests: by the name of the bundle. choice: report; exclude, which leaves out what any bundle has seen; refuse.
    most: rows to measure, None: all.

    Raises DataError with refuse for a row that was seen or a bundle that keeps no hashes, with exclude if none is left.
    """
    rows = list(test) if choice == "exclude" or most is None else subset(test, most)
    key, notes, seen = input_key(task), [], set()
    for who, manifest in manifests.items():
        hashes = _read_hashes(manifest.get("rows"))
        if hashes is None:
            note = f"{who}: unknown which test rows it was trained on; bundles keep hashes of their rows since 0.2"
            if choice == "refuse":
                raise DataError(f"{note}; train it anew, or measure with eval.seen=report")
            notes.append(note)
            continue
        salt, splits = hashes
        if change := _describe_change({_hash(salt, key(record)) for record in test}, splits["test"]):
            notes.append(f"{who}: {change}")
        names = [_hash(salt, key(record)) for record in rows]
        trained = sum(name in splits["train"] for name in names)
        selected = sum(name in splits["dev"] - splits["train"] for name in names)
        seen |= {
            id(r) for r, name in zip(rows, names, strict=True) if name in splits["train"] | splits["dev"]
        }
        if trained or selected:
            notes.append(
                f"{who}: {trained} of {len(rows)} test rows were trained on, {selected} more were used for selection"
            )
            if choice == "refuse":
                raise DataError(
                    f"{notes[-1]}; name other rows (data.test=), or leave them out (eval.seen=exclude)"
                )
    if seen and choice == "report":
        notes.append("figures on rows that were seen are too good; eval.seen=exclude leaves these rows out")
    if choice != "exclude":
        return rows, notes
    unseen = [record for record in rows if id(record) not in seen]
    if not unseen:
        raise DataError(f"all {len(rows)} test rows were seen in training; name others (data.test=)")
    if seen:
        notes.append(f"{len(seen)} of {len(rows)} test rows are left out (eval.seen=exclude)")
    return subset(unseen, most) if most is not None else unseen, notes


def _describe_change(names: set[bytes], own: set[bytes]) -> str | None:
    """Say how test rows differ from those of the bundle's run, None if they do not."""
    if names == own:
        return None
    same = len(names & own)
    return (
        f"the test rows are not those of its run: of its {len(own)} inputs {same} are here, beside "
        f"{len(names) - same} others"
    )
