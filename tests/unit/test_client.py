"""The client: when it asks again and when it must not, and that every fault is one clear line."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from appkit.client import Answer, Client
from appkit.errors import DataError, GatewayError

RESULT = {"text": "P(a)", "parsed": "P(a)", "error": None, "truncated": False, "tokens": 5}
Reply = httpx.Response | Exception


class Wire:
    """Gives its replies one after another, the last again and again; keeps what was asked and how long was waited."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *replies: Reply | Callable[[httpx.Request], Reply]
    ) -> None:
        self.replies, self.asked = list(replies), list[httpx.Request]()
        self.pauses: list[float] = []
        monkeypatch.setattr("time.sleep", self.pauses.append)
        monkeypatch.delenv("APPKIT_KEY", raising=False)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if callable(reply) and not isinstance(reply, httpx.Response | Exception):
            reply = reply(request)
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    def client(self, **options: Any) -> Client:
        return Client("http://gateway/", transport=httpx.MockTransport(self), **options)


def refused(status: int, message: str = "no", **headers: str) -> httpx.Response:
    body = {"error": {"message": message, "type": "x", "param": None, "code": None}}
    return httpx.Response(status, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


def rows(*texts: str) -> httpx.Response:
    results = [RESULT | {"text": text, "parsed": text} for text in texts]
    return httpx.Response(200, json={"model": "nl2fol@one", "results": results})


def test_answers_come_in_order_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        return rows(*(f"{row}!" for row in json.loads(request.content)["rows"]))

    wire = Wire(monkeypatch, reply)
    answers = wire.client().task("nl2fol", ["a", "b", "c", "d", "e"], batch=2, constrain=True, threshold=0.5)
    assert [answer.text for answer in answers] == ["a!", "b!", "c!", "d!", "e!"]
    bodies = [json.loads(request.content) for request in wire.asked]
    assert [body["rows"] for body in bodies] == [["a", "b"], ["c", "d"], ["e"]]
    assert bodies[0] == {"rows": ["a", "b"], "constrain": True, "confidence": False, "threshold": 0.5}
    assert answers[0] == Answer("a!", "a!", None, False, 5, "nl2fol@one")
    assert {request.url.path for request in wire.asked} == {"/v1/tasks/nl2fol"}


def test_rows_that_are_too_large_for_one_request_are_sent_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(
        monkeypatch, refused(413), refused(413), rows("a!"), rows("b!"), rows("c!", "d!", "e!"), rows("f!")
    )
    answers = wire.client().task("nl2fol", ["a", "b", "c", "d", "e", "f"], batch=5, base=True)
    assert [answer.text for answer in answers] == ["a!", "b!", "c!", "d!", "e!", "f!"]
    bodies = [json.loads(request.content) for request in wire.asked]
    assert ["".join(body["rows"]) for body in bodies] == ["abcde", "ab", "a", "b", "cde", "f"]
    assert all(body["base"] for body in bodies)
    assert wire.pauses == []


def test_no_rows_are_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, rows("x"))
    assert wire.client().task("nl2fol", []) == []
    assert wire.asked == []


