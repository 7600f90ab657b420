"""The translation pack, whole: rows, training, bundle, certificate, gateway, and files that are translated."""

from __future__ import annotations

import csv
import json
import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import polib
import pytest
from appkit_tasks.translation import TASK
from appkit_tasks.translation.protected import compare
from forked import Commands
from running import in_thread
from tiny import save_tiny

import appkit
from appkit.bundles.manifest import read_manifest
from appkit.cli.answerer import Answerer
from appkit.cli.documents import _show_examples
from appkit.client import Client
from appkit.serving.certify.certify import certify

SHIPPED = files("appkit_data").joinpath("interface")
PO = """# A program
msgid ""
msgstr ""
"Language: fr\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Plural-Forms: nplurals=2; plural=(n > 1);\\n"

#: main.c:3
msgid "Close the account"
msgstr "Fermer le compte"

#: main.c:9
msgid "The server has no backup."
msgstr ""

#, c-format
msgid "%d file was moved"
msgid_plural "%d files were moved"
msgstr[0] ""
msgstr[1] ""

#~ msgid "Old"
#~ msgstr "Vieux"
"""


def some(side: str, count: int, language: str = "fr") -> list[dict[str, Any]]:
    lines = SHIPPED.joinpath(f"en-{language}.{side}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if len(row["source"]) < 60]
    return rows[:: len(rows) // count][:count]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translation")
    save_tiny(folder / "base", scale=8.0)
    write(folder / "train.jsonl", some("train", 24) + some("train", 24, "de"))
    write(folder / "dev.jsonl", some("train", 25)[-4:])
    write(folder / "test.jsonl", some("test", 12))
    write(folder / "general.jsonl", some("test", 5, "de"))
    return folder


@pytest.fixture(scope="module")
def words(folder: Path) -> list[str]:
    return [
        "task=translation",
        "task.glossary=shipped",
        "task.examples=1",
        f"model={folder / 'base'}",
        "model.dtype=float32",
        "method.rank=2",
        "threads=1",
        "train.trackers=[]",
        "train.batch_rows=8",
        "train.max_tokens=null",
        "data.max_length=1024",
        *(f"data.{side}={folder / f'{side}.jsonl'}" for side in ("train", "dev", "test")),
        "decoding.max_new_tokens=6",
        "eval.resamples=100",
        "eval.few_shot=1",
        "eval.quant_rows=0",
    ]


@pytest.fixture(scope="module")
def run(words: list[str], folder: Path, commands: Commands) -> Path:
    done = commands.run(
        "train", *words, f"eval.general={folder / 'general.jsonl'}", "run_dir=run", cwd=folder
    )
    assert done.code == 0, done.stderr
    return folder / "run"


def test_the_report_measures_with_and_without_glossary_and_other_rows(run: Path) -> None:
    report = (run / "report.md").read_text(encoding="utf-8")
    for shown in (
        "adapter, without glossary",
        "adapter, without examples",
        "| terminology |",
        "| BLEU without terms |",
        "| off-target (lower is better) |",
        "## On other rows, before and after training",
        "general rows, before (n = 5)",
        "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp",
        "percentile bootstrap over documents (3, too few for a sound interval)",
    ):
        assert shown in report, shown
    public = (run / "bundle" / "report.md").read_text(encoding="utf-8")
    assert "Worst segments" in report
    assert "Worst segments" not in public
    assert not any(row["source"] in public for row in some("test", 12))


def test_the_bundle_answers_as_in_the_run_and_is_certified(run: Path) -> None:
    specialist = appkit.load(run / "bundle")
    lines = (run / "predictions.adapter-without-examples.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 12
    first = specialist.predict([{"source": "Close the window.", "target_language": "fr"}])
    assert first[0].tokens <= 6
    assert certify(run / "bundle", engine="transformers").passed
    assert read_manifest(run / "bundle")["task"]["name"] == "translation"


def test_a_text_without_a_language_is_one_line(run: Path, commands: Commands, folder: Path) -> None:
    done = commands.run("predict", str(run), "Close the window.", cwd=folder)
    assert done.code == 2
    assert done.stderr.splitlines()[-1].startswith(
        "error: no target language: the row has no target_language"
    )


@pytest.fixture(scope="module")
def french(words: list[str], commands: Commands, folder: Path) -> Path:
    """A bundle of one direction, which needs to be told none."""
    one = [word for word in words if not word.startswith(("task.examples", "data.train"))]
    write(folder / "fr.jsonl", some("train", 24))
    done = commands.run(
        "train", *one, f"data.train={folder / 'fr.jsonl'}", "task.target_language=fr", "eval.baseline=false",
        "run_dir=french", cwd=folder,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    return folder / "french" / "bundle"


def test_a_file_is_translated_in_its_own_format(french: Path, commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "a.po").write_text(PO, encoding="utf-8")
    done = commands.run("translate", "a.po", "--bundle", str(french), "--to", "fr", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "written: a.fr.po" in done.stdout
    before, after = polib.pofile(str(tmp_path / "a.po")), polib.pofile(str(tmp_path / "a.fr.po"))
    assert [entry.msgid for entry in after] == [entry.msgid for entry in before]
    assert after[0].msgstr == "Fermer le compte"
    assert not after[0].fuzzy
    plural = after[2]
    assert plural.fuzzy or all("%d" in text for text in plural.msgstr_plural.values() if text)
    counted = re.search(r"4 segments: 1 were translated, 0 marked doubtful; (\d) are new", done.stdout)
    assert counted
    lost = [int(one) for one in re.findall(r"(\d) left out: the translation is empty", done.stdout)]
    assert int(counted[1]) + sum(lost) == 3
    assert "1 left out: obsolete (#~)" in done.stdout
    assert not list(tmp_path.glob("*.answers.jsonl"))


def test_an_answer_can_be_bound_to_the_placeholders_of_its_row(french: Path) -> None:
    specialist = appkit.load(french)
    rows = [
        {"source": "%d files in <b>{folder}</b>", "target_language": "fr"},
        {"source": "See {page}.", "target_language": "fr"},
        {"source": "Close.", "target_language": "fr"},
    ]
    for row, answer in zip(rows, specialist.predict(rows, constrain=True), strict=True):
        assert answer.truncated or not compare(row["source"], answer.answer), answer
    free = specialist.predict(rows)
    assert any(compare(row["source"], answer.answer) for row, answer in zip(rows, free, strict=True))


def test_a_stopped_translation_goes_on_with_what_is_there(
    french: Path, commands: Commands, tmp_path: Path
) -> None:
    (tmp_path / "a.po").write_text(PO, encoding="utf-8")
    at = {"path": r"os\.rename .*a\.fr\.po", "nth": 1, "do": "kill"}
    killed = commands.run("translate", "a.po", "--bundle", str(french), "--no-repair", cwd=tmp_path, at=at)
    assert killed.code == -9
    stored = tmp_path / "a.fr.po.answers.jsonl"
    entries = [json.loads(line) for line in stored.read_text().splitlines()]
    assert len(entries) == 3
    planted = entries[0] | {"text": "PLANTED", "confidence": None}
    stored.write_text("".join(json.dumps(one) + "\n" for one in [planted, *entries[1:]]) + '{"cut')
    done = commands.run("translate", "a.po", "--bundle", str(french), "--no-repair", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "PLANTED" in (tmp_path / "a.fr.po").read_text(encoding="utf-8")
    stored.write_text("".join(json.dumps(one | {"by": "another"}) + "\n" for one in [planted, *entries[1:]]))
    done = commands.run("translate", "a.po", "--bundle", str(french), "--no-repair", cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "PLANTED" not in (tmp_path / "a.fr.po").read_text(encoding="utf-8")


def test_through_a_gateway_a_file_is_translated_as_by_the_bundle(
    french: Path, commands: Commands, tmp_path: Path
) -> None:
    place = tmp_path / "translation"
    shutil.copytree(french, place)
    (tmp_path / "a.po").write_text(PO, encoding="utf-8")
    assert commands.run("translate", "a.po", "--bundle", str(french), cwd=tmp_path).code == 0
    with in_thread(str(place), "serve.certified=false", engine="transformers") as url:
        words = ("translate", "a.po", "--gateway", url, "--to", "fr", "-o", "b.po")
        done = commands.run(*words, cwd=tmp_path)
        assert done.code == 0, done.stderr
        with Client(url) as client:
            assert client.describe("translation")["task"] == "translation"
    ours, theirs = (polib.pofile(str(tmp_path / name)) for name in ("a.fr.po", "b.po"))
    assert [entry.msgstr for entry in ours] == [entry.msgstr for entry in theirs]


def test_pairs_of_a_translated_file_are_shown_as_examples(
    run: Path,
    french: Path,
    folder: Path,
    commands: Commands,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[dict[str, Any]] = []

    def answer(rows: Any, constrain: bool) -> list[Any]:
        asked.extend(rows)
        return []

    plain = Answerer(TASK, TASK.config(examples=1, target_language="fr"), "one", answer, 1, "")
    (tmp_path / "m.csv").write_text("source,target\nClose the red window,Fermez la fenêtre rouge\nGo,\n")
    showing = _show_examples(plain, tmp_path / "m.csv", None, None)
    assert "1 rows of" in (note := capsys.readouterr().err)
    assert "m.csv:3: target is missing" in note
    row = {"source": "Open the red window", "source_language": "en", "target_language": "fr"}
    showing.answer([row, row | {"target_language": "de"}], False)
    shown = {"source": "Close the red window", "target": "Fermez la fenêtre rouge"}
    assert [one["examples"] for one in asked] == [[shown], []]  # of its direction
    assert showing.name != plain.name

    (tmp_path / "a.po").write_text(PO, encoding="utf-8")
    words = (
        "translate",
        "a.po",
        "--to",
        "fr",
        "--domain",
        "accounts",
        "--memory",
        str(folder / "train.jsonl"),
    )
    done = commands.run(*words, "--bundle", str(run), cwd=tmp_path)
    assert done.code == 0, done.stderr
    refused = commands.run(*words, "--bundle", str(french), "-o", "b.po", cwd=tmp_path)
    assert refused.code == 2
    assert "the bundle was trained without" in refused.stderr.splitlines()[-1]
    lacking = commands.run(*words[:-1], "none.tmx", "--bundle", str(run), "-o", "b.po", cwd=tmp_path)
    assert lacking.code == 2
    assert "none.tmx" in lacking.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("a.po",), "name who answers"),
        (("none.po", "--bundle", "B"), "no file 'none.po'"),
        (("a.po", "--bundle", "B", "--to", "xx-invalid-language"), "xx"),
        (("a.docx", "--bundle", "B"), r"a\.docx: its suffix is '\.docx'"),
        (("a.po", "--bundle", "B", "--glossary", "none.csv"), "none.csv"),
        (("a.po", "--gateway", "http://127.0.0.1:9", "--to", "fr"), "127.0.0.1:9"),
    ],
)
def test_what_cannot_be_translated_is_one_line(
    given: tuple[str, ...], said: str, french: Path, commands: Commands, tmp_path: Path
) -> None:
    (tmp_path / "a.po").write_text(PO, encoding="utf-8")
    (tmp_path / "a.docx").write_bytes(b"PK")
    done = commands.run("translate", *(str(french) if word == "B" else word for word in given), cwd=tmp_path)
    assert done.code == 2, done.stdout
    assert said.replace("\\", "") in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a.fr.po").exists()


def test_predict_looks_terms_up_in_a_glossary_that_it_is_told(
    french: Path, commands: Commands, tmp_path: Path
) -> None:
    (tmp_path / "g.csv").write_text("en,fr\nserver,serveur\n", encoding="utf-8")
    write(tmp_path / "rows.jsonl", [{"source": "The servers are full."}, {"source": "A door"}])
    done = commands.run(
        "predict", str(french), "--file", "rows.jsonl", "task.glossary=g.csv", "--jsonl", cwd=tmp_path
    )
    assert done.code == 0, done.stderr
    assert "note: inputs: 1 of 2 rows were given terms" in done.stderr
    assert len(done.stdout.splitlines()) == 2
    lacking = commands.run("predict", str(french), "A server.", "task.glossary=none.csv", cwd=tmp_path)
    assert lacking.code == 2
    assert lacking.stderr.splitlines()[-1].startswith("error: none.csv cannot be read")


def test_data_check_counts_findings_and_drop_leaves_them_out(folder: Path, commands: Commands) -> None:
    rows = some("train", 20)
    rows[3] |= {"source": "Move the folder to another place", "target": "Move the folder to another place"}
    rows[5] |= {"source": "Open %s now", "target": "Ouvrez maintenant"}
    bad = write(folder / "bad.jsonl", rows)
    words = ("task=translation", f"data.train={bad}", f"data.test={folder / 'test.jsonl'}")
    done = commands.run("data", "check", *words, cwd=folder)
    assert "train: 1 rows with finding 'protected'" in done.stdout
    assert "train: 1 rows with finding 'identical'" in done.stdout
    assert f"{bad}:6" in done.stdout
    dry = commands.run(
        "train", *words, f"model={folder / 'base'}", "task.drop=[protected]", "--dry-run", cwd=folder
    )
    assert dry.code == 0, dry.stderr
    assert f"train: 1 rows left out, 1 protected ({bad}:6)" in dry.stderr
    assert "train: 1 rows have findings and stay, 1 identical" in dry.stderr


def test_po_and_tmx_are_training_rows(folder: Path, commands: Commands) -> None:
    quoted = [
        (json.dumps(row["source"], ensure_ascii=False), json.dumps(row["target"], ensure_ascii=False))
        for row in some("train", 20)
    ]
    entries = "".join(f"msgid {source}\nmsgstr {target}\n\n" for source, target in quoted)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\nLanguage: fr\\n"\n\n'
    (folder / "rows.po").write_text(
        header + entries + 'msgid "Only the source"\nmsgstr ""\n', encoding="utf-8"
    )
    words = ("task=translation", "task.target_language=fr", "data.train=rows.po", "data.test=test.jsonl")
    done = commands.run("data", "check", *words, cwd=folder)
    assert "train: 20 rows" in done.stdout, done.stdout + done.stderr
    assert "rows.po: 1 left out: not translated" in done.stdout


def test_a_glossary_of_the_users_own_is_used(folder: Path, commands: Commands, tmp_path: Path) -> None:
    with (tmp_path / "g.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["en", "fr"], ["window", "fenêtre"], ["server", "serveur"]])
    texts = [(f"The server {n} has windows", f"Le serveur {n}") for n in range(20)]
    rows = [{"source": source, "target": target, "target_language": "fr"} for source, target in texts]
    write(tmp_path / "rows.jsonl", rows)
    words = (
        "task=translation",
        f"task.glossary={tmp_path / 'g.csv'}",
        "task.terms_share=1",
        "task.distractors=0",
    )
    few = ("train.max_rows=4", "data.dev_share=0.2", "data.test_share=0.2", "decoding.max_new_tokens=4")
    brief = (
        "eval.baseline=false",
        "eval.quant_rows=0",
        "eval.resamples=100",
        "train.trackers=[]",
        "run_dir=run",
    )
    base = f"model={folder / 'base'}"
    done = commands.run("train", *words, "data.train=rows.jsonl", base, *few, *brief, cwd=tmp_path)
    assert done.code == 0, done.stderr
    assert "Terms: server = serveur; window = fenêtre" in (tmp_path / "run" / "audit.md").read_text(
        encoding="utf-8"
    )
