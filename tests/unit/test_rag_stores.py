"""Each store of vectors ranks as FAISS does, and an index keeps its promises whichever it has."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from letters import Letters
from qdrant_rest import qdrant

from appkit.errors import AppkitError, ConfigError, DataError
from appkit.models.embedder import PACKAGE, VERSION
from appkit.rag import Index, build, stores

ROOT = Path(__file__).parents[2]
PACKAGES = {"qdrant": "qdrant_client", "chroma": "chromadb"}


def needs(name: str) -> None:
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name], reason=f"pip install 'appkit[{name}]'")


@contextmanager
def chroma_server(folder: Path) -> Iterator[str]:
    """The real one, on a free port."""
    needs("chroma")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from chromadb.cli.cli import app; app()"
    words = ["run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(300):
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["faiss", "qdrant", "chroma"])
def here(request: pytest.FixtureRequest) -> str:
    needs(request.param)
    return str(request.param)


@pytest.fixture(params=["qdrant", "chroma"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store on a server, as --store names it."""
    needs(request.param)
    if request.param == "chroma":
        with chroma_server(tmp_path / "server") as url:
            yield f"chroma={url}"
    else:
        with qdrant() as server:
            yield f"qdrant={server.url}"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "pass.txt").write_text("The Furka pass is closed in winter.")
    (folder / "lake.txt").write_text("The lake freezes rarely.")
    (folder / "hut.txt").write_text("The hut opens in June.")
    return folder


def collections(store: str) -> list[str]:
    """What a server holds, asked without our code."""
    name, _, url = store.partition("=")
    if name == "qdrant":
        from qdrant_client import QdrantClient

        with_client = QdrantClient(url=url, check_compatibility=False)
        return sorted(one.name for one in with_client.get_collections().collections)
    import chromadb

    return sorted(one.name for one in chromadb.HttpClient(url).list_collections())


# --- rankings ---------------------------------------------------------------------------------------------


def unit(draw: np.random.Generator, rows: int, width: int = 48) -> np.ndarray:
    vectors = draw.normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def check_exact(store: stores.Store, vectors: np.ndarray, queries: np.ndarray) -> None:
    """Rows and scores are those of the products themselves."""
    for query in queries:
        products = vectors @ query
        for k in (1, 50, len(vectors)):
            expected = np.argsort(-products, kind="stable")[:k]
            found = store.search(query, k)
            assert [row for row, _ in found] == expected.tolist()
            assert [score for _, score in found] == pytest.approx(products[expected].tolist(), abs=1e-5)