@pytest.mark.parametrize("one", ["Every dog barks.", {"sentence": "Every dog barks."}])
def test_one_input_is_one_answer(one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    event = {"row": 0, "result": RESULT, "model": "nl2fol@one"}
    wire = Wire(
        monkeypatch, rows("x"), httpx.Response(200, content=f"data: {json.dumps(event)}\n\ndata: [DONE]\n")
    )
    assert len(wire.client().task("nl2fol", one)) == 1
    assert len(list(wire.client().stream("nl2fol", one))) == 1
    assert [json.loads(request.content)["rows"] for request in wire.asked] == [[one], [one]]


def test_many_inputs_are_any_iterable(monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(request: httpx.Request) -> httpx.Response:
        return rows(*json.loads(request.content)["rows"])

    wire = Wire(monkeypatch, reply)
    for many in (("a", "b"), (text for text in "ab"), {"x": "a", "y": "b"}.values()):
        assert [answer.text for answer in wire.client().task("nl2fol", many)] == ["a", "b"]


@pytest.mark.parametrize(
    ("inputs", "line"),
    [
        (None, "inputs are a text, a dict, or a list of them, got NoneType"),
        (3, "inputs are a text, a dict, or a list of them, got int"),
        (b"x", "an input is a text, got bytes; decode it: text.decode()"),
        ({"a", "b"}, "inputs are a text, a dict, or a list of them; a set has no order"),
        (["a", None], "input 2: an input is a text, or a dict of its fields, got NoneType None"),
        ([["a", "b"]], "an input is a text, or a dict of its fields, got list ['a', 'b']"),
    ],
)
def test_what_is_no_input_is_one_line_and_no_request(
    inputs: Any, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(monkeypatch, rows("x"))
    for ask in (wire.client().task, lambda *given: list(wire.client().stream(*given))):
        with pytest.raises(DataError) as caught:
            ask("nl2fol", inputs)
        assert str(caught.value).startswith(line)
    with pytest.raises(GatewayError, match="cannot be written as JSON"):
        wire.client().task("nl2fol", [{"sentence": object()}])
    assert wire.asked == []


def test_one_word_of_a_run_is_one_word(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, httpx.Response(200, json={"id": "one"}))
    wire.client().check("task=nl2fol")
    assert json.loads(wire.asked[0].content) == {"words": ["task=nl2fol"]}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.csv", ".csv"), ("a.CSV.GZ", ".csv.gz"), ("a.v2.jsonl", ".jsonl"), ("a.gz", ".gz"), ("rows", "")],
)
def test_rows_are_sent_with_the_suffix_that_says_what_they_are(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"x")
    wire = Wire(monkeypatch, httpx.Response(200, json={"id": "one"}))
    wire.client().check(["task=nl2fol"], {"train": tmp_path / name})
    assert wire.asked[1].url.params["kind"] == kind


@pytest.mark.parametrize("status", [429, 502, 503])
def test_what_was_not_done_is_asked_again_with_growing_pauses(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(monkeypatch, refused(status), refused(status), refused(status), rows("x"))
    assert wire.client().task("nl2fol", ["a"])[0].text == "x"
    assert len(wire.asked) == 4
    for pause, middle in zip(wire.pauses, (0.5, 1.0, 2.0), strict=True):
        assert 0.75 * middle <= pause <= 1.25 * middle


def test_it_waits_as_long_as_the_gateway_asks_within_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [
        refused(429, Retry_After="7"),
        refused(503, Retry_After="3600"),
        refused(429, Retry_After="soon"),
    ]
    wire = Wire(monkeypatch, *replies, rows("x"))
    wire.client().task("nl2fol", ["a"])
    assert wire.pauses[:2] == [7, 60]
    assert 1.5 <= wire.pauses[2] <= 2.5


def test_it_gives_up_with_the_gateways_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, refused(429, "the queue is full"))
    with pytest.raises(GatewayError, match=r"^the queue is full$") as told:
        wire.client(retries=2).task("nl2fol", ["a"])
    assert (told.value.status, len(wire.asked), len(wire.pauses)) == (429, 3, 2)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 504])
def test_what_another_try_does_not_mend_is_told_at_once(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, refused(status, "rows[0]: sentence: too long"))
    with pytest.raises(GatewayError, match=r"^rows.0.: sentence: too long$") as told:
        wire.client().task("nl2fol", ["a"])
    assert (told.value.status, len(wire.asked), wire.pauses) == (status, 1, [])


LOST: Sequence[Exception] = (
    httpx.ReadError("reset"),
    httpx.RemoteProtocolError("server disconnected"),
    httpx.ReadTimeout("timed out"),
)
ADMIN: dict[str, Callable[[Client], Any]] = {
    "add": lambda client: client.add("A"),
    "remove": lambda client: client.remove("nl2fol@ffffffff"),
    "point": lambda client: client.point("nl2fol", "nl2fol@ffffffff"),
    "rollback": lambda client: client.rollback("nl2fol"),
    "unpoint": lambda client: client.unpoint("nl2fol"),
}


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: type(fault).__name__)
def test_a_lost_question_is_asked_again(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, fault, fault, rows("x"))
    assert wire.client().task("nl2fol", ["a"])[0].text == "x"
    assert (len(wire.asked), len(wire.pauses)) == (3, 2)


