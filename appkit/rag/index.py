"""The index stores passages on disk with dense vectors and words (BM25); unchanged files are not read again.

    INDEX/current        the name of the version in use; replaced atomically
    INDEX/<version>/     index.json  passages.jsonl  vectors.npy  words/  and the files of the vector store

passages.jsonl and vectors.npy are the source, a store is built from them; on a server each version has a collection.
If a run is killed, the previous version stays in use.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from appkit.arguments import list_paths, list_words, read_path
from appkit.errors import AppkitError, ConfigError, DataError, shortened
from appkit.progress import Progress
from appkit.rag import stores
from appkit.rag.encoders import Encoder, encoder
from appkit.rag.files import find, of_extra, passages, unreadable_told
from appkit.rag.rank import fused, signed_qim
from appkit.rag.schema import PREFIX, SCHEMA, read_about, read_passages, read_vectors
from appkit.storage.atomic import file_sha256, locked, staged, write_text
from appkit.task import Passage

__all__ = ["Built", "Encoder", "Hit", "Index", "build", "encoder"]

POOL = 50
"""passages of each ranking that are fused"""
JUDGED = 20
"""passages that QIM re-ranks"""
By = Literal["dense", "bm25", "hybrid"]
WAYS: tuple[str, ...] = get_args(By)
Say = Callable[[str], None]
VERSION_NAME = re.compile(r"\w[\w-]{0,63}")
SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Hit:
    """A passage that a search returned."""

    passage: Passage
    score: float
    """of the ranking chosen with `by`; higher is nearer"""


@dataclass(frozen=True)
class Built:
    """The result of an indexing run."""

    path: Path
    """the index's directory"""
    files: int
    """files in the index"""
    passages: int
    """passages in the index"""
    embedded: int
    """texts that were new and had to be embedded"""
    skipped: dict[str, str]
    """file that could not be read -> reason"""


def build(
    paths: str | Path | Sequence[str | Path],
    to: str | Path,
    *,
    embeddings: str = "minilm",
    size: int = 1000,
    overlap: int = 100,
    store: str = "faiss",
    say: Say = lambda line: None,
) -> Built:
    """Index files, or update an index of them; unchanged files are not embedded again. One path is a list of one.

    size: characters of a passage, at most. overlap: characters that two neighbours share. store: faiss, qdrant or
    chroma, or one of the latter two with the address of its server, `qdrant=http://host:6333`.
    Raises DataError when nothing can be indexed, ConfigError for invalid sizes, AppkitError for a package that is not
    installed.
    """
    if not 100 <= size <= 20_000 or not 0 <= overlap < size:
        raise ConfigError(f"size is 100 to 20000 and overlap less than it, got {size} and {overlap}")
    to = read_path(to, "the directory of an index")
    paths = list_paths(paths, "a document")
    _, address = stores.parsed(store)
    links: dict[str, str] = {}
    files = find(paths, to, links)
    _check_free(to)  # before the lock, which leaves a file beside it
    with locked(to):
        _remove_stages(to)
        old = _load_reusable(to)
        options = {"embeddings": embeddings, "size": size, "overlap": overlap}
        # passages and vectors of other settings do not fit; another store is built from the same vectors
        reusable = old if old and old.about["options"] | options == old.about["options"] else None
        pieces, hashes, skipped = _read_files(files, reusable, size, overlap)
        skipped = links | skipped
        if not pieces:
            why = f" ({next(iter(skipped.values()))})" if skipped else ""
            raise DataError(f"no text in {len(files)} files{why}; nothing was indexed")
        vectors, embedded = _embed(pieces, reusable, embeddings)
        about = {
            "schema": SCHEMA,
            "options": options | {"store": store},
            "files": hashes,
            "passages": len(pieces),
        }
        if address:
            about["collections"] = _prefix(to)
        version = _write_version(to, about, pieces, vectors)
        _prune_collections(
            [old.about, about] if old else [about], store, keep=_name_collection(about, version), say=say
        )
    for name, why in skipped.items():
        say(f"  skipped: {name}: {why}")
    return Built(to, len(hashes), len(pieces), embedded, skipped)


