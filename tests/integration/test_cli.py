"""The command line: every fault a user can cause is one line and exit code 2, and nothing is slow to answer."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from forked import Commands, Done

from appkit.cli.main import app
from appkit.errors import ConfigError
from conftest import Project, write_rows

# --- help -------------------------------------------------------------------------------------------------


def console(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The installed console script, as a user starts it."""
    script = Path(sys.executable).with_name("appkit")
    return subprocess.run([script, *words], cwd=cwd, capture_output=True, text=True, timeout=100)


def test_the_console_script_answers(tmp_path: Path) -> None:
    done = console("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "train" in done.stdout


@pytest.mark.parametrize("words", [["--help"], ["train", "task=nl2fol", "--print-config"], ["runs", "list"]])
def test_light_commands_import_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom appkit.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'scipy', 'matplotlib', 'z3', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
    heavy = json.loads(done.stderr.splitlines()[-1].replace("'", '"'))
    # a pack's metrics are functions over arrays
    assert set(heavy) <= ({"numpy", "scipy"} if words[0] == "train" else set()), heavy


def every_command() -> Iterator[tuple[str, ...]]:
    def walk(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield path
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*path, name))

    return walk(typer.main.get_command(app), ())


COMMANDS = list(every_command())


def test_there_are_commands() -> None:
    assert {("train",), ("eval",), ("predict",), ("doctor",), ("models", "pull"), ("runs", "prune")} <= set(
        COMMANDS
    )


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        app([*path, "--help"], prog_name="appkit")
    assert ended.value.code == 0
    text = re.sub(r"\s+", " ", out.getvalue())
    assert f"Usage: appkit {' '.join(path)}".strip() in text
    command = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]  # type: ignore[attr-defined]
    sentence = command.help.splitlines()[0]
    assert len(sentence) > 15
    assert re.sub(r"\s+", " ", sentence) in text


# --- empty values -----------------------------------------------------------------------------------------


def options_with_a_value() -> Iterator[tuple[tuple[str, ...], str]]:
    for path in COMMANDS:
        command = typer.main.get_command(app)
        for name in path:
            command = command.commands[name]  # type: ignore[attr-defined]
        for param in command.params:
            if param.param_type_name == "option" and not param.is_flag:  # type: ignore[attr-defined]
                yield from ((path, option) for option in param.opts)


def test_options_with_a_value_are_found() -> None:
    assert {
        (("eval",), "--to"),
        (("serve",), "--bundles"),
        (("predict",), "-f"),
        (("predict",), "--file"),
        (("train",), "--resume"),
        (("client", "ask"), "--file"),
        (("feedback", "review"), "--store"),
        (("rag", "index"), "--to"),
    } <= set(options_with_a_value())


@pytest.mark.parametrize(("path", "option"), list(options_with_a_value()), ids=lambda value: "-".join(value))
def test_an_option_with_an_empty_value_is_refused_by_its_name(path: tuple[str, ...], option: str) -> None:
    for words in ([option, ""], [option, " "], ["first", option, ""], [f"{option}="]):
        if words[0].endswith("=") and not option.startswith("--"):
            continue
        with pytest.raises(ConfigError) as caught:
            app([*path, *words], prog_name="appkit")
        assert str(caught.value) == (
            f"{option} is empty (a shell variable that is not set?); fill it in, or leave it out"
        )


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_an_empty_argument_is_refused(path: tuple[str, ...]) -> None:
    for words in ([""], ["task=nl2fol", ""], ["--", ""], ["--all", ""]):
        with pytest.raises(ConfigError, match=r"^an argument is empty \(a shell variable"):
            app([*path, *words], prog_name="appkit")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("eval", "RUN", "--to", ""), "--to is empty"),
        (("predict", "RUN", "--file", ""), "--file is empty"),
        (("serve", "--bundles", ""), "--bundles is empty"),
        (("serve", "post="), "a bundle is empty"),
        (
            ("train", "task=nl2fol", 'decoding.stop=[""]'),
            "decoding.stop.0: string should have at least 1",
        ),
        (("train", "task=nl2fol", "decoding.stop="), "decoding.stop: input should be a list, got ''"),
        (("train", "task=nl2fol", "data.encoding="), "data.encoding: must be a text encoding"),
    ],
)
def test_an_empty_value_is_one_line_and_changes_nothing(
    words: tuple[str, ...], line: str, trained: Path, commands: Commands, tmp_path: Path
) -> None:
    done = commands.run(*(str(trained) if word == "RUN" else word for word in words), cwd=tmp_path)
    assert one_line(done).startswith(line)
    assert list(tmp_path.iterdir()) == []