@pytest.mark.parametrize("call", ADMIN.values(), ids=ADMIN)
@pytest.mark.parametrize("fault", LOST, ids=lambda fault: type(fault).__name__)
def test_a_lost_change_is_not_made_twice(
    call: Callable[[Client], Any], fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(monkeypatch, fault)
    with pytest.raises(
        GatewayError, match=r"no answer from http://gateway: .*; is the gateway running"
    ) as told:
        call(wire.client())
    assert (told.value.status, len(wire.asked)) == (None, 1)


@pytest.mark.parametrize("call", ADMIN.values(), ids=ADMIN)
def test_a_change_that_never_left_is_tried_again(
    call: Callable[[Client], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(monkeypatch, httpx.ConnectError("refused"), httpx.Response(200, json={}))
    assert call(wire.client()) == {}
    assert len(wire.asked) == 2


def test_a_gateway_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, httpx.ConnectError("[Errno 111] Connection refused"))
    with pytest.raises(
        GatewayError, match=r"no answer from http://gateway: .*111.* is this its address\?"
    ) as told:
        wire.client().tasks()
    assert "\n" not in str(told.value)
    assert len(wire.asked) == 4
    assert not wire.client().ready()


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, text="<html>It works!</html>"),
        httpx.Response(200, content=b"\xff\xfe"),
        httpx.Response(404, text="<html>Not found</html>"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(404, json=[]),
        httpx.Response(307, headers={"Location": "http://elsewhere/"}),
    ],
)
def test_what_is_no_gateway_is_called_so(reply: httpx.Response, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, reply)
    with pytest.raises(GatewayError, match="is it an appkit gateway"):
        wire.client().tasks()


@pytest.mark.parametrize("body", [[], {}, {"data": 5}, "text", None])
def test_json_of_something_else_is_no_gateway_either(body: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Wire(monkeypatch, httpx.Response(200, json=body)).client()
    for call in (client.tasks, client.models, lambda: client.task("nl2fol", ["a"])):
        with pytest.raises(GatewayError, match="is it an appkit gateway"):
            call()


def test_a_key_comes_from_the_caller_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, httpx.Response(200, json={"tasks": []}))
    wire.client().tasks()
    monkeypatch.setenv("APPKIT_KEY", "ak-environment")
    wire.client().tasks()
    wire.client(key="ak-given").tasks()
    told = [request.headers.get("Authorization") for request in wire.asked]
    assert told == [None, "Bearer ak-environment", "Bearer ak-given"]


@pytest.mark.parametrize(
    ("url", "key"), [("http://[::1", None), ("http://x:port", None), ("http://x", "schlüssel")]
)
def test_an_impossible_address_or_key_is_one_line(url: str, key: str | None) -> None:
    with pytest.raises(GatewayError):
        Client(url, key=key, retries=0).tasks()


def test_odd_names_stay_one_part_of_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, httpx.Response(200, json={}))
    wire.client().describe("../v1/bundles?x#y z")
    wire.client().tool("a/b", "c/d", formula="P(a)")
    assert [request.url.raw_path for request in wire.asked] == [
        b"/v1/tasks/..%2Fv1%2Fbundles%3Fx%23y%20z",
        b"/v1/tasks/a%2Fb/tools/c%2Fd",
    ]


# --- streams ----------------------------------------------------------------------------------------------


def sse(*events: Any, done: bool = True) -> httpx.Response:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"] * done
    return httpx.Response(200, content="".join(lines).encode(), headers={"Content-Type": "text/event-stream"})


