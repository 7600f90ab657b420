"""The gateway over a real port and an engine in memory, whose faults can be provoked."""

import asyncio
import base64
import json
import logging
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest
from fakes import BASE, CHAT, TASK, FakeEngine, Served, deployment, gateway, in_loop, sha, until

from appkit.client import Client
from appkit.config import DataConfig
from appkit.errors import BundleError, DataError
from appkit.models.chat import Chat
from appkit.serving.engines.protocol import NULL, JobRefused
from appkit.serving.gateway.keys import add_key
from appkit.serving.gateway.registry import Alias
from appkit.serving.gateway.routes import tasks

ONE, TWO = (f"nl2fol@{sha(version)[:12]}" for version in ("one", "two"))
SECRET_TEXT = "Zanzibar's parrots whisper."


def error_of(answer: httpx.Response, status: int, code: str | None = None) -> str:
    """The message of an error, which has OpenAI's form and no more."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (type(error["message"]), type(error["type"])) == (str, str)
    assert code is None or error["code"] == code
    return error["message"]


async def events(answer: httpx.Response) -> AsyncIterator[Any]:
    """Server-sent events; the last is "[DONE]" if all went well."""
    async for line in answer.aiter_lines():
        if line:
            assert line.startswith("data: ")
            yield "[DONE]" if line == "data: [DONE]" else json.loads(line[6:])


def streaming(one: Served, **more: Any) -> Any:
    body = {"model": "nl2fol", "messages": [{"role": "user", "content": "Hi"}], "stream": True} | more
    return one.http.stream("POST", "/v1/chat/completions", json=body)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Any]:
    """A key file, the secret of an ordinary key and an admin's."""
    file = tmp_path / "keys.json"
    return {"keys": file, "secret": add_key(file, "user"), "admin": add_key(file, "operator", admin=True)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


# --- answers that need a scripted engine ------------------------------------------------------------------


@in_loop
async def test_usage_is_the_same_streamed_or_not(root: Path) -> None:
    async with gateway(root) as one:
        client = openai.AsyncOpenAI(base_url=f"{one.url}/v1", api_key="-", max_retries=0)
        for more in ({}, {"stop": ["none"]}, {"max_tokens": 2}, {"logprobs": True}, {"n": 3}):
            asked: Any = {"model": "nl2fol", "messages": [{"role": "user", "content": "Hi"}]} | more
            whole = (await client.chat.completions.create(**asked)).usage
            options = {"include_usage": True}
            stream = await client.chat.completions.create(**asked, stream=True, stream_options=options)
            chunks = [chunk async for chunk in stream]
            assert chunks[-1].usage == whole, more
            assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
            assert whole
            assert whole.completion_tokens == {"max_tokens": 2, "n": 15}.get(next(iter(more), ""), 5)
            assert whole.prompt_tokens == len(one.engine.asked[-1].tokens)


@in_loop
async def test_a_bundle_answers_as_it_was_evaluated_unless_told_otherwise(root: Path) -> None:
    async with gateway(root) as one:
        await one.ask()
        job = one.engine.asked.pop()
        assert (job.adapter, job.temperature, job.max_tokens, job.grammar) == (sha("one"), 0.0, 64, None)
        assert "Translate to first-order logic." in CHAT.decode(job.tokens)  # the bundle's instruction
        await one.ask(temperature=0.7, top_p=0.5, seed=3, max_tokens=9)
        job = one.engine.asked.pop()
        assert (job.temperature, job.top_p, job.seed, job.max_tokens) == (0.7, 0.5, 3, 9)
        await one.ask(max_completion_tokens=8)
        assert one.engine.asked.pop().max_tokens == 8
        await one.ask(model=BASE)
        job = one.engine.asked.pop()
        assert (job.adapter, job.max_tokens) == ("null", 256)
        assert "Translate" not in CHAT.decode(job.tokens)


@in_loop
async def test_several_answers_of_one_seed_are_several_draws(root: Path) -> None:
    async with gateway(root) as one:
        for model, n in (("nl2fol", 3), ("nl2fol", 3)):
            assert len((await one.ask(model=model, n=n, seed=7, temperature=1.0)).json()["choices"]) == n
        first, second = one.engine.asked[:3], one.engine.asked[3:]
        assert len({job.seed for job in first}) == 3
        assert sorted(job.seed for job in first) == sorted(job.seed for job in second)


@in_loop
async def test_stop_strings_end_the_answer_and_the_work(root: Path) -> None:
    async with gateway(root) as one:
        one.engine.answers[sha("one")] = "P(a) 🙂. Q(b). R(c)"
        choice = (await one.ask(stop=" Q")).json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("P(a) 🙂.", "stop")
        await one.engine.ended_early.get()
        async with streaming(one, stop=["🙂", "R"]) as answer:
            parts = [event async for event in events(answer)]
        assert parts[-1] == "[DONE]"
        assert "".join(part["choices"][0]["delta"].get("content", "") for part in parts[:-1]) == "P(a) "
        await one.engine.ended_early.get()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tools": [{"type": "function"}]}, "'tools' is not supported; leave it out"),
        ({"top_k": 5}, "'top_k' is not supported"),
        ({"temperature": 3}, "temperature: "),
        ({"temperature": "NaN"}, "temperature: "),
        ({"max_tokens": 0}, "max_tokens: "),
        ({"max_tokens": 600}, "the context has 512 tokens"),
        ({"max_tokens": 300}, "max_tokens is limited to 200 here (serve.max_tokens), got 300"),
        ({"n": 5}, "5 answers in one request, the limit is 4 (serve.max_batch)"),
        ({"stop": ["x"] * 17}, "at most 16 stop strings, got 17"),
        ({"logit_bias": {"5": 1}}, "'logit_bias' is not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"messages": []}, "messages: "),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: "),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x" * 600}]}, "the context has 512 tokens"),
        ({"model": "\ud800"}, "body: "),
        ({"\ud800": 1}, "body: "),
    ],
)
@in_loop
async def test_what_is_not_supported_is_refused_and_never_ignored(
    root: Path, more: dict[str, Any], message: str
) -> None:
    async with gateway(root, max_tokens=200, max_batch=4) as one:
        body = {"model": "nl2fol", "messages": [{"role": "user", "content": "Hi"}]} | more
        answer = await one.http.post(
            "/v1/chat/completions", content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert message in error_of(answer, 400)
        assert one.engine.asked == []


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt is empty"),
        ([], "prompt is empty"),
        ([[]], "prompt is empty"),
        ([5, -3], "a token id must be in 0..258, got -3"),
        ([5, 259, 7], "a token id must be in 0..258, got 259"),
        ([10**400], "a token id must be in 0..258"),
        ([[5], [999]], "got 999"),
        ([5, "a"], "prompt"),
        (None, "prompt"),
    ],
)
@in_loop
async def test_a_prompt_that_is_none_is_refused(root: Path, prompt: Any, message: str) -> None:
    async with gateway(root) as one:
        answer = await one.http.post("/v1/completions", json={"model": "nl2fol", "prompt": prompt})
        assert message in error_of(answer, 400)