# --- configuration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "eval"])
def test_a_printed_configuration_is_read_back(command: str, project: Project, commands: Commands) -> None:
    words = [command, *project.words[1:], "method.alpha=3", "data.columns.sentence=sentence"]
    first = commands.run(*words, "--print-config", cwd=project.folder)
    assert (first.code, first.stderr) == (0, "")
    assert "alpha: 3.0" in first.stdout
    file = project.folder / f"{command}.yaml"
    file.write_text(first.stdout)
    second = commands.run(command, "--config", str(file), "--print-config", cwd=project.folder)
    assert (second.code, second.stdout, second.stderr) == (0, first.stdout, "")


def test_a_saved_configuration_is_that_of_the_run(trained: Path, commands: Commands) -> None:
    again = commands.run("train", "--config", "config.yaml", "--print-config", cwd=trained)
    assert again.stdout == (trained / "config.yaml").read_text()


def test_a_dry_run_trains_nothing(project: Project, commands: Commands) -> None:
    done = commands.run(*project.words, "run_dir=dry", "--dry-run", cwd=project.folder)
    assert (done.code, done.stdout) == (0, "")
    assert "30 rows to train on in 15 steps, 4 dev, 4 test" in done.stderr
    assert not (project.folder / "dry").exists()


def test_a_budget_of_tokens_takes_rows_until_it_is_used(project: Project, commands: Commands) -> None:
    words = [*project.words, "run_dir=dry", "--dry-run"]
    said = commands.run(*words, "train.max_tokens=300", cwd=project.folder).stderr
    rows = int(re.search(r"data: (\d+) rows to train on", said)[1])
    assert 1 < rows < 30
    assert f"note: train: {rows} of 30 rows are used, train.max_tokens=300" in said
    assert "30 rows to train on" in commands.run(*words, "train.max_tokens=99999", cwd=project.folder).stderr
    assert (
        "data: 1 rows to train on" in commands.run(*words, "train.max_tokens=16", cwd=project.folder).stderr
    )


# --- faults -----------------------------------------------------------------------------------------------


def one_line(done: Done) -> str:
    """The line that a refused user sees; nothing else may be there."""
    assert (done.code, done.stdout) == (2, ""), done
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr[len("error: ") : -1]


GOOD = [{"sentence": f"Row {number} is good.", "formula": "P(a)"} for number in range(12)]


def missing(path: Path) -> None:
    """Writes nothing."""


def empty(path: Path) -> None:
    path.write_bytes(b"")


def wrong_column(path: Path) -> None:
    write_rows(path, [{"text": row["sentence"], "formula": row["formula"]} for row in GOOD])


def broken_json(path: Path) -> None:
    write_rows(path, GOOD)
    lines = path.read_text().splitlines()
    lines[6] = lines[6][:-1]
    path.write_text("\n".join(lines))


def a_megabyte(path: Path) -> None:
    write_rows(path, [*GOOD[:4], {"sentence": "x" * 1_000_000, "formula": "P(a)"}, *GOOD[4:]])


def latin_1(path: Path) -> None:
    write_rows(path, GOOD)
    path.write_bytes(path.read_bytes().replace(b"Row 2 is", "Row 2 ça".encode("latin-1")))


FILES: list[tuple[Callable[[Path], None], str]] = [
    (missing, r"no file 'rows.jsonl'"),
    (empty, r"'rows.jsonl' is empty \(0 bytes\); write rows to it"),
    (
        wrong_column,
        r"'rows.jsonl' has no column 'sentence'; it has 'text', 'formula'; .*data.columns.sentence=text",
    ),
    (broken_json, r"rows.jsonl:7: .*JSON"),
    (a_megabyte, r"rows.jsonl:5: sentence .*4000 characters"),
    (latin_1, r"rows.jsonl:3: .*UTF-8"),
]