def test_a_stream_gives_parts_and_then_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    last = {"row": 1, "result": RESULT, "model": "nl2fol@one"}
    wire = Wire(monkeypatch, refused(503), sse({"row": 0, "delta": "P("}, {"row": 1, "delta": "Q"}, last))
    found = list(wire.client().stream("nl2fol", ["a", "b"]))
    assert [(delta.row, delta.text) for delta in found] == [(0, "P("), (1, "Q"), (1, "")]
    assert found[-1].answer == Answer(**RESULT, model="nl2fol@one")
    assert json.loads(wire.asked[-1].content)["stream"] is True
    assert len(wire.asked) == 2  # a refusal before the first event is tried again


def test_a_stream_that_is_cut_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, sse({"row": 0, "delta": "P("}, done=False))
    stream = wire.client().stream("nl2fol", ["a"])
    assert next(stream).text == "P("
    with pytest.raises(GatewayError, match="ended before it was complete; ask again"):
        next(stream)
    assert len(wire.asked) == 1


def test_a_connection_that_is_lost_in_a_stream_is_told_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Torn(httpx.SyncByteStream):
        def __iter__(self) -> Any:
            yield b'data: {"row": 0, "delta": "P("}\n\n'
            raise httpx.ReadError("reset by peer")

    asked = []

    def reply(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, stream=Torn())

    stream = Client("http://gateway", transport=httpx.MockTransport(reply)).stream("nl2fol", ["a"])
    assert next(stream).text == "P("
    with pytest.raises(GatewayError, match="was lost on the way: reset by peer"):
        next(stream)
    assert len(asked) == 1


def test_an_error_in_a_stream_is_the_gateways_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = {"error": {"message": "the engine ended", "type": "server_error", "param": None, "code": None}}
    stream = (
        Wire(monkeypatch, sse({"row": 0, "delta": "P("}, fault, done=False)).client().stream("nl2fol", ["a"])
    )
    next(stream)
    with pytest.raises(GatewayError, match=r"^the engine ended$"):
        next(stream)


@pytest.mark.parametrize("line", ["data: <html>", "data: 5", "data: {}"])
def test_events_of_something_else_are_no_gateways(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, httpx.Response(200, content=f"{line}\n\n".encode()))
    with pytest.raises(GatewayError, match="is it an appkit gateway"):
        list(wire.client().stream("nl2fol", ["a"]))


# --- weight -----------------------------------------------------------------------------------------------


def test_importing_the_client_imports_nothing_heavy() -> None:
    code = "import sys, appkit.client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "httpx" in loaded
    assert not loaded & {
        "torch",
        "transformers",
        "peft",
        "fastapi",
        "uvicorn",
        "vllm",
        "numpy",
        "z3",
        "appkit_tasks",
    }


def test_a_check_sends_words_then_files_as_they_are_then_asks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "my rows.CSV").write_bytes(b"a,b\n\xff")
    wire = Wire(monkeypatch, httpx.Response(201, json={"id": "t-1"}), httpx.Response(200, json={"ok": True}))
    assert wire.client().check(["task=t"], {"dev": tmp_path / "my rows.CSV"}) == {"ok": True}
    asked = [(one.method, str(one.url).removeprefix("http://gateway"), one.content) for one in wire.asked]
    assert asked == [
        ("POST", "/v1/runs", b'{"words":["task=t"]}'),
        ("PUT", "/v1/runs/t-1/rows/dev?kind=.csv", b"a,b\n\xff"),
        ("POST", "/v1/runs/t-1/check", b""),
    ]


def test_half_a_surrogate_pair_is_one_line_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire(monkeypatch, rows("a"))
    client, half = wire.client(), "a\ud800"
    calls: list[Callable[[], Any]] = [
        lambda: client.task("nl2fol", [half]),
        lambda: client.task(half, ["a"]),
        lambda: list(client.stream("nl2fol", [{"sentence": half}])),
        lambda: client.tool("nl2fol", "check", formula=half),
        lambda: client.point("nl2fol", half),
        lambda: client.describe(half),
    ]
    for call in calls:
        with pytest.raises(GatewayError, match="half a surrogate pair"):
            call()
    assert wire.asked == []
