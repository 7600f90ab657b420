"""The index of passages lies on disk: dense vectors and words (BM25), kept up by the content of each file.

    INDEX/current        the name of the version that is in use; replaced at once
    INDEX/<version>/     index.json  passages.jsonl  vectors.npy  words/  and what the store of vectors writes

passages.jsonl and vectors.npy are the truth, a store is made from them; on a server each version has a collection.
A run that is killed leaves the version before it in use.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from appkit.errors import AppkitError, ConfigError, DataError
from appkit.progress import Progress
from appkit.rag import stores
from appkit.rag.files import find, of_extra, passages, unreadable_told
from appkit.rag.rank import fused, signed_qim
from appkit.storage.atomic import file_sha256, locked, staged, write_text
from appkit.task import Passage

__all__ = ["Built", "Encoder", "Hit", "Index", "build", "encoder"]

SCHEMA = 2
POOL = 50
"""passages of each ranking that are fused"""
JUDGED = 20
"""passages that the judge puts in order"""
By = Literal["dense", "bm25", "hybrid"]
WAYS: tuple[str, ...] = get_args(By)
Say = Callable[[str], None]


class Encoder(Protocol):
    """Texts -> vectors (N, d), float32, of length 1."""

    def embed(self, texts: Sequence[str], *, show: bool = True) -> np.ndarray: ...


@dataclass(frozen=True)
class Hit:
    """A passage that was found. score: of the ranking that was asked for, higher is nearer."""

    passage: Passage
    score: float


@dataclass(frozen=True)
class Built:
    """What a run did. embedded: passages that were new; files that could not be read stand in `skipped` with why."""

    path: Path
    files: int
    passages: int
    embedded: int
    skipped: dict[str, str]


def encoder(name: str) -> Encoder:
    """`minilm`, from the package registry, or any model of sentence-transformers by its name.

    Raises AppkitError when it cannot be had.
    """
    if name == "minilm":
        from appkit.models.embedder import Encoder as MiniLM

        return MiniLM()
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise AppkitError(
            f"embeddings by {name!r} need sentence-transformers; pip install sentence-transformers, "
            "or leave out --embeddings"
        ) from None
    try:
        model = SentenceTransformer(name)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise AppkitError(f"no embeddings by {name!r}: {reason}; check the name and the network") from None

    class Other:
        def embed(self, texts: Sequence[str], *, show: bool = True) -> np.ndarray:
            made: np.ndarray = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=show)
            return made.astype(np.float32)

    return Other()


def build(
    given: Sequence[Path],
    to: Path,
    *,
    embeddings: str = "minilm",
    size: int = 1000,
    overlap: int = 100,
    store: str = "faiss",
    say: Say = lambda line: None,
) -> Built:
    """Index files, or bring an index of them up to date: what did not change is not embedded again.

    size, overlap: characters of a passage, and of what two neighbours share. store: faiss, qdrant or chroma, or one of
    the latter two with the address of its server, `qdrant=http://host:6333`.
    Raises DataError when nothing can be indexed, ConfigError for sizes that make no sense, AppkitError for what is
    missing on this machine.
    """
    if not 100 <= size <= 20_000 or not 0 <= overlap < size:
        raise ConfigError(f"size is 100 to 20000 and overlap less than it, got {size} and {overlap}")
    _, address = stores.parsed(store)
    files = find(given, to)
    _check_free(to)  # before the lock, which leaves a file beside it
    with locked(to):
        _remove_stages(to)
        old = _old(to)
        options = {"embeddings": embeddings, "size": size, "overlap": overlap}
        # of other settings nothing fits; another store is made from the same vectors
        kept = old if old and old.about["options"] | options == old.about["options"] else None
        found, hashes, skipped = _read(files, kept, size, overlap)
        if not found:
            why = f" ({next(iter(skipped.values()))})" if skipped else ""
            raise DataError(f"no text in {len(files)} files{why}; nothing was indexed")
        vectors, embedded = _vectors(found, kept, embeddings)
        about = {
            "schema": SCHEMA,
            "options": options | {"store": store},
            "files": hashes,
            "passages": len(found),
        }
        if address:
            about["collections"] = _prefix(to)
        version = _write(to, about, found, vectors)
        _prune([old.about, about] if old else [about], keep=_collection(about, version), say=say)
    for name, why in skipped.items():
        say(f"  skipped: {name}: {why}")
    return Built(to, len(hashes), len(found), embedded, skipped)


def _check_free(to: Path) -> None:
    """Raises DataError for what is there and is neither an index nor what a first run that was killed left of one."""
    if to.exists() and not to.is_dir():
        raise DataError(f"{to} is a file; name a directory for the index")
    if not to.exists() or (to / "current").exists():
        return
    if any(not one.name.startswith(".") and not (one / "index.json").is_file() for one in to.iterdir()):
        raise DataError(f"{to} is there and is no index; name another directory")


def _remove_stages(to: Path) -> None:
    """What runs that were killed left half made: who holds the lock is alone."""
    for left in to.glob(".*.tmp"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _old(to: Path) -> Version | None:
    """The version in use; None where there is none, or one of another schema, of which nothing can be kept."""
    try:
        return _version(to) if (to / "current").exists() else None
    except _OtherSchema:
        return None


def _read(
    files: Sequence[Path], kept: Version | None, size: int, overlap: int
) -> tuple[list[Passage], dict[str, str], dict[str, str]]:
    """(passages, sha256 by file, why by file that was skipped); of files that did not change, the passages kept."""
    before: dict[str, list[Passage]] = {}
    for one in kept.passages if kept else ():
        before.setdefault(one.file, []).append(one)
    found: list[Passage] = []
    hashes: dict[str, str] = {}
    skipped: dict[str, str] = {}
    with Progress("reading", len(files), "files", show=len(files) > 1) as bar:
        for file in files:
            try:
                with unreadable_told(file):
                    sha = file_sha256(file)
                    if kept and kept.about["files"].get(str(file)) == sha:
                        found += before.get(str(file), [])
                    else:
                        found += passages(file, size=size, overlap=overlap)
                    hashes[str(file)] = sha
            except DataError as error:
                skipped[str(file)] = str(error)
            bar.advance(1)
    return found, hashes, skipped


def _vectors(found: Sequence[Passage], kept: Version | None, embeddings: str) -> tuple[np.ndarray, int]:
    """(vectors (N, d), how many were made anew); a text that was embedded before, wherever, is not again."""
    known = {one.text: row for row, one in enumerate(kept.passages)} if kept else {}
    new = list(dict.fromkeys(one.text for one in found if one.text not in known))
    if not new and kept:
        return kept.vectors[[known[one.text] for one in found]], 0
    made = encoder(embeddings).embed(new)
    place = {text: row for row, text in enumerate(new)}
    rows = [
        made[place[one.text]] if one.text in place else kept.vectors[known[one.text]]  # type: ignore[union-attr]
        for one in found
    ]
    return np.stack(rows).astype(np.float32), len(new)


def _write(to: Path, about: dict[str, Any], found: Sequence[Passage], vectors: np.ndarray) -> Path:
    """The directory of the version, which is in use from now on."""
    bm25s = _bm25s()
    store, address = _store(about)
    body = "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in found)
    name = hashlib.sha256((json.dumps(about, sort_keys=True) + body).encode()).hexdigest()[:16]
    to.mkdir(parents=True, exist_ok=True)
    if address and store.server:
        store.server.upload(address, _collection(about, to / name), vectors)
    if not (to / name).exists():
        with staged(to / name) as stage:
            (stage / "passages.jsonl").write_text(body, encoding="utf-8")
            np.save(stage / "vectors.npy", vectors)
            if not address:
                store.write(stage, vectors)
            words = bm25s.BM25()
            tokens = _tokens([one.text for one in found])
            # bm25s needs a word: where no text has any, one that no query can have
            words.index(tokens if tokens.vocab else [["\0"]] * len(found), show_progress=False)
            words.save(str(stage / "words"))
            (stage / "index.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    write_text(to / "current", name)
    for other in to.iterdir():  # who has opened an older version holds all of it in memory
        if other.is_dir() and other.name != name and (other / "index.json").exists():
            shutil.rmtree(other, ignore_errors=True)
    return to / name


def _store(about: dict[str, Any]) -> tuple[stores.Kind, str | None]:
    """An index's store, and the address of its server; one made before there was a choice has FAISS."""
    name, address = stores.parsed(about["options"].get("store", "faiss"))
    return stores.find(name), address