@pytest.mark.parametrize(("make", "line"), FILES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_faulty_file_is_one_line(
    make: Callable[[Path], None], line: str, project: Project, commands: Commands, tmp_path: Path
) -> None:
    make(tmp_path / "rows.jsonl")
    words = [word for word in project.words if not word.startswith("data.train")]
    done = commands.run(*words, "data.train=rows.jsonl", "run_dir=run", cwd=tmp_path)
    said = one_line(done)
    assert re.search(line, said), said
    assert len(said) < 600
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("method.rnak=3", "unknown key 'method.rnak'; did you mean method.rank?"),
        ("method.rank=0", "method.rank: input should be greater than or equal to 1, got 0"),
        ("train.learning_rate=-1e-3", "train.learning_rate: input should be greater than 0, got -0.001"),
        ("model=none", "no model 'none': neither a preset (known: "),
        ("train.trackers=[wandbb]", "train.trackers: unknown tracker 'wandbb'; known: tensorboard"),
        ("method.targets=[c_attn]", "method.targets names 'c_attn', which the base does not have"),
        ("data.max_length=20", "30 rows are longer than data.max_length=20 tokens; first: "),
    ],
)
def test_a_faulty_word_is_one_line(
    word: str, line: str, project: Project, commands: Commands, tmp_path: Path
) -> None:
    done = commands.run(*project.words, word, "run_dir=run", "eval.baseline=false", cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    # what depends on the base is seen once it is loaded, behind lines of progress
    assert done.stderr.splitlines()[-1].startswith(f"error: {line}")
    if word.startswith(("method.r", "train.learning", "model")):
        one_line(done)


def test_a_faulty_word_is_one_line_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = console("train", "task=nl2fol", "method.rank=0", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: method.rank:")


@pytest.mark.parametrize("word", ["train.trackers=[wandbb]", "train.optimizer=adamw_8bit"])
def test_what_is_known_beforehand_is_refused_beforehand(
    word: str, project: Project, commands: Commands, tmp_path: Path
) -> None:
    one_line(
        commands.run(*project.words, word, "run_dir=run", cwd=tmp_path, env={"CUDA_VISIBLE_DEVICES": ""})
    )
    assert not (tmp_path / "run").exists()


def test_a_cut_base_is_one_line(project: Project, commands: Commands, tmp_path: Path) -> None:
    base = Path(shutil.copytree(project.folder / "base", tmp_path / "base"))
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    said = one_line(commands.run(*project.words, f"model={base}", "run_dir=run", cwd=tmp_path))
    assert re.match(
        r".*model.safetensors is damaged: \d+ bytes expected, got \d+; copy the directory again", said
    )


def test_a_base_with_another_bit_is_seen_by_its_fingerprint(
    trained: Path, project: Project, commands: Commands, tmp_path: Path
) -> None:
    fingerprint = json.loads((trained / "run.json").read_text())["base"]["fingerprint"]
    base = Path(shutil.copytree(project.folder / "base", tmp_path / "base"))
    weights = base / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1000] ^= 1
    weights.write_bytes(content)
    words = [*project.words, f"model={base}", f"model.fingerprint={fingerprint}", "run_dir=run"]
    done = commands.run(*words, cwd=tmp_path)
    assert done.code == 2
    assert "Traceback" not in done.stderr
    assert "is not the model recorded for" in done.stderr.splitlines()[-1]


def test_a_cache_that_cannot_be_used_is_one_line(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    done = commands.run(
        "models", "pull", "smollm2-135m", cwd=tmp_path, env={"APPKIT_CACHE": str(tmp_path / "cache")}
    )
    assert re.search(r"cannot use .*/cache.*set APPKIT_CACHE to one that can be written", one_line(done))


def test_a_cache_that_cannot_be_used_costs_time_only(
    project: Project, commands: Commands, tmp_path: Path
) -> None:
    """A base in a directory needs no cache."""
    (tmp_path / "cache").write_text("a file")
    words = [*project.words, "run_dir=run", "train.epochs=0.2", "eval.baseline=false", "eval.quant_rows=0"]
    done = commands.run(*words, cwd=tmp_path, env={"APPKIT_CACHE": str(tmp_path / "cache")})
    assert done.code == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("predict", "nothing", "x"), "nothing is no bundle (no appkit.json); a run's is in <run>/bundle"),
        (("eval", "nothing"), "nothing is no bundle (no appkit.json)"),
        (
            ("train", "--resume", "nothing"),
            "nothing holds no run (no run.json); `appkit runs list` shows them",
        ),
        (("train", "--resume", "x", "seed=1"), "--resume takes the run's own configuration"),
        (("train",), "task is missing; choose one: "),
        (
            ("train", "task=nl2fol", "--config", "none.yaml"),
            "cannot read none.yaml: No such file or directory",
        ),
        (("tasks", "show", "nl2foll"), "no task named 'nl2foll'; did you mean 'nl2fol'?"),
        (("models", "show", "smollm"), "no model 'smollm'"),
        (("cache", "prune", "nothing"), "no cache entry 'nothing'; `appkit cache list` shows them"),
    ],
)
def test_what_is_not_there_is_one_line(
    words: tuple[str, ...], line: str, commands: Commands, tmp_path: Path
) -> None:
    assert one_line(commands.run(*words, cwd=tmp_path)).startswith(line)


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("runs/lr=1e-3", "runs/lr=1e-3 is no bundle (no appkit.json)"),
        ("lr=1e-3/bundle", "lr=1e-3/bundle is no bundle (no appkit.json)"),
        ("runs/lr=2e-3", "expected key=value, got 'runs/lr=2e-3'"),
        ("seed=1", "task is missing"),
        ("lr=" + "9" * 5000, "unknown key 'lr'"),
    ],
    ids=lambda text: text[:20],
)
def test_eval_takes_a_path_with_an_equals_sign(
    word: str, line: str, commands: Commands, tmp_path: Path
) -> None:
    for path in ("runs/lr=1e-3", "lr=1e-3/bundle", "seed=1"):
        (tmp_path / path).mkdir(parents=True)
    words = ("task=nl2fol",) if line.startswith("unknown key") else ()
    assert one_line(commands.run("eval", word, *words, cwd=tmp_path)).startswith(line)