# --- beside the answers -----------------------------------------------------------------------------------


@in_loop
async def test_the_base_answers_the_same_prompt_beside_the_adapter(root: Path, keys: dict[str, Any]) -> None:
    async with gateway(root, **keys) as one:
        one.engine.answers = {sha("one"): "P(one)", NULL: "Sure! Here it is."}
        asked = {"rows": ["Hi.", "Ho."]}
        adapter = (await one.http.post("/v1/tasks/nl2fol", json=asked)).json()
        base = (await one.http.post("/v1/tasks/nl2fol", json=asked | {"base": True})).json()
        assert (adapter["model"], base["model"]) == (ONE, BASE)
        assert [result["text"] for result in adapter["results"]] == ["P(one)"] * 2
        assert [result["text"] for result in base["results"]] == ["Sure! Here it is."] * 2
        assert base["results"][0]["parsed"] is None
        *adapters, first, second = one.engine.asked
        assert [job.tokens for job in adapters[-2:]] == [first.tokens, second.tokens]
        assert (first.adapter, first.stop) == (NULL, adapters[-1].stop)
        refused = await one.http.post("/v1/tasks/nl2fol", json=asked | {"base": True, "confidence": True})
        assert "calibrated for the adapter" in error_of(refused, 400)


@in_loop
async def test_a_task_is_described_with_what_a_card_shows(root: Path, keys: dict[str, Any]) -> None:
    async with gateway(root, **keys) as one:
        target = one.one.registry.versions[ONE]
        target.deployment.manifest["verdict"] = "the adapter is better than the base: strict +0.3."
        about = (await one.http.get("/v1/tasks/nl2fol")).json()
        assert about["verdict"] == "the adapter is better than the base: strict +0.3."
        assert about["base"] == {"name": BASE}
        assert about["licences"] == {"base": None, "train rows": "CC-BY-4.0"}  # test rows shaped no weight
        assert about["size"] == {"adapter_bytes": 4096, "base_parameters": 1000}
        assert about["measures"]["strict"] == {
            "description": TASK.metric("strict").description,
            "higher_is_better": True,
            "perfect": 1.0,
        }
        assert about["measures"]["BLEU"]["perfect"] == 100.0
        assert about["measures"]["undecided"]["higher_is_better"] is False
        assert about["measures"]["undecided"]["perfect"] is None
        seen = (await one.http.get("/v1/tasks/nl2fol/evidence")).json()
        assert seen["rows"] == {"train": 8, "dev": 2, "test": 2}
        assert {name: seen[name] for name in ("licences", "size", "measures")} == {
            name: about[name] for name in ("licences", "size", "measures")
        }
        # the directory of the trainer's machine is nobody's business
        assert (seen["manifest"]["base"]["name"], seen["manifest"]["base"]["id"]) == ("tiny", "tiny")
        assert "/home/ada" not in json.dumps([about, seen])


@in_loop
async def test_evidence_has_the_report_and_only_admins_see_rows(
    root: Path, keys: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / "bundle").mkdir(parents=True)
    (run / "bundle" / "report.md").write_text("# Report")
    for name, content in (
        ("run.json", b"{}"),
        ("audit.md", b"a row"),
        ("loss.png", b"PNG"),
        ("huge.png", bytes(2_000_001)),
    ):
        (run / name).write_bytes(content)
    async with gateway(root, **keys) as one:
        target = one.one.registry.versions[ONE]
        target.deployment = replace(target.deployment, path=run / "bundle")
        seen = (await one.http.get("/v1/tasks/nl2fol/evidence")).json()
        assert (seen["model"], seen["report"], seen["audit"]) == (ONE, "# Report", None)
        assert seen["pictures"] == {"loss": base64.b64encode(b"PNG").decode()}
        assert seen["certificate"] == {"made_at": "today", "sealed": True}
        assert str(tmp_path) not in json.dumps(seen)
        assert (await one.admin.get("/v1/tasks/nl2fol/evidence")).json()["audit"] == "a row"
        target.deployment = replace(target.deployment, path=tmp_path / "moved")
        alone = (await one.http.get("/v1/tasks/nl2fol/evidence")).json()
        assert (alone["report"], alone["pictures"]) == (None, {})


# --- versions come and go while requests are under way ----------------------------------------------------


@in_loop
async def test_requests_finish_on_the_version_they_began_with(root: Path, keys: dict[str, Any]) -> None:
    async with gateway(root, **keys) as one:
        one.engine.answers = {sha("one"): "P(one)", sha("two"): "P(two)"}
        one.place("B", deployment(version="two"))
        assert (await one.add("B")).json()["bundle"] == TWO
        one.engine.flow.clear()
        begun = [asyncio.create_task(one.ask()) for _ in range(2)]
        begun.append(asyncio.create_task(one.http.post("/v1/tasks/nl2fol", json={"rows": ["Hi."]})))
        for _ in begun:
            await one.engine.begun.get()
        moved = await one.admin.put("/v1/aliases/nl2fol", json={"bundle": TWO})
        assert moved.json() == {"current": TWO, "canary": None, "share": 0.0, "previous": ONE}
        removal = asyncio.create_task(one.admin.delete(f"/v1/bundles/{ONE}"))
        await until(lambda: ONE not in one.one.registry.versions)
        late = asyncio.create_task(one.ask())
        await one.engine.begun.get()
        assert sha("one") in one.engine.adapters  # it is still needed
        one.engine.flow.set()
        answers = [(await task).json() for task in begun]
        assert {answer["model"] for answer in answers} == {ONE}
        assert answers[0]["choices"][0]["message"]["content"] == "P(one)"
        assert answers[2]["results"][0]["text"] == "P(one)"
        assert (await removal).json()["bundle"] == ONE
        assert (await late).json()["model"] == TWO
        assert set(one.engine.adapters) == {sha("two")}
        error_of(await one.ask(model=ONE), 404, "model_not_found")