def _prefix(to: Path) -> str:
    """What begins the names of this index's collections: also those of a first run that was killed are found by it."""
    file = to / ".collections"
    if not file.exists():
        write_text(file, f"appkit-{secrets.token_hex(4)}-")
    return file.read_text(encoding="utf-8")


def _collection(about: dict[str, Any], version: Path) -> str:
    return f"{about.get('collections', '')}{version.name}"


def _prune(abouts: Sequence[dict[str, Any]], keep: str, say: Say) -> None:
    """Remove the collections of other versions, from the server that was used before too."""
    done = set()
    for about in abouts:
        store, address = _store(about)
        if not address or not store.server or (address, about["collections"]) in done:
            continue
        done.add((address, about["collections"]))
        try:
            store.server.prune(address, about["collections"], keep)
        except AppkitError as error:  # the index is made; what is left there only takes room
            say(f"  collections {about['collections']}* of older versions may be left: {error}")


def _bm25s() -> Any:
    with of_extra():
        import bm25s
    return bm25s


def _tokens(texts: Sequence[str]) -> Any:
    """Words for BM25: none left out, neither stop words nor those of one letter, and no stemming.

    A word ends where no letter or digit follows: of a script without spaces it is a whole run of letters.
    """
    import bm25s

    return bm25s.tokenize(
        list(texts), token_pattern=r"(?u)\b\w+\b", stopwords=None, stemmer=None, show_progress=False
    )


