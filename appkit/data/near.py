"""Near finds rows whose inputs are almost the same: candidates by MinHash, then counted character by character.

Such rows are only reported. A test row that is a training row with a word exchanged measures memory, but whether it is
one, its owner decides.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from appkit.data.overlap import input_key
from appkit.errors import shortened

if TYPE_CHECKING:
    import numpy as np

    from appkit.data.rows import Record
    from appkit.task import Task

__all__ = ["Alike", "explain_absence", "find_alike", "group_alike", "note_alike"]

SHINGLE = 3
"""characters that are compared together: with so few, a sentence with one word exchanged is alike, and characters need
no language's word ends"""
FACTORS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""odd, one for each character of a shingle: multiplied modulo 2^64, the upper half of the sum is the hash"""
PERMUTATIONS = 128
"""hashes of a signature"""
FOUND = 0.98
"""share of the pairs at the threshold that become candidates, at least; of more alike ones it is larger"""
LOWEST = 400
"""shingles of a field that its signature is made of, at most: those of lowest hash"""
BUCKET = 8
"""rows of a split with the same band that a row is compared with, at most: rows of one template are all alike"""
COUNTED = 3
"""candidates of a row whose characters are counted: the most alike by signature"""
MARGIN = 0.2
"""below the threshold, candidates that are still counted: a signature only estimates"""
MOST_ROWS = 200_000
"""of all splits; more would take minutes"""
SHOWN = 3
"""pairs in a run's note"""


@dataclass(frozen=True)
class Alike:
    """A row whose input is almost that of another row."""

    a: str
    """name of the other row's split"""
    b: str
    """name of the row's split"""
    places: tuple[str, str]
    """where the other row and the row are"""
    inputs: tuple[str, str]
    """the beginnings of their texts, each with those fields beside it that differ"""
    similarity: float
    """share of their character sequences that both have (Jaccard), of the field that differs most; inputs that differ
    only in case, in blanks or in the width of characters have 1"""

    def __str__(self) -> str:
        sides = (f"{place} {text}" for place, text in zip(self.places, self.inputs, strict=True))
        return f"{self.similarity:.2f}  {' / '.join(sides)}"


@dataclass(frozen=True)
class _Shingled:
    """A row as the hashes of its characters."""

    split: str
    record: Record
    key: str
    fields: tuple[np.ndarray, ...]
    """of each field, sorted and without repeats"""


def explain_absence(parts: Mapping[str, Sequence[Record]]) -> str | None:
    """Say why these rows are not compared, and what helps; None if they are."""
    count = sum(map(len, parts.values()))
    if count > MOST_ROWS:
        return (
            f"near-duplicates were not looked for: {count:,} rows, at most {MOST_ROWS:,} are compared; check a part "
            "of them"
        )
    if find_spec("datasketch") is None:
        return "near-duplicates were not looked for: datasketch is not installed; pip install 'appkit[train]'"
    return None


def find_alike(parts: Mapping[str, Sequence[Record]], task: Task, threshold: float) -> list[Alike]:
    """Find rows whose input is like that of an earlier row, and of a row of an earlier split: the most alike of each.

    Rows without text are left out, and so are inputs that are equal, which `duplicates` and `overlap` find. Of many
    rows that are alike, each is compared with some of them only.
    """
    rows = list(_read_rows(parts, task))
    if len(rows) < 2:
        return []
    signatures = _sign(rows)
    keys = {name: {row.key for row in rows if row.split == name} for name in parts}
    buckets: dict[tuple[str, int, int], list[int]] = defaultdict(list)
    alike = []
    for place, (row, bands) in enumerate(zip(rows, _list_shared_bands(signatures, threshold), strict=True)):
        for name in parts:
            if name == row.split or row.key not in keys[name]:
                candidates = {other for band in bands for other in buckets.get((name, *band), ())}
                if not candidates:
                    continue
                if closest := _find_closest(rows, signatures, place, candidates, threshold):
                    alike.append(_describe_pair(rows[closest[1]], row, closest[0], task))
            if name == row.split:
                break
        for band in bands:
            if len(bucket := buckets[row.split, *band]) < BUCKET:
                bucket.append(place)
    return alike


def _read_rows(parts: Mapping[str, Sequence[Record]], task: Task) -> Iterator[_Shingled]:
    """Shingle each input once in a split; yield those that hold a letter, a digit or a character of a script."""
    key_of = input_key(task)
    for name, records in parts.items():
        seen = set()
        for record in records:
            if (key := key_of(record)) in seen:
                continue
            seen.add(key)
            texts = [_read_text(getattr(record.value, field)) for field in (task.input, *task.beside)]
            if any(map(str.isalnum, "".join(texts))):
                yield _Shingled(name, record, key, tuple(map(_hash_shingles, texts)))


def _read_text(value: Any) -> str:
    """Read a field as text without case, and with one blank where there are several; "" for what is no text."""
    words = value if isinstance(value, (list, tuple)) else [value]
    text = " ".join(word for word in words if isinstance(word, str))
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _hash_shingles(text: str) -> np.ndarray:
    """Hash every SHINGLE characters in a row to 32 bits; a shorter text is filled up with blanks."""
    import numpy as np

    if not text:
        return np.zeros(0, dtype=np.uint32)
    coded = text.ljust(SHINGLE).encode("utf-32-le", "surrogatepass")
    signs = np.frombuffer(coded, dtype="<u4").astype(np.uint64)
    total = np.zeros(len(signs) - SHINGLE + 1, dtype=np.uint64)
    for at, factor in enumerate(FACTORS):
        total += signs[at : at + len(total)] * np.uint64(factor)
    return np.unique((total >> np.uint64(32)).astype(np.uint32))