@in_loop
async def test_a_request_whose_prompt_is_still_read_keeps_its_version(
    root: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(root, **keys) as one:
        one.place("B", deployment(version="two"))
        await one.add("B", "nl2fol")
        reading, go_on = threading.Event(), threading.Event()
        prompt = type(CHAT).prompt

        def slow(*arguments: Any) -> list[int]:
            reading.set()
            assert go_on.wait(20)
            return prompt(*arguments)

        monkeypatch.setattr(type(CHAT), "prompt", slow)
        request = asyncio.create_task(one.http.post(f"/v1/tasks/{ONE}", json={"rows": ["Hi."]}))
        await asyncio.to_thread(reading.wait, 20)
        removal = asyncio.create_task(one.admin.delete(f"/v1/bundles/{ONE}"))
        await until(lambda: ONE not in one.one.registry.versions)
        go_on.set()
        answer = await request
        assert answer.status_code == 200, answer.text
        assert (await removal).status_code == 200


@in_loop
async def test_a_label_request_whose_rows_are_still_read_keeps_its_version(
    root: Path, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def question(row: Any, wishes: Any) -> Any:
        raise DataError("it got as far as its windows")

    async with gateway(root, **keys) as one:
        one.place("B", deployment(version="two"))
        await one.add("B", "nl2fol")
        target = one.one.registry.versions[ONE]
        assert target.deployment is not None
        head = SimpleNamespace(task=TASK, question=question, refusal=lambda wishes, ref: None)
        target.deployment = replace(target.deployment, head=head)
        reading, go_on, rows = threading.Event(), threading.Event(), tasks._read_rows

        def slow(*given: Any) -> list[Any]:
            reading.set()
            assert go_on.wait(20)
            return rows(*given)

        monkeypatch.setattr(tasks, "_read_rows", slow)
        request = asyncio.create_task(one.http.post(f"/v1/tasks/{ONE}", json={"rows": ["Hi."]}))
        await asyncio.to_thread(reading.wait, 20)
        removal = asyncio.create_task(one.admin.delete(f"/v1/bundles/{ONE}"))
        await until(lambda: ONE not in one.one.registry.versions)
        done, _ = await asyncio.wait([removal], timeout=0.3)
        assert not done
        go_on.set()
        assert "as far as its windows" in error_of(await request, 422)
        assert (await removal).status_code == 200


@in_loop
async def test_a_canary_is_asked_by_its_share_and_withdrawn_by_one_call(
    root: Path, keys: dict[str, Any]
) -> None:
    async with gateway(root, **keys) as one:
        one.place("B", deployment(version="two"))
        await one.add("B")
        put = await one.admin.put("/v1/aliases/nl2fol", json={"bundle": TWO, "share": 0.5})
        assert put.json() == {"current": ONE, "canary": TWO, "share": 0.5, "previous": None}
        seen = {(await one.ask()).json()["model"] for _ in range(40)}
        assert seen == {ONE, TWO}
        assert (await one.admin.post("/v1/aliases/nl2fol/rollback")).json()["canary"] is None
        assert {(await one.ask()).json()["model"] for _ in range(10)} == {ONE}
        error_of(await one.admin.post("/v1/aliases/nl2fol/rollback"), 409)
        error_of(await one.admin.put("/v1/aliases/nl2fol", json={"bundle": TWO, "share": 0}), 400)
        error_of(await one.admin.put("/v1/aliases/new", json={"bundle": TWO, "share": 0.5}), 409)
        error_of(await one.admin.put("/v1/aliases/nl2fol", json={"bundle": "nl2fol@ffffffff"}), 404)
        assert (await one.admin.delete("/v1/aliases/nl2fol")).json() == {"deleted": "nl2fol"}
        error_of(await one.ask(), 404)


@in_loop
async def test_what_cannot_be_added_is_told_and_changes_nothing(root: Path, keys: dict[str, Any]) -> None:
    async with gateway(root, **keys, max_bundles=2) as one:
        one.place("unsound", BundleError("it was changed after it was written"))  # type: ignore[arg-type]
        assert "was changed" in error_of(await one.add("unsound"), 422)
        one.place("other", deployment(version="x", base="other-base"))
        assert "no weights of other-base" in error_of(await one.add("other"), 502)
        one.place("torn", deployment(version="torn"))
        one.engine.refuses[Path("store/torn")] = JobRefused("rank 512")
        assert "is refused by the engine: rank 512" in error_of(await one.add("torn"), 422)
        one.place("B", deployment(version="two"))
        error_of(await one.add("B", BASE), 409)
        error_of(await one.add("B", "a/b"), 409)
        assert (await one.add("B")).status_code == 201
        one.place("C", deployment(version="three"))
        assert "serve.max_bundles" in error_of(await one.add("C"), 409)
        listed = (await one.admin.get("/v1/bundles")).json()
        assert [bundle["bundle"] for bundle in listed["bundles"]] == [ONE, TWO]
        assert one.one.registry.aliases == {"nl2fol": Alias(ONE)}


@in_loop
async def test_a_bundle_that_was_refused_and_is_mended_is_not_called_refused_any_more(
    root: Path, keys: dict[str, Any]
) -> None:
    async with gateway(root, **keys) as one:
        one.place("B", deployment(version="two"))
        one.one.refused[str(root / "B")] = "it has no certificate"  # as the start notes it
        one.one.refused[str(root / "C")] = "it has none either"
        await one.add("B")
        assert (await one.admin.get("/v1/bundles")).json()["refused"] == {
            str(root / "C"): "it has none either"
        }


ATTACKS = [
    "..", "../A", "A/..", "A/../A", "./A", "/etc", "//A", "A/", "/", ".", "", "~", "~root", ".hidden", "A\0", "A\n",
    "%2e%2e", "%2e%2e/A", "..%2fA", "..\\A", "A\\..", "C:\\A", "file:///etc", "link", "link/inner", "inner/link",
    "Ａ", "‥", "A\u202e", "ä", "a" * 200, "/".join(["A"] * 300), "nothing", "file",
]  # fmt: skip


@in_loop
async def test_a_bundles_path_cannot_leave_the_root(root: Path, tmp_path: Path, keys: dict[str, Any]) -> None:
    async with gateway(root, **keys) as one:
        outside = tmp_path / "outside"
        (outside / "inner").mkdir(parents=True)
        (outside / "appkit.json").write_text("{}")
        (outside / "inner" / "appkit.json").write_text("{}")
        (root / "link").symlink_to(outside)
        (root / "inner").mkdir()
        (root / "inner" / "link").symlink_to(outside)
        (root / "file").write_text("no directory")
        for path in ATTACKS:
            one.bundles[path] = deployment(version=path or "none")  # whatever gets through is served
            message = error_of(await one.add(path), 400 if not path or len(path) > 512 else 422)
            assert str(tmp_path) not in message, path
            assert "link" not in path or "leads over a link, which is not followed" in message, path
        assert list(one.one.registry.versions) == [ONE]
        for body in ({"path": 5}, {"path": ["A"]}, {}, {"path": "A", "force": True}, [], "A"):
            error_of(await one.admin.post("/v1/bundles", json=body), 400)


# --- keys -------------------------------------------------------------------------------------------------

CHATTED = [{"role": "user", "content": "Hi"}]
ROUTES = [
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/{name}", None),
    ("POST", "/v1/chat/completions", {"model": "{name}", "messages": CHATTED}),
    ("POST", "/v1/chat/completions", {"model": "{name}", "messages": CHATTED, "stream": True}),
    ("POST", "/v1/completions", {"model": "{name}", "prompt": "Hi"}),
    ("GET", "/v1/tasks", None),
    ("GET", "/v1/tasks/{name}", None),
    ("POST", "/v1/tasks/{name}", {"rows": ["Hi."]}),
    ("GET", "/v1/tasks/{name}/evidence", None),
    ("POST", "/v1/tasks/{name}/tools/check", {"formula": "P(a)"}),
    ("GET", "/metrics", None),
]  # fmt: skip
ADMIN_ROUTES = [
    ("GET", "/v1/bundles", None),
    ("POST", "/v1/bundles", {"path": "A"}),
    ("DELETE", "/v1/bundles/{name}", None),
    ("PUT", "/v1/aliases/{name}", {"bundle": ONE}),
    ("POST", "/v1/aliases/{name}/rollback", None),
    ("DELETE", "/v1/aliases/{name}", None),
]


def named(name: str, route: tuple[str, str, Any]) -> dict[str, Any]:
    method, path, body = route
    body = body and {key: name if value == "{name}" else value for key, value in body.items()}
    return {"method": method, "url": path.replace("{name}", name), "json": body}


@in_loop
async def test_without_a_known_key_nothing_is_told(root: Path, keys: dict[str, Any]) -> None:
    async with gateway(root, **keys | {"secret": None}) as one:
        for route in ROUTES + ADMIN_ROUTES:
            for header in (None, "Bearer", "Bearer ak-wrong", f"Basic {keys['secret']}", keys["secret"]):
                headers = {"Authorization": header} if header else {}
                answer = await one.http.request(**named("nl2fol", route), headers=headers)
                error_of(answer, 401, "invalid_api_key")
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert (await one.http.get("/healthz")).json() == {"status": "ok"}
        assert one.engine.asked == []


@in_loop
async def test_an_ordinary_key_is_no_admins_nor_is_the_lack_of_keys(root: Path, keys: dict[str, Any]) -> None:
    for given in (keys, {}):
        async with gateway(root, **given) as one:
            for route in ADMIN_ROUTES:
                assert "needs an admin key" in error_of(await one.http.request(**named("nl2fol", route)), 403)
            assert list(one.one.registry.versions) == [ONE]


@in_loop
async def test_a_key_of_some_aliases_sees_no_others(root: Path, keys: dict[str, Any]) -> None:
    limited = add_key(keys["keys"], "limited", aliases=["mine"])
    async with gateway(root, **keys | {"secret": limited}) as one:
        await one.add("A", "mine")
        for route in ROUTES:
            for name in ("nl2fol", ONE, f"nl2fol@{sha('one')}", BASE, "nothing"):
                answer = await one.http.request(**named(name, route))
                if "{name}" in str(route):
                    wanted = f"no model {name!r} for the key 'limited'; GET /v1/models lists its own"
                    assert error_of(answer, 404) == wanted
                else:  # what lists names lists its own
                    assert "nl2fol@" not in answer.text, route
                    assert BASE not in answer.text, route
            answer = await one.http.request(**named("mine", route))
            assert answer.status_code == 200 or route[1] == "/metrics", (route, answer.text)
        assert [model["id"] for model in (await one.http.get("/v1/models")).json()["data"]] == ["mine"]
        assert [task["alias"] for task in (await one.http.get("/v1/tasks")).json()["tasks"]] == ["mine"]


@in_loop
async def test_a_keys_rate_is_told_with_the_time_to_wait(root: Path, keys: dict[str, Any]) -> None:
    slow = add_key(keys["keys"], "slow", per_minute=2)
    async with gateway(root, **keys | {"secret": slow}) as one:
        assert [(await one.ask()).status_code for _ in range(2)] == [200, 200]
        answer = await one.ask()
        assert "key 'slow' may send 2 requests a minute" in error_of(answer, 429, "rate_limit_exceeded")
        assert 20 <= int(answer.headers["Retry-After"]) <= 30
        assert (await one.admin.get("/v1/models")).status_code == 200


@in_loop
async def test_a_revoked_key_is_out_at_once(root: Path, keys: dict[str, Any]) -> None:
    async with gateway(root, **keys) as one:
        assert (await one.ask()).status_code == 200
        kept = json.loads(keys["keys"].read_text())
        kept["keys"] = [key for key in kept["keys"] if key["name"] != "user"]
        new = keys["keys"].with_suffix(".new")
        new.write_text(json.dumps(kept))
        new.replace(keys["keys"])
        error_of(await one.ask(), 401)


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200), ("localhost", 200), ("[::1]:{port}", 200), ("[::1]", 200), ("LocalHost:1", 200),
        ("evil.example", 403), ("evil.example:{port}", 403), ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403), ("0.0.0.0:{port}", 403), ("192.168.0.1", 403), ("[::1].evil", 403),
    ],
)  # fmt: skip
@in_loop
async def test_another_name_that_points_here_is_not_answered(root: Path, host: str, status: int) -> None:
    async with gateway(root) as one:
        host = host.format(port=one.url.rpartition(":")[2])
        assert (await one.http.get("/v1/models", headers={"Host": host})).status_code == status


