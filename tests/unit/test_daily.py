"""Packs add commands; their options are read as typed, and a broken pack breaks nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packages import BROKEN, Packs, making_packs, run_appkit

from appkit import config
from appkit.bundles import manifest
from appkit.cli import answerer
from appkit.cli.answerer import BATCH, Answerer
from appkit.client import Client
from appkit.errors import ConfigError
from appkit.message import Parsed, Prediction

COUNT = '''
class Options(BaseModel):
    """Options of every type."""
    model_config = ConfigDict(frozen=True, extra="forbid")

    words: str = Field(description="what is counted")
    file: Path | None = Field(None, description="file of more")
    least: int = Field(2, ge=1, description="letters of a word")
    share: float = Field(0.5, gt=0, le=1, description="of the words")
    seconds: float | None = Field(None, gt=0, description="until it ends")
    folder: Path = Field(Path(), description="where")
    form: Literal["text", "json"] = Field("text", description="how it is written.")
    kind: Literal["a", "b"] | None = Field(None, description="of words")
    names: tuple[str, ...] = Field(("x", "y"), description="with commas")
    more: tuple[int, ...] | None = Field(None, description="numbers, with commas")
    loud: bool = Field(False, description="in capitals")
    quiet: bool | None = Field(None, description="or not")
    small: Annotated[int, Field(le=9)] | None = Field(None, description="up to 9")
    made: str = Field(default_factory=lambda: "made", description="by a function")
    answerer: tuple[str, ...] = ()

    @field_validator("names", "more", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value


def run(options, pack, answer):
    if options.words == "wrong":
        raise ValueError("these words\\n  cannot be counted")
    if answer is None:
        return Outcome(repr(options), exit_code=3)
    answers = answer([{"sentence": word} for word in options.words.split()])
    return Outcome(" ".join(prediction.text for prediction, _ in answers), ["asked"])


def before(options):
    print("before", options.words)


COUNT = Command(Options, run, ("words", "file"), before=before, alone=lambda options: options.loud)
BARE = Command(Options, run, ("words",), asks=False)
'''


@pytest.fixture
def packs(tmp_path: Path) -> Iterator[Packs]:
    with making_packs(tmp_path / "site") as made:
        yield made


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    return lambda *words: run_appkit(capfd, *words)


@pytest.fixture
def counting(packs: Packs) -> None:
    packs.add("counting", COUNT, '{"count": COUNT}')


@pytest.mark.usefixtures("counting")
def test_defaults_are_the_model_s(call: Any) -> None:
    code, out, err = call("count", "a b", "--loud")
    assert (code, err) == (3, "")
    assert out.splitlines()[0] == "before a b"
    assert out.splitlines()[1] == (
        "Options(words='a b', file=None, least=2, share=0.5, seconds=None, folder=PosixPath('.'), form='text', "
        "kind=None, names=('x', 'y'), more=None, loud=True, quiet=None, small=None, made='made', answerer=())"
    )


@pytest.mark.usefixtures("counting")
def test_every_type_is_read(call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_bundle_of(monkeypatch, "counting")
    words = [
        "--least",
        "7",
        "--share=0.25",
        "--seconds",
        "1e2",
        "--folder",
        "/a b",
        "--form",
        "json",
        "--kind",
        "b",
    ]
    words += ["--names", "p, q", "--more", "1,2", "--no-quiet", "--small", "9", "--made", "it", "--loud"]
    words += ["--bundle", str(tmp_path), "--alias", "my one", "--key", "secret"]
    code, out, _ = call("count", "a b", "/the file", *words)
    assert code == 3
    assert out.splitlines()[1] == (
        "Options(words='a b', file=PosixPath('/the file'), least=7, share=0.25, seconds=100.0, "
        "folder=PosixPath('/a b'), form='json', kind='b', names=('p', ' q'), more=(1, 2), loud=True, quiet=False, "
        f"small=9, made='it', answerer=('--bundle', '{tmp_path}', '--alias', 'my one'))"
    )


@pytest.mark.usefixtures("counting")
def test_the_help_says_of_each_option_what_its_field_says(call: Any) -> None:
    code, out, _ = call("count", "--help")
    assert code == 0
    for words in (
        "Count words.",
        "What is counted.",
        "--least <int>",
        "Letters of a word.  [default: 2]",
        "How it is written: text, json.  [default: text]",
        "Of words: a, b.",
        "--loud / --no-loud",
        "--bundle <path>",
        "URL of a gateway that serves it, in place of --bundle.",
    ):
        assert words in out
    assert "answerer" not in out
    code, out, _ = call("--help")
    names = [line.split()[1] for line in out.splitlines() if line.startswith("│ ") and line[2:3].isalpha()]
    assert (code, names.count("count"), names.count("train")) == (0, 1, 1)
    assert "Count words." in out


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--least", "0"], "error: --least: input should be greater than or equal to 1, got 0"),
        (["--share", "1.5"], "error: --share: input should be less than or equal to 1, got 1.5"),
        (["--seconds", "-1"], "error: --seconds: input should be greater than 0, got -1.0"),
        (["--form", "yaml"], "error: --form: input should be 'text' or 'json', got 'yaml'"),
        (["--kind", "c"], "error: --kind: input should be 'a' or 'b', got 'c'"),
        (
            ["--more", "1,x"],
            "error: --more: input should be a valid integer, unable to parse string as an integer, got",
        ),
        (["--small", "10"], "error: --small: input should be less than or equal to 9, got '10'"),
        (
            ["--bundle", "/no/such/bundle"],
            "error: no bundle '/no/such/bundle'; name the directory of a bundle or a run",
        ),
        ([], "error: name who answers: --bundle DIRECTORY, or --gateway URL"),
        (
            ["--bundle", "/tmp", "--gateway", "x"],
            "error: --bundle and --gateway exclude each other; leave one out",
        ),
    ],
)
def test_a_wrong_value_is_one_line(call: Any, words: list[str], line: str) -> None:
    code, out, err = call("count", "a b", *words)
    assert (code, out.replace("before a b\n", "")) == (2, "")
    assert err.startswith(line)
    assert err.count("\n") == 1


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "Missing argument 'words'"),
        (["a", "--least", "x"], "Invalid value for '--least'"),
        (["a", "--share"], "requires an argument"),
        (["a", "--none"], "No such option"),
        (["a", "b", "c"], "unexpected extra argument"),
        (["a", "--answerer", "x"], "No such option"),
    ],
)
def test_what_typer_refuses_ends_with_2(call: Any, words: list[str], reason: str) -> None:
    code, out, err = call("count", *words)
    assert (code, out) == (2, "")
    assert reason.lower() in err.lower()
    assert "Traceback" not in err


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("words", [["a", "--names", ""], ["a", "--names="], [""], ["a", "--bundle", " "]])
def test_an_empty_word_is_refused(call: Any, words: list[str]) -> None:
    code, out, err = call("count", *words)
    assert (code, out) == (2, "")
    assert "is empty (a shell variable that is not set?); fill it in, or leave it out" in err
    assert err.count("\n") == 1


def stub(task: str = "counting", at_once: int = 1) -> tuple[Answerer, list[int]]:
    """Returns who answers each row by its sentence, and the sizes of the batches that are asked."""
    from appkit.plugins import load_task

    sizes: list[int] = []

    def answer(rows: Any, constrain: bool) -> list[tuple[Prediction, float | None]]:
        sizes.append(len(rows))
        return [(Prediction(row["sentence"].upper(), Parsed(None), 1, False), 0.5) for row in rows]

    return Answerer(load_task(task), None, "x", answer, at_once, ""), sizes


@pytest.mark.usefixtures("counting")
def test_the_command_asks_who_is_named(call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named: list[Any] = []
    monkeypatch.setattr(answerer, "find_answerer", lambda *words: named.append(words) or stub()[0])
    use_bundle_of(monkeypatch, "counting")
    assert call("count", "one two", "--bundle", str(tmp_path)) == (
        0,
        "before one two\nONE TWO\n",
        "note: asked\n",
    )
    assert call("count", "a", "--gateway", "http://g", "--alias", "b", "--key", "k")[0] == 0
    assert call("count", "a", "--gateway", "http://g")[0] == 0
    assert named == [
        (tmp_path, None, "counting", None),
        (None, "http://g", "b", "k"),
        (None, "http://g", "counting", None),
    ]
    monkeypatch.setattr(answerer, "find_answerer", lambda *words: stub("nl2fol")[0])
    code, _, err = call("count", "a", "--gateway", "http://g")
    assert (code, err) == (
        2,
        "error: the bundle answers task 'nl2fol'; this command needs one of task 'counting'\n",
    )


def use_bundle_of(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    """Takes any folder for a bundle of that task."""
    monkeypatch.setattr(manifest, "read_manifest", lambda path, verify: {"config": {"task": {"name": task}}})
    monkeypatch.setattr(config, "build_run_config", lambda values: SimpleNamespace(task=None))


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize(
    ("words", "task", "error"),
    [
        (["wrong"], "counting", "these words cannot be counted"),
        (["a"], "nl2fol", "the bundle answers task 'nl2fol'; this command needs one of task 'counting'"),
        (
            ["a", "--loud"],
            "nl2fol",
            "the bundle answers task 'nl2fol'; this command needs one of task 'counting'",
        ),
    ],
)
def test_no_weights_are_loaded_to_say_what_is_wrong(
    call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], task: str, error: str
) -> None:
    monkeypatch.setattr(answerer, "find_answerer", lambda *words: pytest.fail("the weights are loaded"))
    use_bundle_of(monkeypatch, task)
    code, _, err = call("count", *words, "--bundle", str(tmp_path))
    assert (code, err) == (2, f"error: {error}\n")


@pytest.mark.usefixtures("counting")
def test_a_folder_that_is_no_bundle_is_refused(call: Any, tmp_path: Path) -> None:
    for words in (["a"], ["a", "--loud"]):
        code, _, err = call("count", *words, "--bundle", str(tmp_path))
        assert (code, err) == (
            2,
            f"error: {tmp_path} is no bundle (no appkit.json); a run's is in <run>/bundle\n",
        )


@pytest.mark.parametrize(
    ("options", "direction"), [({"target_language": "de"}, "de"), ({}, None), ({"newer": 3}, None)]
)
def test_a_gateway_answers_under_the_options_of_its_bundle(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], direction: str | None
) -> None:
    about = {"task": "translation", "model": "a@1", "options": options}
    monkeypatch.setattr(Client, "describe", lambda client, alias: about)
    if "newer" in options:
        with pytest.raises(
            ConfigError, match=r"^http://g serves 'a' with task\.newer, which task 'translation' "
        ):
            answerer.find_answerer(None, "http://g", "a", None)
    else:
        asked = answerer.find_answerer(None, "http://g", "a", None)
        assert (asked.options.target_language, asked.name) == (direction, "a@1")


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1, 3 * BATCH + 5])
def test_rows_are_answered_in_batches_and_in_their_order(count: int, at_once: int) -> None:
    one, sizes = stub(at_once=at_once)
    answers = one.answer_all([{"sentence": f"s{place}"} for place in range(count)])
    assert [prediction.text for prediction, _ in answers] == [f"S{place}" for place in range(count)]
    assert sorted(sizes, reverse=True) == [BATCH] * (count // BATCH) + [count % BATCH] * bool(count % BATCH)


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("around", [False, True])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_pack_breaks_nothing_else(packs: Packs, call: Any, kind: str, around: bool) -> None:
    packs.break_one(kind, BROKEN[kind], around=around)
    code, out, err = call("--help")
    assert (code, err) == (0, "")
    assert "Count words." in out
    assert "commit-message" in out
    assert call("count", "a", "--loud")[0] == 3
    code, _, err = call("no-such-command")
    assert code == 2
    assert "No such command 'no-such-command'" in err


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            "package",
            "task 'package' needs the package 'no_such_package_at_all'; pip install no_such_package_at_all",
        ),
        ("no_record", "packs_no_record.no_record defines no TASK"),
    ],
)
def test_the_command_of_a_broken_pack_says_why(packs: Packs, call: Any, kind: str, reason: str) -> None:
    packs.break_one(kind, BROKEN[kind])
    code, out, _ = call("--help")
    assert (code, "Break." in out) == (0, True)
    code, out, err = call(f"{kind}-command")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {reason}")
    assert err.count("\n") == 1


def test_a_command_that_the_record_lacks_is_named(packs: Packs, call: Any) -> None:
    packs.add("counting", COUNT, '{"count": COUNT}')
    packs.say("counting", "count: Count words.\ntally: Tally words.\n")
    code, _, err = call("tally", "a")
    assert (code, err) == (
        2,
        "error: task 'counting' names a command 'tally' in its commands.yaml, and its record has none\n",
    )
    assert call("count", "a", "--loud")[0] == 3


@pytest.mark.parametrize(
    "text", [": : :\n- [", "- count\n", "42\n", "", b"\xff\xfe\x00", "count: &a [*a]\n", "\x07: x"]
)
def test_a_file_that_names_no_commands_breaks_nothing(packs: Packs, call: Any, text: str | bytes) -> None:
    packs.add("counting", COUNT, '{"count": COUNT}')
    packs.say("counting", text)
    code, out, err = call("--help")
    assert (code, err) == (0, "")
    assert " train " in out
    assert call("methods", "list")[0] == 0


def test_a_command_that_no_file_names_is_listed_with_the_reason(packs: Packs, call: Any) -> None:
    packs.add("counting", COUNT, '{"count": COUNT, "bare": BARE}')
    packs.say("counting", "count: Count words.\n")
    code, out, _ = call("tasks", "show", "counting")
    listed = out.partition("\ncommands\n")[2].splitlines()[:2]
    reason = "not there, since commands.yaml of the task does not name it"
    assert (code, listed) == (0, ["  appkit count: Count words.", f"  appkit bare: {reason}"])


def test_a_command_that_asks_nobody_has_no_bundle(packs: Packs, call: Any) -> None:
    packs.add("counting", COUNT, '{"bare": BARE}')
    code, out, _ = call("bare", "a b")
    assert (code, out[:19]) == (3, "Options(words='a b'")
    assert "--bundle" not in call("bare", "--help")[1]
    assert call("bare", "a", "--bundle", "x")[0] == 2


def test_a_package_that_is_gone_breaks_no_command_of_the_core(packs: Packs, call: Any) -> None:
    packs.register("stale", "no_such_package_at_all")
    code, out, err = call("--help")
    assert (code, err) == (0, "")
    assert "Train" in out
    assert call("methods", "list")[0] == 0
    code, _, err = call("tasks", "list")
    assert code == 2
    assert "entry point 'stale' of appkit.tasks names 'no_such_package_at_all'" in err


@pytest.mark.usefixtures("counting")
def test_two_packs_with_a_command_of_one_name_are_named(packs: Packs, call: Any) -> None:
    packs.add("other", COUNT, '{"count": COUNT}')
    for words in (["count", "a", "--loud"], ["--help"]):
        code, _, err = call(*words)
        assert (code, err) == (
            2,
            "error: the tasks 'counting' and 'other' both have a command 'count'; uninstall one of them\n",
        )
    assert call("methods", "list")[0] == 0  # the core's own still work


def test_a_command_of_the_core_stays_the_core_s(packs: Packs, call: Any) -> None:
    packs.add("greedy", COUNT, '{"doctor": COUNT, "count": COUNT}')
    code, out, _ = call("doctor", "--help")
    assert code == 0
    assert "Count words." not in out
    assert call("count", "a", "--loud")[0] == 3


def test_a_field_that_the_core_has_is_named(packs: Packs, call: Any) -> None:
    packs.add("clash", COUNT.replace("made:", "key:"), '{"count": COUNT}')
    code, _, err = call("count", "a")
    assert (code, err) == (
        2,
        "error: task 'clash': --key of its command 'count' is the core's; rename the field\n",
    )
    assert call("--help")[0] == 0


@pytest.mark.usefixtures("counting")
def test_tasks_show_tells_of_commands(call: Any) -> None:
    code, out, _ = call("tasks", "show", "counting")
    assert code == 0
    assert "\ncommands\n  appkit count: Count words.\n" in out
