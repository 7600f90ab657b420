"""Train, certify, serve, call: two real bundles and their base in one real vLLM, behind the gateway as users start it.

Every answer is compared with transformers and PEFT in float32. One gateway serves all tests but the last two, in the
order of this file; one of them kills its engine, and a later one ends it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from running import cold

import appkit
from appkit.bundles import manifest as manifests
from appkit.client import Client
from appkit.errors import GatewayError
from appkit.plugins import load_method
from appkit.serving.certify.certify import certify
from appkit.serving.engines.vllm import installed_version
from appkit.serving.gateway.keys import add_key
from appkit.stats.confidence import Calibration

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from served import Gateway, Greedy, References, judge

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        installed_version() is None and not os.environ.get("CI"), reason="vLLM is not here; make serve-setup"
    ),
]

TEXTS = (
    "Every dog barks.",
    "Some cats sleep.",
    "All poets who love Rome are happy.",
    "Socrates is a man.",
    "No bird that sings is sad.",
    "Every child who reads a book is wise.",
)
TOKENS = 24  # of a chat's answer
CALIBRATION = Calibration(
    intercept=1.5,
    slope=0.25,
    not_whole=0.125,
    metric="strict",
    n=40,
    right=0.5,
    auroc=0.8,
    brier=0.2,
    ece=0.1,
    ece_noise=0.1,
    bins=(),
)
LONG = {"prompt": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,", "temperature": 0, "stream": True}


def weaker(bundle: Path, target: Path) -> None:
    """Another adapter of the same task: this one with less of an effect, and what it answers as its reference."""
    specialist = appkit.load(bundle)
    with torch.no_grad():
        for name, parameter in specialist.model.named_parameters():
            if ".lora_B." in name:
                parameter.mul_(0.6)
    form = load_method("lora").export(specialist.model, specialist.config.method)
    written = ("schema", "sha", "files")  # by the manifest's writer, of this bundle's own files
    manifest = {key: value for key, value in specialist.manifest.items() if key not in written}
    manifest["name"] = target.name
    manifests.write(target, form, *specialist.head.reference(specialist.model), manifest, "", "")


@pytest.fixture(scope="module")
def bundles(real: Any, shared_vllm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle root with two certified bundles: `real`, and a weaker one, certified as by appkit 0.1: without a seal.

    `first` gets a calibration, for which the short run measures too few rows; it stands in the manifest, of which the
    certificate says nothing.
    """
    root = tmp_path_factory.mktemp("bundles")
    shutil.copytree(real.bundle, root / "first", ignore=shutil.ignore_patterns("certificates"))
    weaker(real.bundle, root / "second")
    manifest = json.loads((root / "first" / "appkit.json").read_text())
    manifest |= {"name": "first", "confidence": CALIBRATION.model_dump()}
    (root / "first" / "appkit.json").write_text(json.dumps(manifest))
    for name in ("first", "second"):
        certify(root / name, engine="vllm", dtype="float32", rows=0)
    (file,) = (root / "second" / "certificates").iterdir()
    values = json.loads(file.read_text())
    del values["seal"]
    file.write_text(json.dumps(values))
    return root


@dataclass
class Served:
    """A gateway, and what it has to answer: {version or base: {text: answer}} for tasks and for chats."""

    gateway: Gateway
    key: str
    admin: str
    refs: dict[str, str]
    tasks: dict[str, dict[str, Greedy]]
    chats: dict[str, dict[str, str]]

    @property
    def base(self) -> str:
        return self.refs[""]

    def client(self, *, admin: bool = False, retries: int = 0) -> Client:
        return Client(self.gateway.url, key=self.admin if admin else self.key, retries=retries)

    def http(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.gateway.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=120
        )