@in_loop
async def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(root: Path) -> None:
    async with gateway(root, max_body=2000) as one:
        body = {"model": "nl2fol", "messages": [{"role": "user", "content": "x" * 3000}]}
        text = json.dumps(body).encode()
        read = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal read
            for start in range(0, len(text), 100):
                read += 1
                yield text[start : start + 100]

        headers = {"Content-Type": "application/json"}
        for path in ("/v1/chat/completions", "/v1/tasks/nl2fol"):
            for content in (text, chunks()):
                answer = await one.http.post(path, content=content, headers=headers)
                assert "a request may have 2,000 bytes (serve.max_body)" in error_of(answer, 413)
        assert one.engine.asked == []
        assert (await one.ask()).status_code == 200


@in_loop
async def test_what_takes_too_long_is_ended_and_told(root: Path) -> None:
    async with gateway(root, timeout_s=0.2) as one:
        one.engine.flow.clear()
        asked = [one.ask(), one.http.post("/v1/tasks/nl2fol", json={"rows": ["Hi."]}), one.ask(stream=True)]
        for request in asked:
            assert "serve.timeout_s" in error_of(await request, 504)
            await one.engine.ended_early.get()
        one.engine.flow.set()
        assert (await one.ask()).status_code == 200
        assert next(iter(one.one.pool.engines.values())).running == 0


