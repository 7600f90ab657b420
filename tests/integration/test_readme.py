"""What the documents tell a user to type works: every command and Python block of every README is run."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from running import running

from appkit.bundles.manifest import read_manifest
from appkit.data.feedback import Feedback

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/**/README.md")]
    if not {".venv", "runs", "plugin_package", "build"} & set(path.relative_to(ROOT).parts)
)
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.M | re.S)
SMALL = [
    "model.dtype=float32",  # of adapters that learned next to nothing, bfloat16's noise is most of what is compared
    "train.max_rows=16",
    "eval.rows=4",
    "eval.quant_rows=2",
    "decoding.max_new_tokens=8",
    "train.trackers=[]",
]


def blocks(language: str) -> list[tuple[str, str]]:
    """CONTRIBUTING's Python is files of the fixture plug-in, which has its own tests."""
    return [
        (str(path.relative_to(ROOT)), body)
        for path in DOCUMENTS
        if path.name != "CONTRIBUTING.md"
        for kind, body in BLOCK.findall(path.read_text(encoding="utf-8"))
        if kind == language
    ]


def commands() -> list[tuple[str, str]]:
    """Every line that calls appkit, without its comment."""
    return sorted(
        {
            (path, line.split("#")[0].strip())
            for path, body in blocks("bash")
            for line in body.splitlines()
            if line.startswith("appkit ")
        }
    )


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, trained, project, commands) -> Path:
    """A directory with the files and runs that the documents speak of."""
    place = tmp_path_factory.mktemp("readme")
    rows = [("Every dog barks.", "∀x (Dog(x) → Barks(x))"), ("Tom sleeps.", "Sleeps(tom)")]
    rows += [(f"Person {n} runs.", f"Runs(person{n})") for n in range(30)]
    (place / "my.jsonl").write_text(
        "".join(f'{{"sentence": "{s}", "formula": "{f}"}}\n' for s, f in rows), encoding="utf-8"
    )
    (place / "fol.csv").write_text("NL,FOL\n" + "".join(f'"{s}","{f}"\n' for s, f in rows), encoding="utf-8")
    labels = "".join(
        f"{text} {n},{label}\n" for n in range(15) for text, label in (("up", "yes"), ("down", "no"))
    )
    (place / "labels.csv").write_text("text,label\n" + labels, encoding="utf-8")
    (place / "my.conll").write_text(
        "".join(f"Ada\tB-person\nruns\tO\n{n}\tO\n\n" for n in range(30)), encoding="utf-8"
    )
    tweets = [{"tokens": ["Ada", str(n)], "ner_tags": ["B-person", "O"]} for n in range(5)]
    (place / "tweets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tweets), encoding="utf-8")
    (place / "notes").mkdir()
    (place / "notes" / "pass.md").write_text("# Passes\n\nThe Furka pass is closed in winter.\n")
    questions = [
        {"question": f"Which pass is closed in winter {n}?", "answers": ["Furka"]} for n in range(20)
    ]
    (place / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    opinions = Feedback(place / "feedback.sqlite")
    opinions.add(
        "nl2fol",
        "nl2fol@0",
        input={"sentence": "Tom sings."},
        answer="Tom(sings)",
        correction="Sings(tom)",
        keep=True,
    )
    opinions.review(1, "accepted")
    for name in ("A", "B", "20261123-104500"):
        shutil.copytree(trained, place / "runs" / "nl2fol" / name)
    for line in ("rag index notes --to index", "train task=qa run_dir=runs/qa/A"):
        words = line.split()
        words += [f"model={project.folder / 'base'}", *SMALL] if words[0] == "train" else []
        done = commands.run(*words, cwd=place)
        assert done.code == 0, done.stderr
    return place


@pytest.fixture(scope="module")
def gateway(workplace, commands, tmp_path_factory) -> dict[str, str]:
    """The environment of a client of a running gateway that serves the workplace's bundles."""
    made = commands.run("keys", "add", "keys.json", "tester", "--admin", cwd=workplace)
    assert made.code == 0, made.stderr
    words = ["--bundles", "runs", "--keys", "keys.json", "--engine", "transformers", "--uncertified"]
    with running(*words, cwd=workplace, env={"APPKIT_CACHE": str(tmp_path_factory.mktemp("cache"))}) as url:
        yield {"APPKIT_URL": url, "APPKIT_KEY": made.stdout.strip()}


def test_enough_documents_and_commands():
    assert len(DOCUMENTS) >= 5
    assert len(commands()) >= 10
    assert len(blocks("python")) >= 2


@pytest.mark.parametrize(("document", "line"), [one for one in commands() if "appkit serve" in one[1]])
def test_serve_command(document, line, workplace, gateway, tmp_path):
    words = shlex.split(line)[2:]
    if "--engine" not in words:
        words += ["--engine", "transformers"]
    with running(*words, "--uncertified", cwd=workplace, env={"APPKIT_CACHE": str(tmp_path)}) as url:
        assert httpx.get(f"{url}/readyz").status_code == 200


@pytest.mark.parametrize(("document", "line"), [one for one in commands() if "appkit client" in one[1]])
def test_client_command(document, line, workplace, gateway, commands, trained):
    ref = f"nl2fol@{read_manifest(trained / 'bundle')['sha'][:12]}"
    words = shlex.split(line.replace("nl2fol@SHA", ref))[1:]
    if words[1] == "rollback":
        assert (
            commands.run("client", "point", "nl2fol", ref, "--share", "0.5", cwd=workplace, env=gateway).code
            == 0
        )
    done = commands.run(*words, cwd=workplace, env=gateway)
    assert done.code == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(("document", "line"), [one for one in commands() if "appkit demo" in one[1]])
def test_demo_command(document, line, workplace, gateway, tmp_path, monkeypatch):
    words = re.sub(r"http://[\d.]+:\d+", gateway["APPKIT_URL"], line).split()[1:]
    # its own gateway would start vLLM; here it finds the one that is there
    if "--gateway" not in words:
        words = [word for word in words if not word.startswith("rag=")]
        if "--bundles" in words:
            del words[words.index("--bundles") : words.index("--bundles") + 2]
        words += ["--gateway", gateway["APPKIT_URL"]]
    words += ["--key", gateway["APPKIT_KEY"], "--port", "0", "--feedback", str(tmp_path / "feedback.sqlite")]
    process = subprocess.Popen(
        [sys.executable, "-c", "from appkit.cli.main import main; main()", *words],
        cwd=workplace,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stderr.readline()
        url = re.search(r"http://\S+", said)
        assert url, said
        assert "nl2fol" in httpx.get(url[0], timeout=30).text
    finally:
        process.terminate()
        process.communicate(timeout=30)


OTHERS = [
    one for one in commands() if not one[1].startswith(("appkit serve", "appkit client", "appkit demo"))
]


@pytest.mark.parametrize(("document", "line"), OTHERS)
def test_command(document, line, workplace, project, commands):
    words = shlex.split(line)[1:]
    words = [
        str(sorted(workplace.glob(word))[0].relative_to(workplace)) if "*" in word else word for word in words
    ]
    if words[0] == "train" and "--resume" not in words:
        words += [
            f"model={project.folder / 'base'}",
            *SMALL,
        ]
    if words[0] == "compare-methods":
        words += [f"model={project.folder / 'base'}", *SMALL, "--rates=1e-3", "--rows=8", "--seeds=1"]
    if words[0] == "eval":
        words += ["eval.rows=2"]
    if words[:2] == ["data", "check"]:
        words += [f"model={project.folder / 'base'}"]
    done = commands.run(*words, cwd=workplace)
    # doctor rightly finds a fault on a machine without the base
    assert done.code in ((0, 2) if words[0] == "doctor" else (0,)), done.stderr


@pytest.mark.parametrize(("document", "body"), blocks("python"))
def test_python_block(document, body, workplace, project, trained, gateway):
    base, bundle = project.folder / "base", trained / "bundle"
    small = f'task="nl2fol", model="{base}", eval={{"rows": 4, "quant_rows": 2}},'
    body = body.replace('task="nl2fol",', small)
    # the tiny base spells every byte: its rows are far longer than a real tokenizer's
    body = body.replace('"max_rows": 200', '"max_rows": 16')
    if "Client(" in body:
        body = re.sub(r'"http://[^"]*"', f'"{gateway["APPKIT_URL"]}", key="{gateway["APPKIT_KEY"]}"', body)
    body = re.sub(r'appkit\.load\("path/to/[^"]*"\)', f'appkit.load("{bundle}")', body)
    done = subprocess.run(
        [sys.executable, "-c", body],
        cwd=workplace,
        env=os.environ | {"APPKIT_WARM_CODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in body.splitlines():
        if "  # " in line and "print(" in line:
            assert line.split("  # ")[1].split(".")[-1] in done.stdout