def _check_free(to: Path) -> None:
    """Raises DataError if the directory exists and is neither an index nor the rest of a first run that was killed."""
    if to.exists() and not to.is_dir():
        raise DataError(f"{to} is a file; name a directory for the index")
    if not to.exists() or (to / "current").exists():
        return
    if any(not entry.name.startswith(".") and not (entry / "index.json").is_file() for entry in to.iterdir()):
        raise DataError(f"{to} is there and is no index; name another directory")


def _remove_stages(to: Path) -> None:
    """Remove the stages that killed runs left; safe because the caller holds the lock."""
    for leftover in to.glob(".*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _load_reusable(to: Path) -> Version | None:
    """Load the version in use; None where there is none, or it has another schema and nothing of it can be reused."""
    try:
        return _load_version(to) if (to / "current").exists() else None
    except _OtherSchema:
        return None


def _read_files(
    files: Sequence[Path], previous: Version | None, size: int, overlap: int
) -> tuple[list[Passage], dict[str, str], dict[str, str]]:
    """Read files into (passages, file -> sha256, skipped file -> reason); unchanged files keep their passages."""
    before: dict[str, list[Passage]] = {}
    for piece in previous.passages if previous else ():
        before.setdefault(piece.file, []).append(piece)
    pieces: list[Passage] = []
    hashes: dict[str, str] = {}
    skipped: dict[str, str] = {}
    with Progress("reading", len(files), "files", show=len(files) > 1) as bar:
        for file in files:
            try:
                with unreadable_told(file):
                    sha = file_sha256(file)
                    if previous and previous.about["files"].get(str(file)) == sha:
                        pieces += before.get(str(file), [])
                    else:
                        pieces += passages(file, size=size, overlap=overlap)
                    hashes[str(file)] = sha
            except DataError as error:
                skipped[str(file)] = str(error)
            bar.advance(1)
    return pieces, hashes, skipped


def _embed(pieces: Sequence[Passage], previous: Version | None, embeddings: str) -> tuple[np.ndarray, int]:
    """Compute the passages' vectors (N, d), and how many texts were embedded: those not in the previous version."""
    known = {piece.text: row for row, piece in enumerate(previous.passages)} if previous else {}
    new = list(dict.fromkeys(piece.text for piece in pieces if piece.text not in known))
    if not new and previous:
        return previous.vectors[[known[piece.text] for piece in pieces]], 0
    vectors = encoder(embeddings).embed(new)
    place = {text: row for row, text in enumerate(new)}
    rows = [
        vectors[place[piece.text]] if piece.text in place else previous.vectors[known[piece.text]]  # type: ignore[union-attr]
        for piece in pieces
    ]
    return np.stack(rows).astype(np.float32), len(new)


def _write_version(to: Path, about: dict[str, Any], pieces: Sequence[Passage], vectors: np.ndarray) -> Path:
    """Write a version and put it in use; return its directory."""
    bm25s = _import_bm25s()
    store, address = _find_store(about, about["options"]["store"])  # which the user named
    body = "".join(json.dumps(asdict(piece), ensure_ascii=False) + "\n" for piece in pieces)
    name = hashlib.sha256((json.dumps(about, sort_keys=True) + body).encode()).hexdigest()[:16]
    to.mkdir(parents=True, exist_ok=True)
    if address and store.server:
        store.server.upload(address, _name_collection(about, to / name), vectors)
    if not (to / name).exists():
        with staged(to / name) as stage:
            (stage / "passages.jsonl").write_text(body, encoding="utf-8")
            np.save(stage / "vectors.npy", vectors)
            if not address:
                store.write(stage, vectors)
            words = bm25s.BM25()
            tokens = _tokenize([piece.text for piece in pieces])
            # bm25s needs a word: if no text has any, index one that no query can contain
            words.index(tokens if tokens.vocab else [["\0"]] * len(pieces), show_progress=False)
            words.save(str(stage / "words"))
            (stage / "index.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    write_text(to / "current", name)
    for version in to.iterdir():  # a process that opened an older version has all of it in memory
        if version.is_dir() and version.name != name and (version / "index.json").exists():
            shutil.rmtree(version, ignore_errors=True)
    return to / name


def _find_store(about: dict[str, Any], given: str | None = None) -> tuple[stores.Kind, stores.Address | None]:
    """Find an index's store, and the address of its server; indexes of older versions name none and use FAISS.

    given: the store that the user named. Keys go to no other address.
    """
    name, url = stores.parsed(about["options"].get("store", "faiss"))
    given_name, given_url = stores.parsed(given) if given else (name, None)
    address = stores.Address.of_index(name, url, given_url if given_name == name else None) if url else None
    return stores.find(name), address


def _prefix(to: Path) -> str:
    """Read, or make, the prefix of this index's collections; stored first, so that a killed run's can be pruned."""
    file = to / ".collections"
    if not file.exists():
        write_text(file, f"appkit-{secrets.token_hex(4)}-")
    prefix = file.read_text(encoding="utf-8")
    if not PREFIX.fullmatch(prefix):
        raise DataError(f"{file} holds no prefix of ours, got {prefix[:40]!r}; delete it and index again")
    return prefix


def _name_collection(about: dict[str, Any], version: Path) -> str:
    return f"{about.get('collections', '')}{version.name}"


def _prune_collections(abouts: Sequence[dict[str, Any]], given: str, keep: str, say: Say) -> None:
    """Remove the collections of other versions, also from the server that the previous version used.

    given: the store that the user named.
    """
    pruned = set()
    for about in abouts:
        store, address = _find_store(about, given)
        if not address or not store.server or (address, about["collections"]) in pruned:
            continue
        pruned.add((address, about["collections"]))
        if not PREFIX.fullmatch(about["collections"]):  # an empty one would remove every collection
            say(
                f"  no collection of {address} was removed: {str(about['collections'])[:40]!r} is no prefix of ours"
            )
            continue
        try:
            store.server.prune(address, about["collections"], keep)
        except AppkitError as error:  # the index is complete; old collections only take space
            say(f"  collections {about['collections']}* of older versions may be left: {error}")


def _import_bm25s() -> Any:
    with of_extra():
        import bm25s
    return bm25s


def _tokenize(texts: Sequence[str]) -> Any:
    """Split texts into words for BM25, stop words and one-letter words included, without stemming.

    A word ends where no letter or digit follows: in a script without spaces it is a whole run of letters.
    """
    import bm25s

    return bm25s.tokenize(
        list(texts), token_pattern=r"(?u)\b\w+\b", stopwords=None, stemmer=None, show_progress=False
    )


@dataclass(frozen=True)
class Version:
    """The content of an index that does not depend on its store."""

    path: Path
    """the version's directory"""
    about: dict[str, Any]
    """index.json: options, hashes of the files, number of passages"""
    passages: list[Passage]
    vectors: np.ndarray
    """(N, d), a row for each passage"""


class _OtherSchema(DataError):
    """The index has another schema: another version of appkit made it."""


def _load_version(to: Path) -> Version:
    """Load the version in use. Raises DataError when there is none, or it is damaged or of another schema."""
    if not (to / "current").is_file():
        raise DataError(f"no index at {to}; make one: appkit rag index DOCUMENTS --to {to}")
    with _report_damage(to):
        name = (to / "current").read_text(encoding="utf-8").strip()
        if not VERSION_NAME.fullmatch(name):  # it could lead out of the index
            raise ValueError(f"current names no version, got {name[:40]!r}")
        path = to / name
        about = read_about(path / "index.json")
        if about["schema"] != SCHEMA:
            raise _OtherSchema(f"{to} has schema {about['schema']}, this appkit reads {SCHEMA}; index again")
        pieces = read_passages(path / "passages.jsonl", about)
        return Version(path, about, pieces, read_vectors(path / "vectors.npy", len(pieces)))


def _read_current(to: Path) -> str | None:
    """Read the name of the version in use; None if it cannot be read."""
    try:
        return (to / "current").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


@contextmanager
def _report_damage(to: Path) -> Iterator[None]:
    try:
        yield
    except AppkitError:
        raise
    except Exception as error:  # the stores' libraries read a stranger's files, and raise what they like
        why = str(error) or type(error).__name__
        raise DataError(f"{to} is damaged ({why}); delete it and index again") from None


class Index:
    """An open index, all in memory: a later run may replace its files, but not its collection on a server."""

    def __init__(self, version: Version) -> None:
        self.path, self.about = version.path, version.about
        self.passages, self.vectors = version.passages, version.vectors
        store, address = _find_store(self.about)
        if address and store.server:
            collection = _name_collection(self.about, self.path)
            self._dense = store.server.connect(address, collection, len(self.passages))
        else:
            self._dense = store.open(self.path, self.vectors)
        self._words = _import_bm25s().BM25.load(str(self.path / "words"))
        # one search of each kind: damage in their files shows here, not in a request
        for row, _ in [
            *self._dense.search(self.vectors[0], 1),
            *self._rank_by_words(self.passages[0].text, 1),
        ]:
            if not 0 <= row < len(self.passages):
                raise ValueError(f"a search gives passage {row} of {len(self.passages)}")

    @classmethod
    def open(cls, to: Path) -> Index:
        """Open the index in a directory.

        Raises DataError when there is none, or it is damaged or of another schema; AppkitError when its store's
        package is not installed or its server does not hold it.
        """
        while True:
            current = _read_current(to)
            try:
                version = _load_version(to)
                with _report_damage(to):
                    return cls(version)
            except AppkitError:
                if _read_current(to) == current:  # else a run has just replaced the version
                    raise

    @cached_property
    def _encoder(self) -> Encoder:
        return encoder(self.about["options"]["embeddings"])

    def search(self, query: str, k: int = 5, *, by: By = "hybrid", judge: bool = False) -> list[Hit]:
        """Find the k passages nearest to the query, nearest first.

        by: embeddings (dense), words (bm25), or both rankings fused (hybrid). judge: QIM re-ranks the best 20.
        Raises DataError for an empty query, ConfigError for a k below 1 or another value of `by`.
        """
        return self.search_all([query], k, by=by, judge=judge)[0]

    def search_all(
        self, queries: str | Sequence[str], k: int = 5, *, by: By = "hybrid", judge: bool = False
    ) -> list[list[Hit]]:
        """Search for many queries, or for one; their embeddings are computed together."""
        queries = list_words(queries)
        if by not in WAYS:
            raise ConfigError(f"passages are ranked by {', '.join(WAYS)}, got {by!r}")
        if k < 1:
            raise ConfigError(f"k is 1 or more, got {k}")
        if others := [query for query in queries if not isinstance(query, str)]:
            raise DataError(f"a query is a text, got {type(others[0]).__name__} {shortened(others[0])}")
        if any(not query.strip() for query in queries):
            raise DataError("the query is empty; ask something")
        for query in queries:
            if not query.isascii() and (half := SURROGATE.search(query)):
                raise DataError(
                    f"the query has half a surrogate pair at character {half.start()}, got {ascii(query)[:80]}; "
                    "take it out"
                )
        if not queries:
            return []
        depth = min(len(self.passages), max(POOL, k))
        vectors = self._encoder.embed(queries, show=False) if by != "bm25" or judge else None
        results = []
        for number, query in enumerate(queries):
            vector = None if vectors is None else vectors[number]
            ranked = self._rank(query, vector, by, depth)
            if judge and vector is not None:
                first = [row for row, _ in ranked[: max(JUDGED, k)]]
                scores = signed_qim(vector, self.vectors[first])
                ranked = sorted(zip(first, scores.tolist(), strict=True), key=lambda pair: -pair[1])
            results.append([Hit(self.passages[row], float(score)) for row, score in ranked[:k]])
        return results

    def _rank(self, query: str, vector: np.ndarray | None, by: By, depth: int) -> list[tuple[int, float]]:
        dense = self._dense.search(vector, depth) if vector is not None and by != "bm25" else []
        words = self._rank_by_words(query, depth) if by != "dense" else []
        if by == "hybrid":
            return fused([[row for row, _ in dense], [row for row, _ in words]])
        return dense if by == "dense" else words

    def _rank_by_words(self, query: str, depth: int) -> list[tuple[int, float]]:
        """Find passages that share a word with the query."""
        rows, scores = self._words.retrieve(_tokenize([query]), k=depth, show_progress=False)
        ranked = [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True)]
        return [hit for hit in ranked if hit[1] > 0]