@in_loop
async def test_a_stream_that_takes_too_long_ends_with_an_error_event(root: Path) -> None:
    async with gateway(root, timeout_s=0.5) as one:
        one.engine.free = 1
        one.engine.flow.clear()
        async with streaming(one) as answer:
            found = [event async for event in events(answer)]
        assert "serve.timeout_s" in found[-1]["error"]["message"]
        assert "choices" in found[0]
        await one.engine.ended_early.get()


@in_loop
async def test_a_full_queue_says_when_to_come_again(root: Path) -> None:
    async with gateway(root, max_queue=3) as one:
        one.engine.flow.clear()
        running = asyncio.create_task(one.ask(n=2))
        await one.engine.begun.get()
        for refused in (one.ask(n=2), one.http.post("/v1/tasks/nl2fol", json={"rows": ["a", "b"]})):
            answer = await refused
            assert "serve.max_queue" in error_of(answer, 429, "queue_full")
            assert int(answer.headers["Retry-After"]) >= 1
        assert "serve.max_queue" in error_of(await one.ask(n=2, stream=True), 429)
        one.engine.flow.set()
        assert (await running).status_code == 200
        assert (await one.ask(n=3)).status_code == 200
        too_many = await one.http.post("/v1/tasks/nl2fol", json={"rows": ["a"] * 65})
        assert "65 rows in one request, the limit is 64 (serve.max_batch)" in error_of(too_many, 400)


CHATTER = [{"role": ("user", "assistant")[n % 2], "content": f"turn {n}"} for n in range(999)]


@in_loop
async def test_a_prompt_that_would_hold_the_engine_for_long_is_refused_at_once(root: Path) -> None:
    async with gateway(root) as one:
        one.engine.max_length = 100_000
        asked: dict[str, Any] = {"model": "nl2fol", "messages": CHATTER}
        for more in ({}, {"max_tokens": 1}, {"stream": True}, {"model": "tiny-base"}):
            answer = await one.http.post("/v1/chat/completions", json=asked | more)
            message = error_of(answer, 413, "context_length_exceeded")
            assert (
                "a prompt and its answer may have 4096 tokens here (serve.max_context); the prompt has"
                in message
            )
        for path, body in (
            ("completions", {"model": "nl2fol", "prompt": [5] * 4096}),
            ("completions", {"model": "nl2fol", "prompt": [[5], [5] * 4000], "max_tokens": 97}),
            ("tasks/nl2fol", {"rows": ["Hi.", "é" * 4000]}),
        ):
            assert "serve.max_context" in error_of(await one.http.post(f"/v1/{path}", json=body), 413)
        assert one.engine.asked == []
        # what is left of it is the answer's, as at the end of the context
        body = {"model": "nl2fol", "prompt": [5] * 4090}
        assert (await one.http.post("/v1/completions", json=body)).status_code == 200
        assert one.engine.asked.pop().max_tokens == 6
    async with gateway(root, max_context=100_000) as one:
        one.engine.max_length = 100_000
        assert (await one.http.post("/v1/chat/completions", json=asked)).status_code == 200