@pytest.fixture(scope="module")
def served(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("gateway")
    keys = folder / "keys.json"
    key, admin = add_key(keys, "user"), add_key(keys, "admin", admin=True)
    words = ["--bundles", str(bundles), "--keys", str(keys), "--engine", "vllm"]
    with cold(), Gateway([*words, "serve.dtype=float32", "serve.max_slots=2"], folder / "log") as gateway:
        references = References({name: bundles / name for name in ("first", "second")})
        found = {name: references.greedy(name, TEXTS, TOKENS) for name in ("first", "second", "")}
        gateway.wait()
        with Client(gateway.url, key=admin) as client:
            names = client.models()
        refs = {
            name: next(one for one in names if one.startswith(f"{name}@")) for name in ("first", "second")
        }
        refs[""] = next(one for one in names if "@" not in one and one not in refs)
        one = Served(gateway, key, admin, refs, {}, {})
        for name, ref in refs.items():
            sure = {text: answer for text, answer in zip(TEXTS, found[name], strict=True) if not answer.tie}
            one.chats[ref] = {text: answer.text for text, answer in sure.items()}
            if name:  # a task's answer may be longer than a chat's here
                one.tasks[ref] = {text: answer for text, answer in sure.items() if answer.ended}
        assert all(len(found) >= 4 for found in one.chats.values()), one.chats
        assert all(len(found) >= 2 for found in one.tasks.values()), one.tasks
        yield one


def mixed(served: Served, times: int = 1) -> list[dict[str, Any]]:
    """Both bundles and the base at once: tasks, chats and streamed chats; the answers, as `judge` takes them."""
    asked = [(name, "chat", text) for name, ref in served.refs.items() for text in served.chats[ref]]
    asked += [(name, "stream", text) for name, kind, text in asked]
    asked += [
        (name, "task", text) for name in ("first", "second") for text in served.tasks[served.refs[name]]
    ]

    def ask(one: tuple[str, str, str]) -> dict[str, Any]:
        name, kind, text = one
        model = name or served.base
        if kind == "task":
            (answer,) = client.task(model, [text])
            return told(one, answer.model, answer.text)
        if kind == "stream":
            return told(
                one, *streamed(http, {"model": model, "messages": message(text), "max_tokens": TOKENS})
            )
        # not the pack's reading, which two bundles may share
        body = {"model": model, "messages": message(text), "max_tokens": TOKENS, "raw": True}
        answer = http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        return told(one, answer.json()["model"], answer.json()["choices"][0]["message"]["content"])

    def told(one: tuple[str, str, str], model: str, answer: str) -> dict[str, Any]:
        name, kind, text = one
        allowed = [served.refs[name]]
        return {"asked": f"{kind} {name}", "allowed": allowed, "model": model, "text": text, "answer": answer}

    # neighbours in a batch are of different models
    asked.sort(key=lambda one: (one[2], one[1]))
    with served.client() as client, served.http() as http, ThreadPoolExecutor(16) as pool:
        return list(pool.map(ask, asked * times))


def message(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def streamed(http: httpx.Client, body: dict[str, Any]) -> tuple[str, str]:
    """(version, text) of a chat. Raises AssertionError for an error or a stream without its end."""
    model, text = "", ""
    with http.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                return model, text
            if line.startswith("data: "):
                event = json.loads(line[6:])
                assert "error" not in event, event
                model = event["model"]
                text += event["choices"][0]["delta"]["content"]
    raise AssertionError("the stream ended without [DONE]")


def wrong(served: Served, answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chats = [one for one in answers if not one["asked"].startswith("task ")]
    tasks = [one for one in answers if one["asked"].startswith("task ")]
    whole = {
        ref: {text: one.text.strip() for text, one in found.items()} for ref, found in served.tasks.items()
    }
    return judge(served.chats, chats) + judge(whole, tasks)


def test_two_bundles_and_the_base_in_one_load_answer_as_transformers_does(served: Served) -> None:
    first, second, base = (served.chats[served.refs[name]] for name in ("first", "second", ""))
    alike = [text for text in TEXTS if len({first.get(text), second.get(text), base.get(text)}) < 3]
    assert len(alike) <= len(TEXTS) // 2, "the references cannot tell the models apart"
    answers = mixed(served)
    assert len(answers) >= 28
    assert {one["model"] for one in answers} == set(served.refs.values())
    assert wrong(served, answers) == []


def test_a_swapped_reply_would_be_seen(served: Served) -> None:
    first, base = served.chats[served.refs["first"]], served.chats[served.base]
    text = next(text for text in first.keys() & base.keys() if first[text] != base[text])
    planted = {
        "asked": "chat first",
        "allowed": [served.refs["first"]],
        "model": served.refs["first"],
        "text": text,
        "answer": base[text],
    }
    assert wrong(served, [planted]) == [planted]


def test_openais_own_client_streams(served: Served) -> None:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{served.gateway.url}/v1", api_key=served.key, max_retries=0) as client:
        text = next(iter(served.chats[served.refs["second"]]))
        stream = client.chat.completions.create(
            model=served.refs["second"],
            messages=message(text),
            max_tokens=TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="nobody", messages=message("Hi."))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == served.chats[served.refs["second"]][text]
    assert len(chunks) > 3
    assert chunks[-1].usage.completion_tokens > 1


def test_a_constrained_answer_parses_or_was_cut_off(served: Served) -> None:
    rows = [*TEXTS, "Colourless green ideas sleep furiously, or do they?", "(((", "¬"]
    with served.client() as client:
        answers = client.task("first", rows, constrain=True) + client.task("second", rows, constrain=True)
    assert len(answers) == 2 * len(rows)
    assert [one.text for one in answers if one.error is not None and not one.truncated] == []
    assert any(one.parsed is not None for one in answers)  # how many says how much a short run has learned


def test_confidence_is_the_calibrated_log_probability(served: Served) -> None:
    expected = served.tasks[served.refs["first"]]
    with served.client() as client:
        found = client.task("first", list(expected), confidence=True)
        below = client.task("first", list(expected), threshold=1.0)
        with pytest.raises(GatewayError, match="has no calibrated confidence") as refused:
            client.task("second", ["Every dog barks."], confidence=True)
    assert refused.value.status == 400
    for answer, one in zip(found, expected.values(), strict=True):
        assert answer.text == one.text.strip()
        logit = CALIBRATION.intercept + CALIBRATION.slope * one.log_probability
        sure = 1 / (1 + math.exp(-logit)) if answer.parsed is not None else CALIBRATION.not_whole
        assert answer.confidence == pytest.approx(sure, abs=1e-4)
    assert any(answer.parsed is not None for answer in found)
    assert all(answer.abstained and answer.parsed is None for answer in below)


def test_an_alias_moves_under_load_without_a_failed_request(served: Served) -> None:
    text = next(
        text
        for text, answer in served.chats[served.refs["first"]].items()
        if answer != served.chats[served.refs["second"]].get(text, answer)
    )
    allowed, ended = [served.refs["first"], served.refs["second"]], False
    idle = HTTPConnection(served.gateway.url.removeprefix("http://"), timeout=30)
    assert health(idle) == 200
    with served.client(admin=True) as admin, served.http() as http, ThreadPoolExecutor(6) as pool:
        admin.point("moving", served.refs["first"])

        def ask(_: int) -> list[dict[str, Any]]:
            found = []
            while not ended:
                model, answer = streamed(
                    http, {"model": "moving", "messages": message(text), "max_tokens": 8}
                )
                one = {"asked": "chat moving", "allowed": allowed, "model": model, "text": text}
                found.append(one | {"answer": answer})
            return found

        asking = [pool.submit(ask, number) for number in range(6)]
        try:
            for _ in range(3):
                time.sleep(2)
                admin.point("moving", served.refs["second"])
                time.sleep(2)
                assert admin.rollback("moving")["current"] == served.refs["first"]
        finally:
            ended = True
        answers = [one for done in asking for one in done.result()]
        moved = admin.point("moving", served.refs["second"])
        after, _ = streamed(http, {"model": "moving", "messages": message(text), "max_tokens": 8})
        admin.unpoint("moving")
    assert moved["current"] == after == served.refs["second"]
    assert {one["model"] for one in answers} == set(allowed)
    # eight tokens of the answer
    cut = [one for one in answers if not served.chats[one["model"]][text].startswith(one["answer"])]
    assert cut == []
    assert all(one["answer"] for one in answers)
    # a connection that its client keeps for longer than 5 s is not closed just when it is used again
    assert health(idle) == 200


def health(connection: HTTPConnection) -> int:
    """Over this very connection: it is not opened again."""
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_an_engine_killed_in_a_stream_is_told_and_comes_back(served: Served) -> None:
    body = LONG | {"model": served.base, "max_tokens": 600}
    with served.http() as http:
        events = []
        with http.stream("POST", "/v1/completions", json=body) as answer:
            assert answer.status_code == 200
            lines = (line for line in answer.iter_lines() if line.startswith("data: "))
            for line in lines:
                events.append(line[6:])
                if len(events) == 5:
                    served.gateway.engine("EngineCore").kill()
        assert len(events) > 5
        assert "ask once more" in json.loads(events[-1])["error"]["message"], events[-1]
        assert "[DONE]" not in events
        wait_until(lambda: http.get("/readyz").status_code == 503, 30)
        assert http.get("/healthz").status_code == 200
        away = http.post("/v1/completions", json={"model": "first", "prompt": "Hi", "max_tokens": 1})
        assert away.status_code == 503
        assert away.json()["error"]["code"] == "engine_restarting"
        assert int(away.headers["Retry-After"]) >= 1
        wait_until(lambda: http.get("/readyz").status_code == 200, 300)
    assert wrong(served, mixed(served)) == []


def wait_until(true: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds:.0f} s"
        time.sleep(0.2)


def test_sigterm_lets_a_stream_end_and_leaves_nothing(served: Served) -> None:
    body = LONG | {"model": served.base, "max_tokens": 60}
    with served.http() as http, http.stream("POST", "/v1/completions", json=body) as answer:
        lines = (line[6:] for line in answer.iter_lines() if line.startswith("data: "))
        events = [next(lines)]
        running = served.gateway.below()
        served.gateway.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        with pytest.raises(httpx.TransportError):  # no new one
            httpx.get(f"{served.gateway.url}/healthz", timeout=5)
        events += lines
    assert len(running) >= 3
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "length"
    assert "13, 14, 15" in "".join(json.loads(one)["choices"][0]["text"] for one in events[:-1])
    assert served.gateway.process.wait(60) == 0
    assert served.gateway.left() == []


def test_a_killed_gateway_leaves_no_engine(bundles: Path, tmp_path: Path) -> None:
    words = [str(bundles / "first"), "--engine", "vllm", "serve.dtype=float32"]
    with cold(), Gateway(words, tmp_path / "log") as gateway:
        gateway.wait()
        for part in ("api_server", "EngineCore"):
            assert gateway.engine(part).is_running()
        gateway.process.kill()
        gateway.process.wait()
        assert gateway.left_after(15) == []