def _sign(rows: Sequence[_Shingled]) -> np.ndarray:
    """Compute the MinHash signature of each row: (N, PERMUTATIONS)."""
    import numpy as np
    from datasketch import MinHash

    hashes = (  # the same characters in another field are others
        np.concatenate(
            [field[:LOWEST] + np.uint32(number) for number, field in enumerate(row.fields)]
        ).tolist()
        for row in rows
    )
    sketches = MinHash.generator(hashes, num_perm=PERMUTATIONS, hashfunc=int, scheme="affine32")
    return np.array([sketch.hashvalues for sketch in sketches])


def _list_shared_bands(signatures: np.ndarray, threshold: float) -> list[list[tuple[int, int]]]:
    """List the bands of each signature that another one has too, as (number of the band, number of its content).

    Two rows above the threshold almost surely share one (locality-sensitive hashing), two below it rarely.
    """
    import numpy as np

    width = _choose_width(threshold)
    shared: list[list[tuple[int, int]]] = [[] for _ in signatures]
    for band in range(PERMUTATIONS // width):
        hashes = np.ascontiguousarray(signatures[:, band * width : (band + 1) * width])
        whole = hashes.view(np.dtype((np.void, hashes.itemsize * width))).ravel()
        _, contents, counts = np.unique(whole, return_inverse=True, return_counts=True)
        for place in np.flatnonzero(counts[contents] > 1).tolist():
            shared[place].append((band, int(contents[place])))
    return shared


def _choose_width(threshold: float) -> int:
    """Choose the most hashes of a band with which two rows at the threshold share one of the bands by FOUND."""
    widths = range(1, PERMUTATIONS + 1)
    return max(width for width in widths if 1 - (1 - threshold**width) ** (PERMUTATIONS // width) >= FOUND)


def _find_closest(
    rows: Sequence[_Shingled], signatures: np.ndarray, place: int, candidates: set[int], threshold: float
) -> tuple[float, int] | None:
    """Find the most alike of the candidates: similarity and place. None if none reaches the threshold."""
    import numpy as np

    others = np.array(sorted(candidates))
    estimates = (signatures[others] == signatures[place]).mean(axis=1)
    order = np.argsort(-estimates, kind="stable")[:COUNTED]
    counted = [
        (_compare(rows[place], rows[other]), other)
        for other, estimate in zip(others[order].tolist(), estimates[order].tolist(), strict=True)
        if estimate >= threshold - MARGIN
    ]
    similarity, other = max(counted, key=lambda pair: pair[0], default=(0.0, place))
    return None if similarity < threshold else (similarity, other)


def _describe_pair(other: _Shingled, row: _Shingled, similarity: float, task: Task) -> Alike:
    """Describe two rows by their texts, and by the fields beside these that tell them apart, such as a second text."""
    pair = (other, row)
    values = [[getattr(side.record.value, field) for side in pair] for field in (task.input, *task.beside)]
    shown = [values[0], *(both for both in values[1:] if both[0] != both[1])]
    texts = [
        "\n".join(" ".join(str(value).split()) for value in side if value is not None)
        for side in zip(*shown, strict=True)
    ]
    return Alike(
        other.split,
        row.split,
        (other.record.place, row.record.place),
        (shortened(texts[0]), shortened(texts[1])),
        round(similarity, 4),
    )


def _compare(a: _Shingled, b: _Shingled) -> float:
    """Compute the Jaccard similarity of the field that differs most: one text of a pair may repeat in many rows."""
    import numpy as np

    shares = [1.0]
    for left, right in zip(a.fields, b.fields, strict=True):
        if len(left) or len(right):
            both = len(np.intersect1d(left, right, assume_unique=True))
            shares.append(both / (len(left) + len(right) - both))
    return min(shares)


def group_alike(alike: Sequence[Alike], threshold: float) -> Iterator[tuple[str, list[Alike]]]:
    """Group the findings by their splits; yield a title, and the rows of the group, the most alike first."""
    for a, b in dict.fromkeys((pair.a, pair.b) for pair in alike):
        pairs = sorted((pair for pair in alike if (pair.a, pair.b) == (a, b)), key=lambda p: -p.similarity)
        count = f"{len(pairs)} row{'s' * (len(pairs) != 1)}"
        title = (
            f"{a}: {count} with an input almost like that of an earlier row"
            if a == b
            else f"{a} and {b}: {count} of {b} with an input almost like that of a row of {a}"
        )
        yield f"{title} (data.near={threshold:g})", pairs


def note_alike(parts: Mapping[str, Sequence[Record]], task: Task, threshold: float | None) -> list[str]:
    """Note the findings in the rows of a run, a line for each two splits; none with a threshold of None."""
    if threshold is None:
        return []
    if absence := explain_absence(parts):
        return [absence]
    return [
        f"{title}: {'; '.join(map(str, pairs[:SHOWN]))}{'; …' if len(pairs) > SHOWN else ''}"
        for title, pairs in group_alike(find_alike(parts, task, threshold), threshold)
    ]