@in_loop
async def test_prompts_are_counted_before_any_is_tokenized(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(root) as one:
        monkeypatch.setattr(Chat, "ids", lambda *_: pytest.fail("a prompt was tokenized"))
        for prompt, choices in ((["a"] * 20_000, 64), (["a"] * 300, 1), (["a"] * 2, 64), ([[5]] * 300, 1)):
            body = {"model": "nl2fol", "prompt": prompt, "max_tokens": 1, "n": choices}
            assert "serve.max_batch" in error_of(await one.http.post("/v1/completions", json=body), 400)


@in_loop
async def test_the_work_of_one_request_is_bounded_over_all_its_parts(root: Path) -> None:
    async with gateway(root, max_work=1000) as one:
        prompt = [5] * 100
        fitting: list[tuple[str, dict[str, Any]]] = [
            ("completions", {"model": "nl2fol", "prompt": prompt, "max_tokens": 100, "n": 5}),
            ("completions", {"model": "nl2fol", "prompt": [prompt] * 5, "max_tokens": 100}),
            ("tasks/nl2fol", {"rows": ["Hi."]}),
        ]
        for path, body in fitting:
            assert (await one.http.post(f"/v1/{path}", json=body)).status_code == 200, body
        one.engine.asked.clear()
        too_large: list[tuple[str, dict[str, Any]]] = [
            ("completions", fitting[0][1] | {"n": 6}),
            ("completions", fitting[0][1] | {"max_tokens": 101}),
            ("completions", fitting[1][1] | {"prompt": [prompt] * 4 + [[*prompt, 5]]}),
            ("completions", fitting[1][1] | {"n": 2}),
            ("completions", fitting[1][1] | {"n": 2, "stream": True}),
            ("chat/completions", {"model": "nl2fol", "messages": CHATTER[:1], "n": 30}),
            ("tasks/nl2fol", {"rows": ["Hi."] * 60}),
            ("tasks/nl2fol", {"rows": ["Hi."] * 60, "base": True}),
            ("tasks/nl2fol", {"rows": ["Hi."] * 60, "stream": True}),
        ]
        for path, body in too_large:
            message = error_of(await one.http.post(f"/v1/{path}", json=body), 413)
            assert "the limit is 1000 (serve.max_work); send it in parts" in message
        assert one.engine.asked == []
        with Client(one.url) as client:  # which does so itself
            rows = [f"Dog {number} barks." for number in range(40)]
            answers = await asyncio.to_thread(client.task, "nl2fol", rows)
        assert len(answers) == len(one.engine.asked) == 40
        assert {answer.text for answer in answers} == {"P(a)"}


@in_loop
async def test_as_many_rows_as_a_request_may_have_fit_into_its_work(root: Path) -> None:
    """Of the length that rows have by default, prompt and answer together."""
    async with gateway(root) as one:
        assert one.one.settings.max_work >= one.one.settings.max_batch * DataConfig().max_length
        answer = await one.http.post("/v1/tasks/nl2fol", json={"rows": ["Every dog barks."] * 64})
        assert answer.status_code == 200


# --- clients and engines that go away ---------------------------------------------------------------------


@pytest.mark.parametrize("route", ["chat", "rows"])
@in_loop
async def test_the_work_for_a_client_that_hangs_up_ends(root: Path, route: str) -> None:
    async with gateway(root) as one:
        one.engine.flow.clear()
        request = asyncio.create_task(
            one.ask(n=2)
            if route == "chat"
            else one.http.post("/v1/tasks/nl2fol", json={"rows": ["Hi.", "Ho."]})
        )
        for _ in range(2):
            await one.engine.begun.get()
        request.cancel()  # which closes the connection
        for _ in range(2):
            await one.engine.ended_early.get()
        await until(lambda: not next(iter(one.one.pool.engines.values())).running)
        await until(lambda: not one.one.registry.versions[ONE].running)


@pytest.mark.parametrize("route", ["chat", "rows"])
@pytest.mark.parametrize("first", [True, False], ids=["in the middle", "before the first token"])
@in_loop
async def test_the_work_for_a_stream_that_nobody_reads_ends(root: Path, route: str, first: bool) -> None:
    async with gateway(root) as one:
        body = {"rows": ["Hi.", "Ho."], "stream": True}
        stream = (
            streaming(one, n=2) if route == "chat" else one.http.stream("POST", "/v1/tasks/nl2fol", json=body)
        )
        one.engine.free = int(first)
        one.engine.flow.clear()

        async def read() -> None:
            async with stream as answer:
                await anext(answer.aiter_lines())

        request = asyncio.create_task(read())
        for _ in range(2):
            await one.engine.begun.get()
        if first:
            await request
        request.cancel()
        for _ in range(2):
            await one.engine.ended_early.get()
        await until(lambda: not next(iter(one.one.pool.engines.values())).running)
        await until(lambda: not one.one.registry.versions[ONE].running)


@in_loop
async def test_an_engine_that_dies_is_told_in_the_stream_and_comes_back(
    root: Path, keys: dict[str, Any]
) -> None:
    async with gateway(root, **keys) as one:
        one.place("B", deployment(version="two"))
        await one.add("B")
        client = openai.AsyncOpenAI(base_url=f"{one.url}/v1", api_key=keys["secret"], max_retries=0)
        one.engine.free = 1
        one.engine.flow.clear()
        stream = await client.chat.completions.create(
            model="nl2fol", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        whole = asyncio.create_task(one.ask(model=TWO))
        for _ in range(2):
            await one.engine.begun.get()
        first = await anext(stream)
        assert first.choices[0].delta.content == "P"
        one.engine.end()
        with pytest.raises(openai.APIError, match="engine"):
            async for _ in stream:
                pass
        answer = await whole
        error_of(answer, 503, "engine_restarting")
        assert answer.headers["Retry-After"]
        one.engine.flow.set()
        supervisor = next(iter(one.one.pool.engines.values()))
        await until(lambda: supervisor.restarts == 1)
        assert {(await one.ask(model=model)).json()["model"] for model in (ONE, TWO)} == {ONE, TWO}
        assert "appkit_engine_restarts" in (await one.http.get("/metrics")).text


@in_loop
async def test_a_dead_engine_in_the_middle_of_a_stream_is_an_event_in_openais_form(root: Path) -> None:
    async with gateway(root) as one:
        one.engine.free = 1
        one.engine.flow.clear()
        found = []
        async with streaming(one) as answer:
            async for event in events(answer):
                found.append(event)
                one.engine.end()
        assert len(found) == 2
        assert found[-1]["error"].keys() == {"message", "type", "param", "code"}
        assert found[-1]["error"]["type"] == "server_error"
        assert all("choices" in event for event in found[:-1])


@in_loop
async def test_while_an_engine_comes_back_requests_are_told_to_wait(root: Path) -> None:
    async with gateway(root) as one:
        one.engine.fails = [OSError("no memory")] * 10_000
        one.engine.end()
        await until(lambda: not one.one.ready)
        answer = await one.ask()
        error_of(answer, 503, "engine_restarting")
        assert int(answer.headers["Retry-After"]) >= 1
        assert (await one.http.get("/readyz")).status_code == 503
        assert (await one.http.get("/healthz")).status_code == 200
        one.engine.fails = []
        await until(lambda: one.one.ready)
        assert (await one.http.get("/readyz")).json()["status"] == "ready"
        assert (await one.ask()).status_code == 200


# --- what is told, logged and counted ---------------------------------------------------------------------

INTERNAL = "/srv/private/weights.bin: secret 0x5ca1ab1e"


@pytest.mark.parametrize("kind", [ValueError, KeyError, OSError, AssertionError])
@in_loop
async def test_a_bug_tells_nothing_of_itself_but_to_the_log(
    root: Path, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(root) as one:
        for request in (
            lambda: one.ask(),
            lambda: one.ask(stream=True),
            lambda: one.ask(stop="x"),
            lambda: one.http.post("/v1/tasks/nl2fol", json={"rows": ["Hi."]}),
            lambda: one.http.post("/v1/tasks/nl2fol", json={"rows": ["Hi."], "stream": True}),
        ):
            caplog.clear()
            one.engine.fault = kind(INTERNAL)
            answer = await request()
            message = error_of(answer, 500)
            assert re.fullmatch(r"internal error; request [0-9a-f]{12}", message)
            assert answer.headers["x-request-id"] in message
            for hidden in ("srv", "5ca1ab1e", "Traceback", "Error"):
                assert hidden not in answer.text
            assert INTERNAL in caplog.text
            assert answer.headers["x-request-id"] in caplog.text
        assert (await one.ask()).status_code == 200


@in_loop
async def test_a_bug_in_the_middle_of_a_stream_tells_nothing_either(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(root) as one:
        flows, seen = one.engine._flows, []

        async def breaks(self: FakeEngine) -> None:
            seen.append(1)
            if len(seen) == 3:
                raise ValueError(INTERNAL)
            await flows()

        monkeypatch.setattr(FakeEngine, "_flows", breaks)
        async with streaming(one) as answer:
            found = [event async for event in events(answer)]
        assert found[-1]["error"]["type"] == "server_error"
        assert "5ca1ab1e" not in str(found)
        assert INTERNAL in caplog.text


@in_loop
async def test_unknown_routes_and_methods_have_openais_form_too(root: Path) -> None:
    async with gateway(root) as one:
        error_of(await one.http.get("/v2/nothing"), 404)
        error_of(await one.http.get("/"), 404)
        answer = await one.http.get("/v1/chat/completions")
        error_of(answer, 405)
        assert answer.headers["Allow"] == "POST"
        answer = await one.http.post(
            "/v1/chat/completions", content=b"{", headers={"Content-Type": "application/json"}
        )
        assert "JSON" in error_of(answer, 400)
        for content in (
            b"",
            b"null",
            b"[]",
            b"5",
            b'{"model": ' + b"9" * 5000 + b"}",
            b"\xff",
            b"[" * 100_000,
        ):
            answer = await one.http.post(
                "/v1/chat/completions", content=content, headers={"Content-Type": "application/json"}
            )
            error_of(answer, 400)


@pytest.mark.parametrize("told", [False, True])
@in_loop
async def test_the_log_holds_texts_only_if_the_operator_asked_for_it(
    root: Path, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "appkit")
    async with gateway(root, log_prompts=told) as one:
        one.engine.answers[sha("one")] = "Whisper(zanzibar)"
        assert (await one.ask(SECRET_TEXT)).status_code == 200
        await one.ask(SECRET_TEXT, stream=True)
        await one.http.post("/v1/completions", json={"model": "nl2fol", "prompt": SECRET_TEXT})
        await one.http.post("/v1/tasks/nl2fol", json={"rows": [SECRET_TEXT]})
        await one.http.post("/v1/tasks/nl2fol", json={"rows": [SECRET_TEXT], "stream": True})
        texts = caplog.text.count("Zanzibar"), caplog.text.count("Whisper(zanzibar)")
        assert texts == ((5, 5) if told else (0, 0))
        await one.http.post("/v1/tasks/nl2fol", json={"rows": [{"sentence": 5, SECRET_TEXT: 1}]})
        await one.http.post("/v1/tasks/nl2fol/tools/check", json={"formula": SECRET_TEXT})
        await one.http.post("/v1/chat/completions", json={"model": SECRET_TEXT, SECRET_TEXT: 1})
        await one.http.get(f"/v1/models/{SECRET_TEXT}")
        assert caplog.text.count("Zanzibar") == texts[0]
        assert "key=open" in caplog.text
        assert f"bundle={ONE}" in caplog.text


def value_of(metrics: str, name: str, **labels: str) -> float:
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    for line in metrics.splitlines():
        found = re.fullmatch(rf"{name}\{{(.*)\}} (\S+)", line)
        if found and wanted <= set(found[1].split(",")):
            return float(found[2])
    return 0.0


@in_loop
async def test_metrics_count_what_happens(root: Path) -> None:
    async with gateway(root, max_queue=2) as one:

        async def metrics() -> str:
            return (await one.http.get("/metrics")).text

        route = {"route": "/v1/chat/completions"}
        assert value_of(await metrics(), "appkit_requests_total", **route) == 0
        await one.ask()
        await one.ask(stream=True)
        await one.ask(model="nothing")
        after = await metrics()
        assert value_of(after, "appkit_requests_total", **route, bundle=ONE, status="200") == 2
        assert value_of(after, "appkit_requests_total", **route, bundle="", status="404") == 1
        assert value_of(after, "appkit_tokens_total", bundle=ONE, kind="answer") == 10
        read = sum(len(job.tokens) for job in one.engine.asked)
        assert value_of(after, "appkit_tokens_total", bundle=ONE, kind="prompt") == read
        assert value_of(after, "appkit_request_seconds_count", bundle=ONE) == 2
        assert value_of(after, "appkit_first_text_seconds_count", bundle=ONE) == 1
        assert value_of(after, "appkit_engine_ready", engine="fake") == 1
        one.engine.flow.clear()
        running = asyncio.create_task(one.ask())
        await until(lambda: len(one.engine.asked) == 3)
        assert value_of(await metrics(), "appkit_engine_queue", engine="fake") == 1
        one.engine.flow.set()
        await running
        assert value_of(await metrics(), "appkit_engine_queue", engine="fake") == 0
        await one.http.get("/v1/nothing/" + "x" * 50)
        assert "xxxxx" not in await metrics()  # no label grows with what strangers send


# --- typed tasks ------------------------------------------------------------------------------------------


@in_loop
async def test_rows_are_parsed_or_say_why_not(root: Path) -> None:
    async with gateway(root) as one:
        for text, parsed in (
            ("∀x (Dog(x) → Barks(x))", True),
            ("no formula ((", False),
            ("P(a)\nQ(b)", True),
        ):
            one.engine.answers[sha("one")] = text
            answer = await one.http.post("/v1/tasks/nl2fol", json={"rows": ["Hi.", {"sentence": "Ho."}]})
            for result in answer.json()["results"]:
                assert (result["parsed"] is not None) is parsed, result
                assert (result["error"] is None) is parsed
        one.engine.answers[sha("one")] = " ∧ ".join(f"P{number}(a)" for number in range(30))
        (result,) = (await one.http.post("/v1/tasks/nl2fol", json={"rows": ["Hi."]})).json()["results"]
        assert result["truncated"] is True
        assert result["tokens"] == 64


@in_loop
async def test_a_stream_of_rows_gives_the_same_results(root: Path) -> None:
    async with gateway(root) as one:
        rows = {"rows": ["Hi.", "Ho.", "He."]}
        whole = (await one.http.post("/v1/tasks/nl2fol", json=rows)).json()
        async with one.http.stream("POST", "/v1/tasks/nl2fol", json=rows | {"stream": True}) as answer:
            found = [event async for event in events(answer)]
        assert found.pop() == "[DONE]"
        results = {event["row"]: event["result"] for event in found if "result" in event}
        assert [results[row] for row in range(3)] == whole["results"]
        for row in range(3):
            parts = [event["delta"] for event in found if event["row"] == row and "delta" in event]
            assert "".join(parts) == "P(a)"


@in_loop
async def test_a_text_with_a_line_separator_streams_whole(root: Path) -> None:
    """To str.splitlines, and to httpx, a line ends at U+2028 too."""
    async with gateway(root) as one:
        one.engine.answers[sha("one")] = text = "P\u2028Q\u2029R\u0085S"
        async with one.http.stream(
            "POST", "/v1/tasks/nl2fol", json={"rows": ["Hi."], "stream": True}
        ) as answer:
            *parts, last, _ = [event async for event in events(answer)]
        assert "".join(part["delta"] for part in parts) == last["result"]["text"] == text


CALIBRATION = {
    "intercept": 3.0, "slope": 1.0, "not_whole": 0.125, "metric": "strict", "n": 40, "right": 0.5, "auroc": 0.9,
    "brier": 0.1, "ece": 0.1, "ece_noise": 0.1, "bins": [],
}  # fmt: skip


@in_loop
async def test_confidence_is_given_where_it_was_calibrated_and_refused_elsewhere(
    root: Path, keys: dict[str, Any]
) -> None:
    async with gateway(root, **keys) as one:
        one.place("B", deployment(version="two", confidence=CALIBRATION))
        await one.add("B", "sure")

        async def ask(alias: str, **more: Any) -> httpx.Response:
            return await one.http.post(f"/v1/tasks/{alias}", json={"rows": ["Hi."]} | more)

        for more in ({"confidence": True}, {"threshold": 0.5}, {"confidence": True, "stream": True}):
            assert "has no calibrated confidence" in error_of(await ask("nl2fol", **more), 400)
        (result,) = (await ask("sure", confidence=True)).json()["results"]
        assert result["confidence"] == pytest.approx(1 / (1 + 2.718281828 ** -(3 - 5 * 0.5)))
        assert (result["abstained"], result["parsed"] is not None) == (False, True)
        (result,) = (await ask("sure", threshold=0.9)).json()["results"]
        assert (result["abstained"], result["parsed"], result["text"]) == (True, None, "P(a)")
        (result,) = (await ask("sure", threshold=0.1)).json()["results"]
        assert (result["abstained"], result["parsed"] is not None) == (False, True)
        one.engine.answers[sha("two")] = "no formula (("
        (result,) = (await ask("sure", confidence=True)).json()["results"]
        assert result["confidence"] == 0.125
        for wrong in (-0.1, 1.1, "x"):
            error_of(await ask("sure", threshold=wrong), 422)
        assert (await ask("sure")).json()["results"][0]["confidence"] is None
        assert (await one.http.get("/v1/tasks/sure")).json()["confidence"]["auroc"] == 0.9


@in_loop
async def test_constrain_hands_the_grammar_to_the_engine(root: Path, keys: dict[str, Any]) -> None:
    async with gateway(root, **keys) as one:
        one.place("B", deployment(version="two", grammar=None))
        await one.add("B", "free")
        await one.http.post("/v1/tasks/nl2fol", json={"rows": ["Hi."], "constrain": True})
        assert one.engine.asked.pop().grammar == "root ::= [^\\n]*"
        await one.http.post("/v1/tasks/nl2fol", json={"rows": ["Hi."]})
        assert one.engine.asked.pop().grammar is None
        answer = await one.http.post("/v1/tasks/free", json={"rows": ["Hi."], "constrain": True})
        assert "has no grammar" in error_of(answer, 400)
        assert (await one.http.get("/v1/tasks/free")).json()["constrain"] is False


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"rows": ["ok", {"sentence": ""}]}, "rows[1]: sentence: "),
        ({"rows": ["ok", "ok", {"text": "x"}]}, "rows[2]: sentence: Field required"),
        ({"rows": [{"sentence": 5}]}, "rows[0]: sentence: "),
        ({"rows": ["x" * 5000]}, "rows[0]: sentence: "),
        ({"rows": []}, "rows: "),
        ({"rows": "Hi."}, "rows: "),
        ({"rows": [5]}, "rows.0"),
        ({}, "rows: Field required"),
        ({"rows": ["Hi."], "confidense": True}, "confidense: "),
    ],
)
@in_loop
async def test_a_bad_row_is_named_and_nothing_is_answered(root: Path, body: Any, message: str) -> None:
    async with gateway(root) as one:
        answer = await one.http.post(
            "/v1/tasks/nl2fol", content=json.dumps(body), headers={"Content-Type": "application/json"}
        )
        assert error_of(answer, 422).startswith(message)
        assert one.engine.asked == []


