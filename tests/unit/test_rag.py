"""Documents into passages, an index that survives what happens to it, and rankings that are what they claim."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from letters import Letters

from appkit.errors import AppkitError, ConfigError, DataError
from appkit.rag import Index, build
from appkit.rag import index as index_module
from appkit.rag.files import find, passages
from appkit.rag.rank import fused, levels, qim, signed_qim

ORACLE = Path(__file__).parents[3] / "shared/data/rag/qim_oracle/test.jsonl"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "pass.md").write_text("# Passes\n\nThe Furka pass is closed in winter.\n", encoding="utf-8")
    (folder / "lake.txt").write_text("The lake freezes rarely. 🧊\n", encoding="utf-8")
    (folder / "page.html").write_text(
        "<html><script>var hidden = 1</script><h1>Huts</h1><p>The <b>hut</b>   opens\nin <span>June</span>.</p></html>",
        encoding="utf-8",
    )
    return folder


# --- files ------------------------------------------------------------------------------------------------


def pdf(*lines: str) -> bytes:
    """A PDF of one page with these lines, written by hand."""
    drawn = "".join(f"BT /F1 12 Tf 20 {200 - 20 * n} Td ({line}) Tj ET\n" for n, line in enumerate(lines))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(drawn)} >>\nstream\n{drawn}endstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    body, places = "%PDF-1.4\n", []
    for number, text in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 6\n0000000000 65535 f \n{table}trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF"
    return (body + end).encode()


def texts_of(file: Path, **options: int) -> list[str]:
    return [one.text for one in passages(file, **{"size": 1000, "overlap": 100} | options)]


def test_each_kind_of_file_is_read_as_people_see_it(notes: Path) -> None:
    (notes / "map.pdf").write_bytes(pdf("The map is blue.", "Scale one to ten."))
    assert texts_of(notes / "page.html") == ["Huts\nThe hut opens in June."]
    assert texts_of(notes / "map.pdf") == ["The map is blue.\nScale one to ten."]
    assert passages(notes / "map.pdf", size=1000, overlap=0)[0].source.endswith("map.pdf#page 1")
    (notes / "rows.jsonl").write_text('{"pid": "a", "text": "One."}\n\n{"text": "Two."}\n')
    rows = passages(notes / "rows.jsonl", size=1000, overlap=0)
    assert [(one.source.rpartition("#")[2], one.text) for one in rows] == [("a", "One."), ("3", "Two.")]
    (notes / "rows.jsonl").write_text('{"pid": "", "id": 0, "text": "One."}')
    assert passages(notes / "rows.jsonl", size=1000, overlap=0)[0].place == "0"


def test_of_a_page_only_what_a_reader_sees_is_text(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<!DOCTYPE html><!-- secret --><html><?php echo 'secret' ?><p>Seen <!-- secret -->by\nall.</p>"
        "<pre>one\ntwo</pre></html>"
    )
    assert texts_of(page) == ["Seen by all.\none\ntwo"]


def test_passages_are_pieces_of_the_text_where_they_say(notes: Path) -> None:
    text = " ".join(f"Sentence number {n} says nothing at all." for n in range(60))
    (notes / "long.txt").write_text(text)
    pieces = passages(notes / "long.txt", size=200, overlap=50)
    assert len(pieces) > 10
    assert all(len(one.text) <= 200 and text[one.start :].startswith(one.text) for one in pieces)
    covered = set().union(*(range(one.start, one.start + len(one.text)) for one in pieces))
    assert {n for n, char in enumerate(text) if char != " "} <= covered
    assert len({one.id for one in pieces}) == len(pieces)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    for name, content, told in (
        ("a.txt", "é".encode("latin-1"), "not UTF-8"),
        ("a.pdf", b"no pdf", "cannot be read as PDF"),
        *(
            ("a.jsonl", b'{"text": "x"}\n' + line, "a.jsonl:2 is no JSON object with a text")
            for line in (b'{"title": 1}', b'{"text": null}', b"[1]", b'{"text": "\\ud800"}', b"[" * 100_000)
        ),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=told):
            texts_of(tmp_path / name)
    (tmp_path / "a.zip").write_bytes(b"")
    for given, told in (("a.zip", "of no kind that can be read"), ("none", "no file or directory")):
        with pytest.raises(DataError, match=told):
            find([tmp_path / given])
    (tmp_path / "empty" / ".hidden").mkdir(parents=True)
    (tmp_path / "empty" / ".hidden" / "a.txt").write_text("not looked at")
    with pytest.raises(DataError, match="no document below"):
        find([tmp_path / "empty"])


# --- the index --------------------------------------------------------------------------------------------


def test_only_what_changed_is_embedded_again(notes: Path, tmp_path: Path, letters: Letters) -> None:
    first = build([notes], tmp_path / "index")
    assert (first.files, first.passages, first.embedded) == (3, 3, 3)
    again = build([notes], tmp_path / "index")
    assert (again.passages, again.embedded) == (3, 0)
    (notes / "lake.txt").write_text("The lake is deep.")
    (notes / "page.html").rename(notes / "moved#1.html")
    letters.embedded.clear()
    changed = build([notes], tmp_path / "index")
    assert (changed.passages, changed.embedded, letters.embedded) == (3, 1, ["The lake is deep."])
    found = Index.open(tmp_path / "index")
    assert sorted(Path(one.source).name for one in found.passages) == ["lake.txt", "moved#1.html", "pass.md"]
    same = build([notes], tmp_path / "index")
    assert (same.passages, same.embedded) == (3, 0)
    fresh = build([notes], tmp_path / "fresh")
    assert fresh.embedded == 3
    assert np.array_equal(found.vectors, Index.open(tmp_path / "fresh").vectors)
    other = build([notes], tmp_path / "index", size=500)
    assert other.embedded == 3  # of other settings nothing is kept


def test_what_ends_a_line_elsewhere_stays_in_the_text(tmp_path: Path, letters: Letters) -> None:
    text = "One\u2028two\u2029three\u0085four."
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": text}, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "plain.txt").write_text(text, encoding="utf-8")
    done = build([tmp_path], tmp_path / "index")
    assert (done.files, done.skipped) == (2, {})
    assert [one.text for one in Index.open(tmp_path / "index").passages] == [text, text]


def test_a_file_that_cannot_be_read_is_left_out_and_told(
    notes: Path, tmp_path: Path, letters: Letters
) -> None:
    (notes / "bad.txt").write_bytes(b"\xff\xfe\x00")
    said: list[str] = []
    done = build([notes], tmp_path / "index", say=said.append)
    assert (done.files, list(done.skipped)) == (3, [str(notes / "bad.txt")])
    assert "bad.txt is not UTF-8" in said[0]
    with pytest.raises(DataError, match=r"no text in 1 files .*nothing was indexed"):
        build([notes / "bad.txt"], tmp_path / "other")


def test_no_file_ends_the_whole_run(
    notes: Path, tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: Path) -> None:
        raise TypeError("of a kind that pypdf did not expect")

    monkeypatch.setattr("pypdf.PdfReader", broken)
    (notes / "bad.pdf").write_bytes(pdf("The map is blue."))
    (notes / "name.jsonl").write_text('{"id": "\\ud800", "text": "One."}')
    (notes / "gone.txt").write_text("It is removed before it is read.")
    hashed = index_module.file_sha256
    monkeypatch.setattr(
        index_module, "file_sha256", lambda file: hashed(file if file.name != "gone.txt" else notes / "none")
    )
    done = build([notes], tmp_path / "index")
    assert (done.files, done.passages) == (3, 3)
    reasons = {Path(file).name: why for file, why in done.skipped.items()}
    assert "cannot be read as PDF (of a kind" in reasons.pop("bad.pdf")
    assert "cannot be read (No such file" in reasons.pop("gone.txt")
    assert "half a surrogate pair" in reasons.pop("name.jsonl")
    assert reasons == {}


def test_an_index_is_no_document(notes: Path, tmp_path: Path, letters: Letters) -> None:
    build([notes], tmp_path / "other")
    first = build([tmp_path], tmp_path / "index")
    assert first.files == 3
    for _ in range(2):
        assert build([tmp_path], tmp_path / "index").files == 3
    with pytest.raises(DataError, match="no document below"):
        find([tmp_path / "other"])


def test_words_of_one_letter_count_and_texts_may_have_none(tmp_path: Path, letters: Letters) -> None:
    for name, text in (("a.txt", "a b c 5"), ("b.txt", "???")):
        (tmp_path / name).write_text(text)
    for files in (["a.txt", "b.txt"], ["b.txt"]):
        build([tmp_path / name for name in files], tmp_path / "index")
        index = Index.open(tmp_path / "index")
        found = [hit.passage.text for hit in index.search("Is it 5?", by="bm25")]
        assert found == (["a b c 5"] if "a.txt" in files else [])
        assert index.search("???", by="bm25") == []
        assert len(index.search("5 ???")) == len(files)


def killed(notes: Path, to: Path, place: str) -> None:
    """A run that is killed where it calls what is named."""
    code = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from unittest.mock import patch
import bm25s
from letters import Letters
from appkit.rag import build, index
index.encoder = lambda name: Letters()
with patch({place!r}, lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)):
    build([Path({str(notes)!r})], Path({str(to)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_run_leaves_the_index_as_it_was(notes: Path, tmp_path: Path, letters: Letters) -> None:
    build([notes], tmp_path / "index")
    (notes / "lake.txt").write_text("The lake is deep.")
    for place in ("bm25s.BM25.save", "appkit.rag.index.write_text"):
        killed(notes, tmp_path / "index", place)
        assert "freezes" in " ".join(one.text for one in Index.open(tmp_path / "index").passages)
    build([notes], tmp_path / "index")
    assert "deep" in " ".join(one.text for one in Index.open(tmp_path / "index").passages)
    (notes / "lake.txt").write_text("The lake is as deep as it was when a run was killed.")
    killed(notes, tmp_path / "index", "bm25s.BM25.save")
    (notes / "lake.txt").write_text("The lake is shallow.")
    build([notes], tmp_path / "index")
    inside = sorted(one.name for one in (tmp_path / "index").iterdir())
    assert len(inside) == 2, inside  # current, and its version: nothing of the killed runs


def test_a_first_run_that_was_killed_can_be_run_again(notes: Path, tmp_path: Path, letters: Letters) -> None:
    killed(notes, tmp_path / "index", "appkit.rag.index.write_text")
    (version,) = [one for one in (tmp_path / "index").iterdir() if not one.name.startswith(".")]
    assert not (tmp_path / "index" / "current").exists()
    (notes / "lake.txt").write_text("The lake is deep.")
    build([notes], tmp_path / "index")
    assert not version.exists()
    assert len(Index.open(tmp_path / "index").passages) == 3


def test_of_two_first_runs_at_once_each_ends_well(
    notes: Path, tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = index_module.write_text
    with ThreadPoolExecutor() as pool:
        others = []

        def late(path: Path, text: str) -> None:
            """Between a version and its being in use the other run begins."""
            if not others:
                others.append(pool.submit(build, [notes], tmp_path / "index"))
                wait(others, timeout=0.5)
            write(path, text)

        monkeypatch.setattr(index_module, "write_text", late)
        assert build([notes], tmp_path / "index").embedded == 3
        assert others[0].result().embedded == 0


def test_opened_while_a_run_replaces_it_it_is_the_new_one(
    notes: Path, tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    build([notes], tmp_path / "index")
    (notes / "lake.txt").write_text("The lake is deep.")
    load = np.load

    def late(*given: Any, **options: Any) -> Any:
        monkeypatch.setattr(np, "load", load)
        build([notes], tmp_path / "index")  # which removes what is just being read
        return load(*given, **options)

    monkeypatch.setattr(np, "load", late)
    assert "deep" in " ".join(one.text for one in Index.open(tmp_path / "index").passages)


def test_an_open_index_stays_as_it_was_opened(notes: Path, tmp_path: Path, letters: Letters) -> None:
    build([notes], tmp_path / "index")
    opened = Index.open(tmp_path / "index")
    before = opened.search("winter")
    (notes / "pass.md").write_text("Nothing of that.")
    build([notes], tmp_path / "index")
    assert opened.search("winter") == before


def test_what_is_no_index_is_told_and_kept(notes: Path, tmp_path: Path, letters: Letters) -> None:
    with pytest.raises(DataError, match="appkit rag index DOCUMENTS --to"):
        Index.open(tmp_path / "none")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    with pytest.raises(DataError, match="is there and is no index"):
        build([notes], tmp_path / "mine")
    assert (tmp_path / "mine" / "file").read_text() == "precious"
    with pytest.raises(DataError, match=r"file is a file; name a directory for the index"):
        build([notes], tmp_path / "mine" / "file")
    assert not list(tmp_path.rglob(".*.lock"))
    build([notes], tmp_path / "index")
    version = tmp_path / "index" / (tmp_path / "index" / "current").read_text()
    lines = (version / "passages.jsonl").read_text().splitlines()
    (version / "passages.jsonl").write_text(lines[0] + "\n")
    with pytest.raises(DataError, match=r"is damaged .*1 passages, 3 recorded"):
        Index.open(tmp_path / "index")
    for sizes in ({"size": 50}, {"overlap": 1000}):
        with pytest.raises(ConfigError, match="size is 100 to 20000"):
            build([notes], tmp_path / "index", **sizes)


def test_an_index_of_another_schema_is_made_anew(notes: Path, tmp_path: Path, letters: Letters) -> None:
    build([notes], tmp_path / "index")
    current = tmp_path / "index" / "current"
    (tmp_path / "index" / current.read_text()).rename(tmp_path / "index" / "old")
    current.write_text("old")
    about = tmp_path / "index" / "old" / "index.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"schema": 1}))
    with pytest.raises(DataError, match="has schema 1, this appkit reads 2; index again"):
        Index.open(tmp_path / "index")
    assert build([notes], tmp_path / "index").embedded == 3
    assert len(Index.open(tmp_path / "index").passages) == 3


def test_embeddings_of_another_model_need_its_library(notes: Path, tmp_path: Path) -> None:
    with pytest.raises(AppkitError, match="need sentence-transformers"):
        build([notes], tmp_path / "index", embeddings="intfloat/e5-small")


# --- search -----------------------------------------------------------------------------------------------


def test_each_way_of_ranking_finds_what_it_looks_for(notes: Path, tmp_path: Path, letters: Letters) -> None:
    build([notes], tmp_path / "index")
    index = Index.open(tmp_path / "index")
    for by in ("dense", "bm25", "hybrid"):
        hits = index.search("Is the Furka pass closed in winter?", 3, by=by)  # type: ignore[arg-type]
        assert Path(hits[0].passage.source).name == "pass.md"
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert index.search("xylophone", by="bm25") == []  # no word is shared, so nothing is near
    assert len(index.search("hut", 50)) == 3  # there are no more
    with pytest.raises(DataError, match="query is empty"):
        index.search("  ")
    with pytest.raises(ConfigError, match="ranked by dense, bm25, hybrid, got 'magic'"):
        index.search("hut", by="magic")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="k is 1 or more, got 0"):
        index.search("hut", 0)
    assert index.search_all([]) == []


def test_dense_scores_are_the_products_of_the_embeddings(
    notes: Path, tmp_path: Path, letters: Letters
) -> None:
    build([notes], tmp_path / "index")
    index = Index.open(tmp_path / "index")
    expected = {
        one.id: float(score)
        for one, score in zip(
            index.passages,
            letters.embed([one.text for one in index.passages]) @ letters.embed(["lake"])[0],
            strict=True,
        )
    }
    found = {hit.passage.id: hit.score for hit in index.search("lake", 3, by="dense")}
    assert found == pytest.approx(expected, abs=1e-6)


def test_fusion_is_the_sum_of_reciprocal_ranks() -> None:
    assert fused([[7, 3], [3, 9]], k=60) == [
        (3, pytest.approx(1 / 62 + 1 / 61)),
        (7, pytest.approx(1 / 61)),
        (9, pytest.approx(1 / 62)),
    ]
    assert fused([]) == []


def reference_qim(x: np.ndarray, y: np.ndarray, k: int) -> float:
    """As it is written down: one level after the other."""
    quantized = [np.round((one - one.min()) / (one.max() - one.min()) * (k - 1)) for one in (x, y)]
    total = 0.0
    for level in np.unique(quantized[0]):
        inside = quantized[1][quantized[0] == level]
        total += len(inside) ** 2 * (inside.mean() - quantized[1].mean()) ** 2
    return float(total / (len(x) * quantized[1].std()))


def test_qim_is_its_formula_and_its_gaps_are_closed() -> None:
    draw = np.random.default_rng(0)
    x, many = draw.normal(size=384), draw.normal(size=(20, 384))
    for k in (2, 4, 16):
        assert qim(x, many, k) == pytest.approx([reference_qim(x, y, k) for y in many])
    assert qim(x, -x[None]) == pytest.approx(qim(x, x[None]))  # by itself it is blind to the sign
    near, far = signed_qim(x, np.stack([x, -x]))
    assert near > 0 > far
    assert qim(x, np.ones((1, 384))).tolist() == [0.0]
    assert qim(np.ones(384), many).tolist() == pytest.approx([0.0] * 20, abs=1e-12)
    assert levels(np.array([0.0, 0.5, 1.0]), 16).tolist() == [0, 8, 15]


@pytest.mark.skipif(not ORACLE.exists(), reason="the golden values are not at hand")
def test_qim_gives_the_golden_values() -> None:
    rows = [json.loads(line) for line in ORACLE.read_text().splitlines()]
    assert len(rows) == 60
    for row in rows:
        assert qim(np.array(row["x"]), np.array(row["y"])[None], row["k"])[0] == pytest.approx(
            row["qim"], abs=1e-7
        )


def test_the_judge_puts_the_best_in_its_own_order(notes: Path, tmp_path: Path, letters: Letters) -> None:
    build([notes], tmp_path / "index")
    index = Index.open(tmp_path / "index")
    hits = index.search("The hut opens in June", 3, judge=True)
    vectors = np.stack([index.vectors[index.passages.index(hit.passage)] for hit in hits])
    scores = signed_qim(letters.embed(["The hut opens in June"])[0], vectors)
    assert [hit.score for hit in hits] == pytest.approx(scores.tolist())
    assert sorted(scores.tolist(), reverse=True) == scores.tolist()


def test_it_is_a_retriever_of_langchain(notes: Path, tmp_path: Path, letters: Letters) -> None:
    from appkit.rag.retriever import retriever

    build([notes], tmp_path / "index")
    (document,) = retriever(tmp_path / "index", k=1).invoke("When does the hut open?")
    assert document.page_content == "Huts\nThe hut opens in June."
    assert document.metadata["source"] == str(notes / "page.html")
    assert document.metadata["score"] == pytest.approx(
        Index.open(tmp_path / "index").search("When does the hut open?", 1)[0].score
    )


def test_a_query_of_langchain_may_say_how_many(notes: Path, tmp_path: Path, letters: Letters) -> None:
    from appkit.rag.retriever import retriever

    build([notes], tmp_path / "index")
    documents = retriever(tmp_path / "index", k=3)
    assert [len(documents.invoke("the hut", k=k)) for k in (1, 2)] == [1, 2]
    assert len(documents.invoke("the hut")) == 3
    with pytest.raises(ConfigError, match="k is 1 or more, got 0"):
        documents.invoke("the hut", k=0)
    with pytest.raises(ConfigError, match="takes the option k, got by"):
        documents.invoke("the hut", by="bm25")


def test_half_a_surrogate_pair_in_a_query_is_told(notes: Path, tmp_path: Path, letters: Letters) -> None:
    from appkit.rag.retriever import retriever

    build([notes], tmp_path / "index")
    index = Index.open(tmp_path / "index")
    for ask in (
        retriever(tmp_path / "index").invoke,
        index.search,
        lambda query: index.search(query, by="bm25"),
    ):
        with pytest.raises(DataError, match="half a surrogate pair at character 3"):
            ask("hut\ud800")


def test_links_out_of_a_folder_are_not_followed(notes: Path, tmp_path: Path, letters: Letters) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "private.txt").write_text("Zanzibar whispers.")
    (notes / "leak.txt").symlink_to(tmp_path / "secret" / "private.txt")
    (notes / "up.txt").symlink_to("../secret/private.txt")
    (notes / "folder").symlink_to(tmp_path / "secret")
    inside = next(file for file in sorted(notes.rglob("*")) if file.suffix == ".html")
    (notes / "again.html").symlink_to(inside)
    said: list[str] = []
    built = build([notes], tmp_path / "index", say=said.append)
    assert str(notes / "leak.txt") in built.skipped
    assert str(notes / "up.txt") in built.skipped
    assert any(f"leak.txt is a link out of {notes}; name the file itself" in line for line in said)
    texts = [passage.text for passage in Index.open(tmp_path / "index").passages]
    assert not any("Zanzibar" in text for text in texts)
    assert str(notes / "again.html") in Index.open(tmp_path / "index").about["files"]
    build([notes / "leak.txt"], tmp_path / "named")  # named by the user
    assert "Zanzibar" in Index.open(tmp_path / "named").passages[0].text