def test_a_store_ranks_by_the_products_of_vectors(here: str, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    vectors = unit(draw, 200)
    kind = stores.find(here)
    kind.write(tmp_path, vectors)
    check_exact(kind.open(tmp_path, vectors), vectors, unit(draw, 20))


def test_a_server_ranks_by_the_products_of_vectors(there: str) -> None:
    draw = np.random.default_rng(1)
    vectors = unit(draw, 600)  # more than goes up at once
    name, url = stores.parsed(there)
    server = stores.find(name).server
    assert server
    assert url
    address = stores.Address(name, url, named=True)
    server.upload(address, "appkit-one", vectors)
    check_exact(server.connect(address, "appkit-one", 600), vectors, unit(draw, 10))


@pytest.mark.parametrize("name", ["qdrant", "chroma"])
def test_real_text_is_found_as_by_faiss(name: str, tmp_path: Path) -> None:
    from appkit.storage.atomic import cache_dir

    needs(name)
    if not (cache_dir() / "models" / f"{PACKAGE}-{VERSION}").is_dir():
        pytest.skip("MiniLM is not in the cache")
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    build(documents, tmp_path / "index", size=300, overlap=30)
    queries = ["How is an adapter certified?", "tests without a network", "who may import whom", "licence"]
    found = {}
    for store in ("faiss", name):
        assert build(documents, tmp_path / "index", size=300, overlap=30, store=store).embedded == 0
        index = Index.open(tmp_path / "index")
        found[store] = index.search_all(queries, 10, by="dense")
    assert len(index.passages) > 80
    for one, other in zip(found["faiss"], found[name], strict=True):
        # by text: pieces of the same text are equally near, in any order
        assert [hit.passage.text for hit in other] == [hit.passage.text for hit in one]
        assert [hit.score for hit in other] == pytest.approx([hit.score for hit in one], abs=1e-5)


# --- an index whose store is in this process --------------------------------------------------------------


def test_another_store_is_made_from_the_vectors_that_are_there(
    notes: Path, tmp_path: Path, letters: Letters
) -> None:
    needs("qdrant"), needs("chroma")
    build([notes], tmp_path / "index")
    version = next((tmp_path / "index").glob("*/index.json"))
    about = json.loads(version.read_text())
    del about["options"]["store"]  # as before there was a choice
    version.write_text(json.dumps(about))
    before = Index.open(tmp_path / "index").search("winter", 3)
    letters.embedded.clear()
    for store in ("qdrant", "chroma", "faiss"):
        done = build([notes], tmp_path / "index", store=store)
        assert (done.passages, done.embedded, letters.embedded) == (3, 0, [])
        index = Index.open(tmp_path / "index")
        assert index.about["options"]["store"] == store
        hits = index.search("winter", 3)
        letters.embedded.clear()  # the query
        assert [hit.passage for hit in hits] == [hit.passage for hit in before]
        assert len(list((tmp_path / "index").iterdir())) == 2  # current, and its version
    build([notes], tmp_path / "index", store="faiss", size=500)
    assert len(letters.embedded) == 3  # of other settings nothing is kept


def test_an_open_index_stays_as_it_was_opened(
    here: str, notes: Path, tmp_path: Path, letters: Letters
) -> None:
    build([notes], tmp_path / "index", store=here)
    opened, beside = Index.open(tmp_path / "index"), Index.open(tmp_path / "index")
    before = opened.search("winter", by="dense")
    (notes / "pass.txt").write_text("Nothing of that.")
    assert build([notes], tmp_path / "index", store=here).embedded == 1
    assert opened.search("winter", by="dense") == beside.search("winter", by="dense") == before
    assert Index.open(tmp_path / "index").search("winter", by="dense") != before


def test_a_killed_run_leaves_the_index_as_it_was(
    here: str, notes: Path, tmp_path: Path, letters: Letters
) -> None:
    build([notes], tmp_path / "index", store=here)
    (notes / "lake.txt").write_text("The lake is deep.")
    for place in ("bm25s.BM25.save", "appkit.rag.index.write_text"):
        killed_run(notes, tmp_path / "index", here, place)
    assert "freezes" in " ".join(one.text for one in Index.open(tmp_path / "index").passages)
    build([notes], tmp_path / "index", store=here)
    assert "deep" in Index.open(tmp_path / "index").search("deep lake", 1)[0].passage.text
    assert len(list((tmp_path / "index").iterdir())) == 2


def killed_run(notes: Path, to: Path, store: str, place: str) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tests")!r})
from unittest.mock import patch
import bm25s
from letters import Letters
from appkit.rag import build, index
index.encoder = lambda name: Letters()
index._prefix(Path({str(to)!r}))
with patch({place!r}, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)):
    build([Path({str(notes)!r})], Path({str(to)!r}), store={store!r})
