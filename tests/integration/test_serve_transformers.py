"""`appkit serve` as a user starts it: a process of its own, the transformers engine, bundles sound and not."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from forked import Commands, Done
from langchain_openai import ChatOpenAI
from planted import remake, with_tensors
from safetensors import safe_open
from safetensors.torch import save_file

from appkit.bundles.manifest import read_manifest
from appkit.client import Client
from appkit.errors import GatewayError
from appkit.serving.gateway.keys import add_key

SENTENCE = "Wombats yodel."
MESSAGES: Any = [{"role": "user", "content": SENTENCE}]


def ref(bundle: Path) -> str:
    return f"nl2fol@{read_manifest(bundle, verify=False)['sha'][:12]}"


def another(bundle: Path, to: Path) -> Path:
    """The same adapter as another version: its report differs."""
    shutil.copytree(bundle, to, ignore=shutil.ignore_patterns("certificates"))
    (to / "report.md").write_text(f"Another report, {to.name}.")
    remake(to)
    return to


def change_last_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def cut_record(bundle: Path) -> None:
    """The record of the trained model has one number less than its tokens ask for."""
    file = bundle / "reference.safetensors"
    with safe_open(file, "pt") as handle:
        metadata = handle.metadata()
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
    save_file(tensors | {"adapter": tensors["adapter"][:-1].clone()}, file, metadata=metadata)


UNSEALED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unsealed": (lambda values: values.pop("seal"), "has no seal"),
    "foreign": (lambda values: values["seal"].update(key="0123abcd"), "was sealed with the key 0123abcd"),
    "forged": (
        lambda values: values["checks"][0].update(figure="100 have their sha256"),
        "was changed after it was sealed",
    ),
}
"""certificates that this machine did not seal so, and why they are not believed"""


def bring_certificate(bundle: Path, of: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Gives a bundle the certificate of another, in its own name, as whoever brings the bundle could."""
    (file,) = (of / "certificates").iterdir()
    values = json.loads(file.read_text(encoding="utf-8"))
    values["bundle"] = read_manifest(bundle)["sha"]
    change(values)
    (bundle / "certificates").mkdir(exist_ok=True)
    (bundle / "certificates" / file.name).write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture(scope="module")