@dataclass(frozen=True)
class Version:
    """What is true of an index, whatever its store. vectors: (N, d), a row for each passage."""

    path: Path
    about: dict[str, Any]
    passages: list[Passage]
    vectors: np.ndarray


class _OtherSchema(DataError):
    """An index that another appkit made."""


def _version(to: Path) -> Version:
    """The version that is in use. Raises DataError when there is none, or it is damaged or of another schema."""
    if not (to / "current").is_file():
        raise DataError(f"no index at {to}; make one: appkit rag index DOCUMENTS --to {to}")
    with _damage_told(to):
        path = to / (to / "current").read_text(encoding="utf-8").strip()
        about = json.loads((path / "index.json").read_text(encoding="utf-8"))
        if about["schema"] != SCHEMA:
            raise _OtherSchema(f"{to} has schema {about['schema']}, this appkit reads {SCHEMA}; index again")
        with (path / "passages.jsonl").open(encoding="utf-8") as lines:
            found = [Passage(**json.loads(line)) for line in lines]
        vectors = np.load(path / "vectors.npy", allow_pickle=False)
        if len(found) != about["passages"] or len(vectors) != len(found):
            raise ValueError(f"{len(found)} passages, {len(vectors)} vectors, {about['passages']} recorded")
        return Version(path, about, found, vectors)


def _named(to: Path) -> str | None:
    """The version in use by its name."""
    try:
        return (to / "current").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


@contextmanager
def _damage_told(to: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{to} is damaged ({error}); delete it and index again") from None


class Index:
    """An index that is open, and its own: a later run may replace what is on disk, though not what is on a server."""

    def __init__(self, version: Version) -> None:
        self.path, self.about = version.path, version.about
        self.passages, self.vectors = version.passages, version.vectors
        store, address = _store(self.about)
        if address and store.server:
            collection = _collection(self.about, self.path)
            self._dense = store.server.connect(address, collection, len(self.passages))
        else:
            self._dense = store.open(self.path, self.vectors)
        self._words = _bm25s().BM25.load(str(self.path / "words"))

    @classmethod
    def open(cls, to: Path) -> Index:
        """Raises DataError when there is none, or it is damaged or of another schema; AppkitError when its store's
        package is missing or its server does not hold it."""
        while True:
            named = _named(to)
            try:
                version = _version(to)
                with _damage_told(to):
                    return cls(version)
            except AppkitError:
                if _named(to) == named:  # else a run has just put another version in its place
                    raise

    @cached_property
    def _encoder(self) -> Encoder:
        return encoder(self.about["options"]["embeddings"])

    def search(self, query: str, k: int = 5, *, by: By = "hybrid", judge: bool = False) -> list[Hit]:
        """Find the k passages nearest to the query, nearest first.

        by: embeddings (dense), words (bm25), or both rankings fused (hybrid). judge: QIM puts the best 20 in order.
        Raises DataError for an empty query, ConfigError for a k below 1 or another way.
        """
        return self.search_all([query], k, by=by, judge=judge)[0]

    def search_all(
        self, queries: Sequence[str], k: int = 5, *, by: By = "hybrid", judge: bool = False
    ) -> list[list[Hit]]:
        """Search for many queries; their embeddings are made together."""
        if by not in WAYS:
            raise ConfigError(f"passages are ranked by {', '.join(WAYS)}, got {by!r}")
        if k < 1:
            raise ConfigError(f"k is 1 or more, got {k}")
        if any(not query.strip() for query in queries):
            raise DataError("the query is empty; ask something")
        if not queries:
            return []
        depth = min(len(self.passages), max(POOL, k))
        vectors = self._encoder.embed(queries, show=False) if by != "bm25" or judge else None
        found = []
        for number, query in enumerate(queries):
            vector = None if vectors is None else vectors[number]
            ranked = self._ranked(query, vector, by, depth)
            if judge and vector is not None:
                first = [row for row, _ in ranked[: max(JUDGED, k)]]
                scores = signed_qim(vector, self.vectors[first])
                ranked = sorted(zip(first, scores.tolist(), strict=True), key=lambda one: -one[1])
            found.append([Hit(self.passages[row], float(score)) for row, score in ranked[:k]])
        return found

    def _ranked(self, query: str, vector: np.ndarray | None, by: By, depth: int) -> list[tuple[int, float]]:
        dense = self._dense.search(vector, depth) if vector is not None and by != "bm25" else []
        words = self._by_words(query, depth) if by != "dense" else []
        if by == "hybrid":
            return fused([[row for row, _ in dense], [row for row, _ in words]])
        return dense if by == "dense" else words

    def _by_words(self, query: str, depth: int) -> list[tuple[int, float]]:
        """Find passages that share a word with the query."""
        rows, scores = self._words.retrieve(_tokens([query]), k=depth, show_progress=False)
        ranked = [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True)]
        return [one for one in ranked if one[1] > 0]