"""
    if "=" not in store:
        code = code.replace(f"index._prefix(Path({str(to)!r}))\n", "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_chroma_leaves_no_copy_behind_and_tells_of_damage(
    notes: Path, tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("chroma")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    build([notes], tmp_path / "index", store="chroma")
    index = Index.open(tmp_path / "index")
    assert len(list(tmp_path.glob("appkit-chroma-*"))) == 1
    written = {file: file.read_bytes() for file in (tmp_path / "index").rglob("*") if file.is_file()}
    index.search("winter")
    del index
    assert list(tmp_path.glob("appkit-chroma-*")) == []
    assert written == {file: file.read_bytes() for file in (tmp_path / "index").rglob("*") if file.is_file()}
    (database,) = (tmp_path / "index").rglob("chroma.sqlite3")
    for damage in (b"no database", None):
        database.write_bytes(damage) if damage else shutil.rmtree(database.parent)
        with pytest.raises(DataError, match=r"is damaged .*delete it and index again"):
            Index.open(tmp_path / "index")
    assert list(tmp_path.glob("appkit-chroma-*")) == []


# --- on a server ------------------------------------------------------------------------------------------


def test_each_version_is_a_collection_and_only_the_one_in_use_stays(
    there: str, notes: Path, tmp_path: Path, letters: Letters
) -> None:
    build([notes], tmp_path / "index", store=there)
    build([notes], tmp_path / "other", store=there)  # of the same documents, yet not the same collection
    first = collections(there)
    assert len(first) == 2
    opened = Index.open(tmp_path / "index")
    assert opened.search("winter", 1, by="dense")[0].passage.text == "The Furka pass is closed in winter."
    assert build([notes], tmp_path / "index", store=there).embedded == 0
    assert collections(there) == first
    (notes / "lake.txt").write_text("The lake is deep.")
    assert build([notes], tmp_path / "index", store=there).embedded == 1
    now = collections(there)
    assert len(now) == 2
    assert len(set(now) & set(first)) == 1  # the other index kept its own
    version = (tmp_path / "index" / "current").read_text()
    assert sum(one.endswith(version) for one in now) == 1
    with pytest.raises(AppkitError, match=r"does not hold the whole of appkit-.* open the index anew"):
        opened.search("winter")
    assert Index.open(tmp_path / "other").search("lake", 1)[0].passage.text == "The lake freezes rarely."
    build([notes], tmp_path / "index", store="faiss")
    assert len(collections(there)) == 1
    assert Index.open(tmp_path / "index").search("deep", 1)[0].passage.text == "The lake is deep."


def test_a_killed_run_leaves_the_index_as_it_was_and_its_collection_goes(
    there: str, notes: Path, tmp_path: Path, letters: Letters
) -> None:
    killed_run(notes, tmp_path / "index", there, "appkit.rag.index.write_text")  # its very first
    assert len(collections(there)) == 1
    (notes / "lake.txt").write_text("The lake is wide.")
    shutil.rmtree(next((tmp_path / "index").glob("*/index.json")).parent)
    build([notes], tmp_path / "index", store=there)
    assert len(collections(there)) == 1
    (notes / "lake.txt").write_text("The lake is deep.")
    killed_run(notes, tmp_path / "index", there, "bm25s.BM25.save")
    assert len(collections(there)) == 2
    assert "wide" in Index.open(tmp_path / "index").search("lake", 1)[0].passage.text
    (notes / "lake.txt").write_text("The lake is cold.")
    build([notes], tmp_path / "index", store=there)
    assert len(collections(there)) == 1
    assert "cold" in Index.open(tmp_path / "index").search("lake", 1)[0].passage.text


def test_a_collection_that_is_not_whole_is_made_again(
    there: str, notes: Path, tmp_path: Path, letters: Letters
) -> None:
    build([notes], tmp_path / "index", store=there)
    (name,) = collections(there)
    kind, _, url = there.partition("=")
    if kind == "qdrant":
        from qdrant_client import QdrantClient

        QdrantClient(url=url, check_compatibility=False).delete_collection(name)
    else:
        import chromadb

        chromadb.HttpClient(url).get_collection(name, embedding_function=None).delete(ids=["1"])
    with pytest.raises(AppkitError, match="run `appkit rag index` again"):
        Index.open(tmp_path / "index")
    assert build([notes], tmp_path / "index", store=there).embedded == 0
    assert len(Index.open(tmp_path / "index").search("winter", 3, by="dense")) == 3


def test_a_server_that_stops_in_between_leaves_the_index_as_it_was(
    notes: Path, tmp_path: Path, letters: Letters
) -> None:
    needs("qdrant")
    with qdrant() as server:
        store = f"qdrant={server.url}"
        build([notes], tmp_path / "index", store=store)
        (notes / "lake.txt").write_text("The lake is deep.")
        server.fail_after = 2
        with pytest.raises(AppkitError, match="does not do what it is asked"):
            build([notes], tmp_path / "index", store=store)
        assert "freezes" in Index.open(tmp_path / "index").search("lake", 1)[0].passage.text
        server.fail_after = 100
        build([notes], tmp_path / "index", store=store)
        assert len(server.collections()) == 1
    said: list[str] = []  # it does not run any more, and the index can still be moved away from it
    done = build([notes], tmp_path / "index", store="faiss", say=said.append)
    assert done.embedded == 0
    assert "of older versions may be left" in said[0]
    assert "deep" in Index.open(tmp_path / "index").search("deep", 1)[0].passage.text


def test_the_key_comes_from_the_environment_and_is_written_nowhere(
    notes: Path, tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("qdrant")
    with qdrant(key="s3cret") as server:
        store = f"qdrant={server.url}"
        with pytest.raises(AppkitError, match=r"Must provide an API key.*QDRANT_API_KEY"):
            build([notes], tmp_path / "index", store=store)
        monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
        build([notes], tmp_path / "index", store=store)
        monkeypatch.setenv("QDRANT_URL", f"{server.url}/")
        assert len(Index.open(tmp_path / "index").search("winter", 3)) == 3
    files = [file for file in (tmp_path / "index").rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if b"s3cret" in file.read_bytes()]


class Listener(BaseHTTPRequestHandler):
    """Keeps the headers of every request, and refuses it."""

    def do_GET(self) -> None:
        self.server.heard.append(str(self.headers))  # type: ignore[attr-defined]
        self.send_error(401)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and what it hears."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    server.heard = heard = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def point_index(index: Path, store: str, **more: str) -> None:
    """Let an index name another store, as a stranger's would."""
    file = index / (index / "current").read_text() / "index.json"
    about = json.loads(file.read_text())
    about["options"]["store"] = store
    file.write_text(json.dumps(about | {"collections": "appkit-00000000-"} | more))