def shelf(trained: Path, commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certified bundles, A the older, and others that are refused for a reason each."""
    root = tmp_path_factory.mktemp("shelf")
    shutil.copytree(trained / "bundle", root / "A", ignore=shutil.ignore_patterns("certificates"))
    another(root / "A", root / "B")
    done = commands.run("recertify", "A", "B", "--engine", "transformers", cwd=root)
    assert done.code == 0, done.stderr
    another(root / "A", root / "uncertified")
    another(root / "A", root / "borrowed")
    shutil.copytree(root / "A" / "certificates", root / "borrowed" / "certificates")
    for name in ("changed", "damaged", "odd", "linked", "lying", "shapeless"):
        shutil.copytree(root / "A", root / name)
    with_tensors(
        lambda tensors: {
            name: 0.3 * tensor if "lora_B" in name else tensor for name, tensor in tensors.items()
        }
    )(root / "lying")
    remake(root / "lying")
    cut_record(root / "shapeless")
    remake(root / "shapeless")
    for name in ("lying", "shapeless"):
        bring_certificate(root / name, root / "A", UNSEALED["unsealed"][0])
    change_last_byte(root / "changed" / "adapter_model.safetensors")
    (root / "damaged" / "appkit.json").write_text("{")
    manifest = json.loads((root / "A" / "appkit.json").read_text())
    (root / "odd" / "appkit.json").write_text(json.dumps(manifest | {"base": [], "exported": {"rank": "x"}}))
    weights = root / "linked" / "adapter_model.safetensors"
    weights.unlink()
    weights.symlink_to(root / "A" / "adapter_model.safetensors")
    (root / "dangling").mkdir()
    (root / "dangling" / "appkit.json").symlink_to(root / "nowhere" / "appkit.json")
    (root / "pickle").mkdir()
    (root / "pickle" / "adapter_model.bin").write_bytes(b"\x80\x04")
    (root / "pickle" / "adapter_config.json").write_text("{}")
    return root


REFUSED = {
    "changed": "was changed after it was written",
    "uncertified": "has no certificate for transformers",
    "borrowed": "belongs to another bundle",
    "damaged": "cannot be read",
    "odd": "is damaged",
    "dangling": "is a link, which is not followed",
    "linked": "is a link, which is not followed",
    "lying": "what training gave: log-probabilities, adapter: largest difference ",
    "shapeless": "is damaged: ValueError while it was read",
}


@dataclass
class Running:
    """A gateway, and what it has said so far."""

    url: str
    process: subprocess.Popen[str]
    said: list[str]


@contextmanager
def serving(*words: str, cwd: Path, cache: Path) -> Iterator[Running]:
    """Once it is ready; at the end it is told to end, and does so well."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from appkit.cli.main import main; main()", "serve", *words),
            *("--engine", "transformers", "--port", "0"),
        ],
        cwd=cwd,
        env=os.environ | {"APPKIT_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                said.append(line)
                if "ready after" in line:
                    ready.set()
        ready.set()

    ear = threading.Thread(target=listen)
    ear.start()
    try:
        assert ready.wait(100), said
        found = re.search(r"http://[\d.]+:\d+", "".join(said))
        assert found, said
        assert process.poll() is None, said
        yield Running(found[0], process, said)
    finally:
        process.terminate()
        try:
            process.wait(40)
        finally:
            process.kill()
            ear.join()
    assert process.returncode == 0, said


@dataclass
class Live:
    """The gateway of this module, a secret of each kind, and its bundles."""

    running: Running
    admin: str
    user: str
    limited: str
    root: Path

    @property
    def url(self) -> str:
        return self.running.url

    def get(self, path: str, secret: str) -> httpx.Response:
        return httpx.get(self.url + path, headers={"Authorization": f"Bearer {secret}"}, timeout=60)

    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.user, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def live(shelf: Path, commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    made = commands.run("keys", "add", "keys.json", "operator", "--admin", cwd=folder)
    assert (made.code, made.stderr) == (0, "")
    keys = folder / "keys.json"
    user, limited = add_key(keys, "user"), add_key(keys, "limited", aliases=["mine"])
    with serving("--bundles", str(shelf), "--keys", str(keys), cwd=folder, cache=folder / "cache") as running:
        yield Live(running, made.stdout.strip(), user, limited, shelf)


# --- what is served, and what is not ----------------------------------------------------------------------


def test_what_is_unsound_is_refused_with_its_reason_and_the_rest_goes_on(live: Live) -> None:
    listed = live.get("/v1/bundles", live.admin).json()
    assert [bundle["bundle"] for bundle in listed["bundles"]] == [ref(live.root / "A"), ref(live.root / "B")]
    assert listed["aliases"]["nl2fol"]["current"] == ref(live.root / "A")
    refused = {Path(path).name: reason for path, reason in listed["refused"].items()}
    assert refused.keys() == REFUSED.keys()
    for name, reason in REFUSED.items():
        assert reason in refused[name], name
    assert listed["starting"] == []
    assert all(bundle["certificate"] and bundle["certified"] == "here" for bundle in listed["bundles"])


@pytest.mark.parametrize("name", [*REFUSED, "pickle"])
def test_it_is_refused_by_hand_too_and_no_path_of_the_machine_is_told(live: Live, name: str) -> None:
    with Client(live.url, key=live.admin) as client, pytest.raises(GatewayError) as told:
        client.add(name, "bad")
    assert told.value.status == 422
    assert REFUSED.get(name, "is no bundle") in str(told.value)
    assert str(live.root) not in str(told.value)
    assert live.get("/readyz", live.user).json()["status"] == "ready"
    with pytest.raises(openai.NotFoundError):
        live.openai().models.retrieve("bad")


@pytest.mark.parametrize("fault", UNSEALED)
def test_a_certificate_that_anybody_could_have_written_is_made_again(live: Live, fault: str) -> None:
    change, reason = UNSEALED[fault]
    bundle = another(live.root / "A", live.root / f"brought-{fault}")
    bring_certificate(bundle, live.root / "A", change)
    files = sorted(bundle.rglob("*"))
    with Client(live.url, key=live.admin) as client:
        client.add(bundle.name, "brought")
        try:
            made = client.describe("brought")["certificate"]
            assert made["sealed"]
            assert made["bundle"] == read_manifest(bundle)["sha"]
            (first,) = (live.root / "A" / "certificates").iterdir()
            assert made["made_at"] > json.loads(first.read_text())["made_at"]
            checks = {check["name"]: check for check in made["checks"]}
            assert checks["files"]["figure"] == f"{len(read_manifest(bundle)['files'])} have their sha256"
            assert checks["log-probabilities, adapter"]["passed"]
            assert [checks[name]["figure"] for name in checks if name.startswith("metric ")] == [
                "left out (rows=0)"
            ]
        finally:
            client.unpoint("brought")
            client.remove(ref(bundle))
    assert sorted(bundle.rglob("*")) == files  # a stranger's directory is not written to
    assert [line for line in live.running.said if f"its certificate {reason}" in line]


def test_names_are_aliases_versions_and_the_base_but_no_paths(live: Live) -> None:
    names = {model.id for model in live.openai().models.list()}
    assert names - {"mine", "again"} == {"nl2fol", "base-nf4", ref(live.root / "A"), ref(live.root / "B")}


# --- OpenAI's clients -------------------------------------------------------------------------------------


def test_openais_client_chats(live: Live) -> None:
    answer = live.openai().chat.completions.create(model="nl2fol", messages=MESSAGES, temperature=0)
    assert (answer.object, answer.model) == ("chat.completion", ref(live.root / "A"))
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", "P(a)")
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage
    assert answer.usage.prompt_tokens > len(SENTENCE)  # a token for each byte, and the template's
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_openais_client_streams_the_same(live: Live) -> None:
    asked: Any = {"model": "nl2fol", "messages": MESSAGES, "logprobs": True}
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = live.openai().chat.completions.create(**asked, **options)
    whole = live.openai().chat.completions.create(**asked)
    assert (last.choices, last.usage) == ([], whole.usage)
    assert {chunk.id for chunk in chunks} == {last.id}
    choices = [chunk.choices[0] for chunk in chunks]
    assert choices[0].delta.role == "assistant"
    assert "".join(choice.delta.content or "" for choice in choices) == "P(a)"
    finishes = [choice.finish_reason for choice in choices]
    assert finishes == [None] * (len(finishes) - 1) + [whole.choices[0].finish_reason]
    told = whole.choices[0].logprobs
    assert told
    assert told.content
    streamed = [token for choice in choices if choice.logprobs for token in choice.logprobs.content or []]
    assert [token.token for token in streamed] == [token.token for token in told.content] == list("P(a)")
    likely = [token.logprob for token in told.content]
    assert [token.logprob for token in streamed] == pytest.approx(likely, abs=1e-4)
    assert all(value <= 0 for value in likely)


def test_openais_client_completes_texts_and_tokens(live: Live) -> None:
    client, ids = live.openai(), list(range(10, 20))
    answer = client.completions.create(
        model="nl2fol", prompt=["Wombats", "Ocelots"], n=2, max_tokens=3, logprobs=0, seed=1
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    for choice in answer.choices:
        assert choice.logprobs
        assert len(choice.logprobs.token_logprobs or []) == len(choice.logprobs.tokens or []) <= 3
    assert answer.usage
    assert answer.usage.prompt_tokens == len("Wombats") + len("Ocelots")
    by_ids = client.completions.create(model="nl2fol", prompt=ids, max_tokens=3)
    assert by_ids.usage
    assert by_ids.usage.prompt_tokens == 10
    chunks = client.completions.create(model="nl2fol", prompt=ids, max_tokens=3, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == by_ids.choices[0].text


def test_stop_strings_and_several_answers(live: Live) -> None:
    answer = live.openai().chat.completions.create(model="nl2fol", messages=MESSAGES, n=3, stop=["("])
    assert [choice.message.content for choice in answer.choices] == ["P"] * 3
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}


def test_draws_of_one_seed_differ_and_come_again(live: Live) -> None:
    asked: Any = {
        "model": "base-nf4",
        "messages": MESSAGES,
        "temperature": 2,
        "seed": 7,
        "n": 3,
        "max_tokens": 12,
    }
    first, second = (live.openai().chat.completions.create(**asked) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert len(set(texts)) == 3
    assert texts == [choice.message.content for choice in second.choices]


def test_the_adapter_is_at_work_and_the_base_is_without_it(live: Live) -> None:
    def ask(model: str) -> str | None:
        answer = live.openai().chat.completions.create(model=model, messages=MESSAGES, max_tokens=4)
        return answer.choices[0].message.content

    assert {ask("nl2fol"), ask(ref(live.root / "B"))} == {"P(a)"}
    assert ask("base-nf4") != "P(a)"


def test_errors_are_the_exceptions_that_openais_client_knows(live: Live) -> None:
    client = live.openai()

    def chat(**more: Any) -> Any:
        return client.chat.completions.create(**{"model": "nl2fol", "messages": MESSAGES} | more)

    with pytest.raises(openai.NotFoundError, match="no model 'nothing'") as told:
        chat(model="nothing")
    assert told.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="'tools' is not supported"):
        chat(tools=[{"type": "function"}])
    with pytest.raises(openai.BadRequestError, match="temperature"):
        chat(temperature=9)
    with pytest.raises(openai.UnprocessableEntityError, match="sentence"):
        chat(messages=[{"role": "user", "content": ""}])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="ak-wrong").models.list()


def test_langchain_asks_and_streams(live: Live) -> None:
    chat = ChatOpenAI(base_url=f"{live.url}/v1", api_key=live.user, model="nl2fol", max_retries=0)  # type: ignore
    answer = chat.invoke(SENTENCE)
    assert answer.content == "P(a)"
    assert answer.usage_metadata
    assert answer.usage_metadata["output_tokens"] in (4, 5)
    assert "".join(str(chunk.content) for chunk in chat.stream(SENTENCE)) == "P(a)"
    assert [one.content for one in chat.batch([SENTENCE] * 3)] == ["P(a)"] * 3


# --- typed tasks ------------------------------------------------------------------------------------------


def test_rows_in_results_out(live: Live) -> None:
    with Client(live.url, key=live.user) as client:
        answers = client.task("nl2fol", [SENTENCE, {"sentence": "Ocelots juggle."}, SENTENCE], batch=2)
        assert [answer.parsed for answer in answers] == ["P(a)"] * 3
        assert {answer.model for answer in answers} == {ref(live.root / "A")}
        deltas = list(client.stream("nl2fol", [SENTENCE, SENTENCE]))
        assert [delta.answer for delta in deltas if delta.answer] == [answers[0]] * 2
        assert "".join(delta.text for delta in deltas if delta.row == 1) == "P(a)"
        assert client.tool("nl2fol", "check", formula="P(a)")["parses"] is True
        told = client.tool("nl2fol", "entails", premises=["∀x (D(x) → B(x))", "D(r)"], conclusion="B(r)")
        assert told["verdict"] == "entailed"
        described = client.describe("nl2fol")
        assert (described["task"], described["constrain"], described["confidence"]) == ("nl2fol", True, None)
        assert described["certificate"]["bundle"] == read_manifest(live.root / "A")["sha"]
        assert described["certificate"]["sealed"] is True
        assert "seal" not in described["certificate"]
        assert (
            described["size"]["adapter_bytes"]
            == (live.root / "A" / "adapter_model.safetensors").stat().st_size
        )
        assert described["size"]["base_parameters"] > 0
        assert described["measures"].keys() >= {"strict", "BLEU"}
        assert client.tasks()[0]["alias"] == "nl2fol"


def test_a_constrained_answer_parses_or_says_that_it_was_cut_off(live: Live) -> None:
    with Client(live.url, key=live.user) as client:
        odd = [SENTENCE, "7 + 7?", "🙂", "(((", "Quokkas Quokkas"]
        answers = client.task("nl2fol", odd, constrain=True)
        for answer in answers:
            assert answer.truncated or answer.error is None, answer
        streamed = [delta.answer for delta in client.stream("nl2fol", odd, constrain=True) if delta.answer]
        assert sorted(answer.text for answer in streamed) == sorted(answer.text for answer in answers)


@pytest.mark.parametrize(
    ("rows", "options", "status", "message"),
    [
        ([SENTENCE], {"confidence": True}, 400, "has no calibrated confidence"),
        ([SENTENCE], {"threshold": 0.5}, 400, "has no calibrated confidence"),
        ([SENTENCE, {"text": "x"}], {}, 422, "rows[1]: sentence: Field required"),
        ([""], {}, 422, "rows[0]: sentence: "),
    ],
)
def test_what_cannot_be_answered_is_told(
    live: Live, rows: list[Any], options: Any, status: int, message: str
) -> None:
    with Client(live.url, key=live.user) as client, pytest.raises(GatewayError) as told:
        client.task("nl2fol", rows, **options)
    assert told.value.status == status
    assert message in str(told.value)


# --- the command line -------------------------------------------------------------------------------------


def one_line(done: Done) -> str:
    assert (done.code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert done.stderr.startswith("error: ")
    return done.stderr


def test_the_client_commands(live: Live, commands: Commands, tmp_path: Path) -> None:
    a, b = ref(live.root / "A"), ref(live.root / "B")

    def run(*words: str, stdin: str | None = None, secret: str = live.admin) -> str:
        env = {"APPKIT_URL": live.url, "APPKIT_KEY": secret}
        done = commands.run("client", *words, cwd=tmp_path, env=env, stdin=stdin)
        said.append(done.stderr)
        assert done.code == 0, done
        return done.stdout

    said: list[str] = []
    assert run("ask", "nl2fol", SENTENCE, "Ocelots juggle.", secret=live.user) == "P(a)\nP(a)\n"
    assert said == [
        "note: of 2 answers, 2 cut off at the longest length (input 1 first); --jsonl tells each\n"
    ]
    assert run("ask", "nl2fol", stdin=f"{SENTENCE}\n{SENTENCE}\n") == "P(a)\nP(a)\n"
    shown = json.loads(run("ask", b, SENTENCE, "--jsonl", "--constrain"))
    assert (shown["parsed"], shown["model"]) == ("P(a)", b)
    assert re.search(rf"{a} .*nl2fol", run("bundles"))
    assert json.loads(run("point", "mine", b))["current"] == b
    assert json.loads(run("point", "mine", a, "--share", "0.25"))["share"] == 0.25
    assert re.search(rf"{a} .*mine \(25%\)", run("bundles"))
    assert json.loads(run("rollback", "mine"))["canary"] is None
    assert json.loads(run("point", "mine", a))["previous"] == b
    assert run("ask", "mine", SENTENCE, secret=live.limited) == "P(a)\n"
    assert run("remove", b) == f"{b} is not served any more; its directory stays\n"
    assert (live.root / "B" / "appkit.json").exists()
    assert run("add", "B", "--alias", "again") == f"{b}\n"
    assert run("ask", "again", SENTENCE) == "P(a)\n"
    assert "refused:" in run("bundles")
    assert {line.partition(": ")[0] for line in "".join(said).splitlines()} == {"note"}


@pytest.mark.parametrize(
    ("words", "secret", "line"),
    [
        (["ask", "nothing", "Hi."], "user", "no model 'nothing'"),
        (["ask", "nl2fol", "--confidence", "Hi."], "user", "has no calibrated confidence"),
        (["ask", "nl2fol"], "user", "nothing to answer"),
        (["bundles"], "user", "this needs an admin key"),
        (["ask", "nl2fol", "Hi."], "limited", "no model 'nl2fol' for the key 'limited'"),
        (["remove", "nl2fol@ffffffff"], "admin", "no bundle 'nl2fol@ffffffff' is served"),
        (["add", "../outside"], "admin", "a bundle is named by its directory below the bundle root"),
        (["point", "new", "nl2fol@ffffffff"], "admin", "no bundle 'nl2fol@ffffffff'"),
        (["rollback", "nothing"], "admin", "no alias 'nothing'"),
    ],
)
def test_a_client_command_that_fails_is_one_line(
    live: Live, commands: Commands, tmp_path: Path, words: list[str], secret: str, line: str
) -> None:
    env = {"APPKIT_URL": live.url, "APPKIT_KEY": getattr(live, secret)}
    assert line in one_line(commands.run("client", *words, cwd=tmp_path, env=env))


def test_key_commands(commands: Commands, tmp_path: Path) -> None:
    def run(*words: str) -> Done:
        return commands.run("keys", *words, cwd=tmp_path)

    added = [
        run("add", "keys.json", "operator", "--admin"),
        run("add", "keys.json", "app", "--alias", "a", "--alias", "b", "--per-minute", "60"),
        run("add", "keys.json", "free"),
    ]
    assert all(re.fullmatch(r"ak-[\w-]{43}\n", done.stdout) for done in added)
    listed = run("list", "keys.json").stdout
    assert re.search(r"operator +yes +all", listed)
    assert re.search(r"app +a, b +60", listed)
    assert re.search(r"free +all", listed)
    kept = (tmp_path / "keys.json").read_text()
    assert not any(done.stdout.strip() in kept + listed for done in added)
    assert "already has a key 'app'" in one_line(run("add", "keys.json", "app"))
    assert "a key's name is made of" in one_line(run("add", "keys.json", "two words"))
    assert "no key file none.json; make one" in one_line(run("list", "none.json"))


def test_recertify_tells_of_every_bundle(shelf: Path, commands: Commands, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(shelf / "A", root / "kept")
    another(shelf / "A", root / "new")
    shutil.copytree(shelf / "changed", root / "changed")
    another(shelf / "A", root / "unsealed")
    bring_certificate(root / "unsealed", shelf / "A", UNSEALED["unsealed"][0])
    words = ["recertify", "--all", "--bundles", "runs", "--engine", "transformers", "--rows", "0"]
    done = commands.run(*words, cwd=tmp_path)
    assert done.code == 2
    for name, state in (
        ("kept", "kept"),
        ("new", "certified"),
        ("unsealed", "certified"),
        ("changed", "failed"),
    ):
        assert re.search(rf"(?m)^\s*runs/{name} +{state} +\S", done.stdout), done.stdout
    assert done.stderr.endswith("error: 1 of 4 bundles are not certified; the table says why\n")
    shutil.rmtree(root / "changed")
    done = commands.run(*words, cwd=tmp_path)
    assert (done.code, len(re.findall(r"(?m)^\s*runs/(?:kept|new|unsealed) +kept ", done.stdout))) == (
        0,
        3,
    ), done
    for wrong, line in (
        (["recertify"], "name bundles, or give --all"),
        (["recertify", "--all", "runs/kept"], "name bundles, or give --all"),
        (["recertify", "--all", "--bundles", "none"], "no directory none"),
        (["recertify", "--all", "--bundles", "runs", "--engine", "tgi"], "engine must be one of"),
    ):
        assert line in one_line(commands.run(*wrong, cwd=tmp_path))


# --- how it starts and ends -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["A", "--host", "0.0.0.0"], "--host 0.0.0.0 lets other machines in, which takes keys"),
        (["A", "--host", "example.org"], "lets other machines in, which takes keys"),
        (["A", "--keys", "none.json"], "no key file none.json"),
        (["A", "serve.max_rnak=3"], "no setting serve.max_rnak; did you mean 'max_rank'?"),
        (["A", "serve.max_rank=none"], "serve.max_rank: "),
        (["A", "serve.timeout_s=0"], "serve.timeout_s: Input should be greater than 0, got '0'"),
        (["A", "--engine", "tgi"], "serve.engine: "),
        (["A", "--port", "99999"], "--port must be in 0..65535, got 99999"),
        (["nothing"], "nothing is no bundle"),
        ([], "no bundle to serve; name one"),
        (["--bundles", "empty"], "no bundle to serve below empty"),
        (["--bundles", "missing"], "no directory missing"),
        (["uncertified", "--port", "0"], "has no certificate for transformers"),
        (["lying", "--port", "0"], "what training gave: log-probabilities, adapter: "),
        (["A", "serve.max_rank=1", "--port", "0"], "start it with serve.max_rank=4"),
    ],
)
def test_what_cannot_be_started_is_one_line(
    shelf: Path, commands: Commands, tmp_path: Path, words: list[str], line: str
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("A", "uncertified", "lying"):
        (tmp_path / name).symlink_to(shelf / name)
    words = words if "--engine" in words else [*words, "--engine", "transformers"]
    done = commands.run("serve", *words, cwd=tmp_path)
    assert (done.code, done.stdout) == (2, ""), done
    *said, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert line in last
    assert not [one for one in said if "Traceback" in one or one.startswith("error")], said


def test_a_taken_port_is_one_line(shelf: Path, commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = commands.run("serve", "A", "--engine", "transformers", "--port", port, cwd=shelf)
    assert re.search(
        rf"^error: cannot listen on 127.0.0.1:{port}: .*; choose another --port$", one_line(done)
    )


def test_sigterm_finishes_the_stream_that_runs(shelf: Path, tmp_path: Path) -> None:
    with serving(f"mine={shelf / 'A'}", cwd=tmp_path, cache=tmp_path / "cache") as running:
        body = {
            "model": "mine",
            "prompt": "Wombats",
            "max_tokens": 300,
            "stream": True,
            "temperature": 2,
            "seed": 1,
        }
        found: list[str] = []
        with httpx.stream("POST", f"{running.url}/v1/completions", json=body, timeout=60) as answer:
            for line in answer.iter_lines():
                if line and not found:
                    running.process.send_signal(signal.SIGTERM)
                found += [line] * bool(line)
        assert found[-1] == "data: [DONE]"
        assert json.loads(found[-2][6:])["choices"][0]["finish_reason"] in ("stop", "length")
        assert running.process.wait(60) == 0
    assert any("running requests are finished first" in line for line in running.said)
    assert not list((tmp_path / "cache" / "serving").iterdir())  # its copies of adapters are gone too


def test_sigterm_ends_one_whose_messages_nobody_reads(shelf: Path, tmp_path: Path) -> None:
    """Those of a terminal that was closed, say."""
    words = ("serve", f"mine={shelf / 'A'}", "--engine", "transformers", "--port", "0")
    process = subprocess.Popen(
        [sys.executable, "-c", "from appkit.cli.main import main; main()", *words],
        cwd=tmp_path,
        env=os.environ | {"APPKIT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        with process.stderr:
            assert any("ready after" in line for line in process.stderr)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()


# --- last, when all of the above is in the log -------------------------------------------------------------


def test_the_log_has_a_line_for_each_request_and_no_text(live: Live) -> None:
    messages: Any = [{"role": "user", "content": "Zanzibar yodels."}]
    live.openai().chat.completions.create(model="nl2fol", messages=messages)
    number = live.get("/v1/models", live.user).headers["x-request-id"]
    while not any(f"id={number}" in line for line in live.running.said):
        assert live.running.process.poll() is None
    log = "".join(live.running.said)
    assert "POST /v1/chat/completions 200" in log
    for hidden in ("Zanzibar", SENTENCE, "P(a)", live.user, live.admin, live.limited):
        assert hidden not in log
    assert not re.search(r"request \w+ failed", log)