@pytest.mark.parametrize(
    ("tool", "arguments", "status", "message"),
    [
        ("nothing", {}, 404, "no tool 'nothing'; the task has: check, tree, equivalent, entails"),
        ("check", {}, 422, "formula: Field required"),
        ("check", {"formula": 5}, 422, "formula: "),
        ("check", {"formula": "P(a)", "more": 1}, 422, "more: "),
        ("tree", {"formula": "P(a"}, 422, "formula: "),
        ("entails", {"premises": [], "conclusion": "P(a)"}, 422, "premises: "),
        ("entails", {"premises": ["P(a)", "("], "conclusion": "P(a)"}, 422, "premise 2: "),
        ("entails", {"premises": ["P(a)"], "conclusion": "P(a)", "seconds": 1e9}, 422, "seconds: "),
        ("tree", {"formula": "¬" * 3000 + "P(a)"}, 422, "formula: "),
        ("tree", {"formula": "(" * 3000 + "P(a)" + ")" * 3000}, 422, "formula: "),
    ],
)
@in_loop
async def test_a_tool_that_cannot_be_used_says_why(
    root: Path, tool: str, arguments: Any, status: int, message: str
) -> None:
    async with gateway(root) as one:
        answer = await one.http.post(
            f"/v1/tasks/nl2fol/tools/{tool}",
            content=json.dumps(arguments),
            headers={"Content-Type": "application/json"},
        )
        assert error_of(answer, status).startswith(message)