@pytest.mark.parametrize("name", ["qdrant", "chroma"])
def test_a_foreign_index_gets_no_key(
    name: str, notes: Path, tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(name)
    monkeypatch.setenv(f"{name.upper()}_API_KEY", "s3cret")
    monkeypatch.setenv("CHROMA_CLIENT_AUTH_PROVIDER", "chromadb.auth.token_authn.TokenAuthClientProvider")
    monkeypatch.setenv("CHROMA_CLIENT_AUTH_CREDENTIALS", "s3cret")
    index = tmp_path / "index"
    build([notes], index)
    with listener() as (url, heard):
        point_index(index, f"{name}={url}")
        told = f"{name.upper()}_API_KEY was not sent.*set {name.upper()}_URL={url} if it is yours"
        with pytest.raises(AppkitError, match=told):
            Index.open(index)
        build([notes], index, store="faiss")  # which also asks the server of the version before
        assert heard
        assert "s3cret" not in "".join(heard)
        point_index(index, f"{name}={url}")
        monkeypatch.setenv(f"{name.upper()}_URL", url.replace("http", "HTTP") + "/")
        with pytest.raises(AppkitError) as refused:
            Index.open(index)
        assert "s3cret" in "".join(heard)
        assert "was not sent" not in str(refused.value)


def test_a_key_goes_to_the_named_address_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
    monkeypatch.setenv("QDRANT_URL", "https://mine:6333")
    for url in ("https://mine:6333", "https://MINE:6333/"):
        assert stores.Address.of_index("qdrant", url).key == "s3cret"
    for url in (
        "http://mine:6333",
        "https://mine",
        "https://mine:6334",
        "https://mine.evil:6333",
        "https://mine:6333/a",
    ):
        assert stores.Address.of_index("qdrant", url).key is None
    assert stores.Address.of_index("chroma", "https://mine:6333").key is None
    assert stores.Address.of_index("qdrant", "http://other", "http://other:80").key == "s3cret"


def test_a_foreign_index_removes_no_collections_of_others(
    notes: Path, tmp_path: Path, letters: Letters
) -> None:
    needs("qdrant")
    with qdrant() as server:
        store = f"qdrant={server.url}"
        build([notes], tmp_path / "mine", store=store)
        mine = server.collections()
        build([notes], tmp_path / "foreign")
        point_index(tmp_path / "foreign", store, collections="")
        said: list[str] = []
        build([notes], tmp_path / "foreign", store=store, say=said.append)
        assert set(mine) < set(server.collections())
        assert "no collection of" in said[0]


@pytest.mark.parametrize("name", ["../other", "/etc", "", ".", "a/b"])
def test_an_index_names_a_version_of_its_own(
    name: str, notes: Path, tmp_path: Path, letters: Letters
) -> None:
    build([notes], tmp_path / "index")
    (tmp_path / "index" / "current").write_text(name)
    with pytest.raises(DataError, match="current names no version"):
        Index.open(tmp_path / "index")


# --- what is told -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("milvus", "stored by faiss, qdrant, chroma, got 'milvus'"),
        ("faiss=http://host:1", "faiss has no server"),
        ("qdrant=host:6333", "is like qdrant=http://host:6333, got 'qdrant=host:6333'"),
        ("chroma=", "is like chroma=http://host:6333, got 'chroma='"),
        ("qdrant=http://host:6333/?key=1", "is like"),
        ("qdrant=https://me:s3cret@host", "put the key into QDRANT_API_KEY"),
    ],
)
def test_what_is_no_store_is_told(text: str, told: str, notes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        build([notes], tmp_path / "index", store=text)
    assert "s3cret" not in str(refused.value)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("name", ["qdrant", "chroma"])
def test_a_server_that_does_not_answer_is_one_line(
    name: str, notes: Path, tmp_path: Path, letters: Letters
) -> None:
    needs(name)
    with pytest.raises(
        AppkitError, match=f"{name} at http://127.0.0.1:9 does not .*check that it runs"
    ) as told:
        build([notes], tmp_path / "index", store=f"{name}=http://127.0.0.1:9")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["qdrant", "chroma"])
