"""Writing a document: in one step, with the permissions of the file that was read, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from appkit_tasks.translation.formats import Document, Translation, open_document


@pytest.fixture
def document(tmp_path: Path) -> Document:
    path = tmp_path / "a.txt"
    path.write_text("one\n")
    path.chmod(0o640)
    return open_document(path, "en", "fr")


def test_the_new_file_has_the_permissions_of_the_old_one(document: Document, tmp_path: Path) -> None:
    document.write(tmp_path / "b.txt", {0: Translation("un")})
    assert (tmp_path / "b.txt").read_text() == "un\n"
    assert (tmp_path / "b.txt").stat().st_mode & 0o777 == 0o640
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b.txt"}


def test_a_link_stays_a_link(document: Document, tmp_path: Path) -> None:
    link = tmp_path / "link.txt"
    link.symlink_to("a.txt")
    document.write(link, {0: Translation("un")})
    assert link.is_symlink()
    assert document.path.read_text() == "un\n"


def test_a_reader_of_the_old_file_keeps_it(document: Document) -> None:
    with document.path.open() as reader:
        document.write(document.path, {0: Translation("un")})
        assert reader.read() == "one\n"
    assert document.path.read_text() == "un\n"


def test_what_cannot_be_finished_leaves_nothing(
    document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ValueError, match=r"a.txt cannot be written: No space left on device"):
        document.write(document.path, {0: Translation("un")})
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert document.path.read_text() == "one\n"


def test_a_place_that_is_none(document: Document, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"b.txt cannot be written: No such file or directory; choose another place"
    ):
        document.write(tmp_path / "missing" / "b.txt", {})
    with pytest.raises(
        ValueError, match=r"a.txt has 1 segments, got a translation for number 1; count from 0"
    ):
        document.write(document.path, {1: Translation("un")})