def test_a_directory_that_holds_files_is_not_written_into(
    project: Project, commands: Commands, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    done = commands.run(*project.words, "run_dir=mine", cwd=tmp_path)
    assert done.code == 2
    assert done.stderr.splitlines()[-1].startswith("error: run_dir=mine already holds files")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


# --- what there is ----------------------------------------------------------------------------------------


def ok(done: Done) -> str:
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


def test_lists(trained: Path, project: Project, commands: Commands, tmp_path: Path) -> None:
    assert "nl2fol" in ok(commands.run("tasks", "list", cwd=tmp_path))
    shown = ok(commands.run("tasks", "show", "nl2fol", cwd=tmp_path))
    assert "sentence: str" in shown
    assert "entails(premises, conclusion, seconds): Decides whether the conclusion follows" in shown
    assert "lora" in ok(commands.run("methods", cwd=tmp_path))
    assert "smollm2-135m" in ok(commands.run("models", "list", cwd=tmp_path))
    assert ok(commands.run("runs", "list", cwd=tmp_path)) == "no runs below runs\n"
    (line,) = [
        line
        for line in ok(commands.run("runs", "list", str(project.folder), cwd=tmp_path)).splitlines()
        if "/unbroken " in line
    ]
    assert line.split()[1:3] == ["nl2fol", "done"]
    shown = ok(commands.run("models", "show", str(project.folder / "base"), cwd=tmp_path))
    assert re.search(r"^parameters +\d+$", shown, re.M)
    assert str(os.environ.get("HOME")) not in ok(commands.run("cache", "list", cwd=tmp_path))


def test_pruning_frees_checkpoints_and_keeps_the_bundle(
    trained: Path, commands: Commands, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "runs" / "run"))
    out = ok(commands.run("runs", "prune", cwd=tmp_path))
    assert "removed runs/run/checkpoints" in out
    assert (run / "bundle" / "appkit.json").exists()
    assert not (run / "checkpoints").exists()
    ok(commands.run("runs", "prune", "--whole", cwd=tmp_path))
    assert not run.exists()


def test_doctor_names_what_mends_each_fault(commands: Commands, tmp_path: Path) -> None:
    done = commands.run("doctor", cwd=tmp_path)
    lines = done.stdout.splitlines()
    for part in ("python", "torch", "transformers", "peft", "bitsandbytes", "disk, here"):
        assert any(line.startswith("ok") and line.split()[1].startswith(part.split()[0]) for line in lines), (
            part
        )
    faults = [number for number, line in enumerate(lines) if line.startswith("FAULT")]
    assert all(lines[number + 1].lstrip().startswith("mend it with: ") for number in faults)
    # the cache of the tests has no base
    assert any(lines[number].startswith("FAULT base model") for number in faults)
    assert (done.code, lines[-1]) == (2, f"{len(faults)} fault{'s' * (len(faults) > 1)}")


def test_data_check_reports_and_fails_like_training_would(
    project: Project, commands: Commands, tmp_path: Path
) -> None:
    data = [word for word in project.words if word.startswith(("task", "model", "data"))]
    done = commands.run("data", "check", *data, cwd=tmp_path)
    assert (done.code, done.stdout.splitlines()[-1]) == (0, "ok")
    assert re.search(r"train: tokens p50 \d+", done.stdout)
    broken_json(tmp_path / "rows.jsonl")
    done = commands.run("data", "check", *data, "data.train=rows.jsonl", "--json", cwd=tmp_path)
    assert done.code == 2
    (fault,) = json.loads(done.stdout)["faults"]
    assert (fault["file"], fault["line"]) == ("rows.jsonl", 7)


def test_messages_that_nobody_reads_end_nothing() -> None:
    code = """
import sys
from appkit.cli.terminal import outlive_reader, say
outlive_reader()
say("first")
sys.stdin.readline()
for _ in range(3):
    say("lost")
print("done")
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes, text=True) as process:
        assert process.stderr is not None
        with process.stderr:
            assert process.stderr.readline() == "first\n"
        assert process.communicate("\n", timeout=60)[0] == "done\n"
    assert process.returncode == 0