def test_a_package_that_is_missing_is_told_with_its_extra(
    name: str, notes: Path, tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [one for one in sys.modules if one.startswith(f"{PACKAGES[name]}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    for store in (name, f"{name}=http://127.0.0.1:9"):
        with pytest.raises(
            AppkitError, match=rf"{PACKAGES[name]}.* not installed; pip install 'appkit\[{name}\]'"
        ):
            build([notes], tmp_path / "index", store=store)


def test_the_command_leaves_nothing_on_the_terminal(here: str, notes: Path, tmp_path: Path) -> None:
    """No warning, no telemetry, no complaint at the end of the process; nothing is asked of another machine."""
    code = f"""
import socket, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from letters import Letters
from appkit.rag import index
index.encoder = lambda name: Letters()
connect = socket.socket.connect
def local_only(self, address):
    assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"), address
    return connect(self, address)
socket.socket.connect = local_only
from appkit.cli.main import main
main()
"""
    for words in (["index", str(notes), "--to", "index", "--store", here], ["search", "index", "winter"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "rag", *words],
            cwd=tmp_path,
            env=os.environ | {"TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert [line for line in done.stderr.splitlines() if not line.startswith("reading")] == []
    assert "pass.txt" in done.stdout
    assert list(tmp_path.glob("appkit-chroma-*")) == []