@in_loop
async def test_a_base_has_no_task(root: Path) -> None:
    async with gateway(root) as one:
        for request in (
            one.http.get(f"/v1/tasks/{BASE}"),
            one.http.post(f"/v1/tasks/{BASE}", json={"rows": ["Hi."]}),
            one.http.post(f"/v1/tasks/{BASE}/tools/check", json={"formula": "P(a)"}),
        ):
            assert "is a base, which has no task" in error_of(await request, 404)


@in_loop
async def test_tasks_are_listed_while_bundles_are_still_loading(root: Path) -> None:
    async with gateway(root) as one:
        one.one.registry.aliases["later"] = Alias("nl2fol@ffffffffffff")  # from the state file
        assert [task["alias"] for task in (await one.http.get("/v1/tasks")).json()["tasks"]] == ["nl2fol"]


@in_loop
async def test_a_name_that_may_still_be_loading_is_worth_another_try(root: Path) -> None:
    async with gateway(root) as one:
        asked = {"model": "later", "prompt": "Hi"}
        error_of(await one.http.post("/v1/completions", json=asked), 404, "model_not_found")
        one.one.starting.append("later")
        told = await one.http.post("/v1/completions", json=asked)
        assert "still be loading" in error_of(told, 503, "engine_restarting")
        assert int(told.headers["Retry-After"]) >= 1
