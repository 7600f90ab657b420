"""Client is a typed client of the gateway; it needs httpx and nothing heavier.

    with Client("http://127.0.0.1:8000", key="ak-...") as client:
        (answer,) = client.task("nl2fol", ["Every dog barks."])
        print(answer.parsed)

OpenAI's own client works with the gateway too; this one knows tasks, rows and bundles.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from appkit.arguments import list_inputs, list_words
from appkit.errors import DataError, GatewayError, shortened

__all__ = ["Answer", "Client", "Delta"]

Inputs = str | Mapping[str, Any] | Iterable[str | Mapping[str, Any]]
"""one input, or many in order"""
AGAIN = (429, 502, 503)
"""statuses after which a request is sent again: the gateway did nothing, or nothing that would be done twice"""
TOO_LARGE = 413
"""status of a request whose rows are too many bytes or tokens for one"""


@dataclass(frozen=True)
class Answer:
    """The answer to one row."""

    text: str
    """what the model wrote"""
    parsed: Any
    """the pack's reading of it; None with the reason in `error`"""
    error: str | None
    """why it could not be read"""
    truncated: bool
    """the length cap cut it"""
    tokens: int
    """generated tokens"""
    model: str
    """the version that answered"""
    confidence: float | None = None
    """0 to 1, if requested"""
    abstained: bool = False
    """the confidence was below the threshold"""
    citations: list[dict[str, Any]] | None = None
    """passages that the gateway found for the row, as numbered in the prompt, each with number, cited, score, source,
    start and text; None where it searched for none"""


@dataclass(frozen=True)
class Delta:
    """New text of a streamed row."""

    row: int
    """index of the row in the request, from 0"""
    text: str = ""
    """further text"""
    answer: Answer | None = None
    """the whole answer, with the row's last delta"""


class Client:
    """A connection to a gateway.

    key: None takes `$APPKIT_KEY`. timeout: seconds without a byte. retries: further tries after a refusal or a lost
    connection, with growing pauses, or the gateway's Retry-After.

    Every method raises GatewayError with the gateway's own message; its `status` is None when it was not reached.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout: float = 120.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        key = key or os.environ.get("APPKIT_KEY")
        self.url, self.retries = url.rstrip("/"), retries
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"Bearer {key}"} if key else {},
                timeout=httpx.Timeout(timeout, connect=10),
                transport=transport,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise GatewayError(f"cannot use the gateway address or key: {error}") from None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    # -- tasks ---------------------------------------------------------------------------------------------------

    def tasks(self) -> list[dict[str, Any]]:
        """List the aliases that this key may use: alias, task, summary."""
        with self._read_answer():
            tasks: list[dict[str, Any]] = self._call("GET", "/v1/tasks")["tasks"]
        return tasks

    def describe(self, alias: str) -> dict[str, Any]:
        """Describe an alias: its task's fields, examples and tools, its metrics and certificate."""
        return self._call("GET", f"/v1/tasks/{_quote(alias)}")

    def evidence(self, alias: str) -> dict[str, Any]:
        """Fetch a bundle's report, scores, certificate and pictures; with an admin key the label audit too."""
        return self._call("GET", f"/v1/tasks/{_quote(alias)}/evidence")

    def task(
        self,
        alias: str,
        rows: Inputs,
        *,
        constrain: bool = False,
        confidence: bool = False,
        threshold: float | None = None,
        base: bool = False,
        rag: bool = True,
        batch: int = 32,
    ) -> list[Answer]:
        """Answer rows, in order: bare texts, or the pack's input fields. A request holds `batch` rows, or fewer where
        the gateway says that they are too large for one.

        One text or dict is a list of one, as in `Specialist.predict`. base: the base alone answers, from the same
        prompt. rag: with the gateway's documents, if it has any.

        Raises DataError for what is neither.
        """
        values = _list_rows(rows)
        answers: list[Answer] = []
        for start in range(0, len(values), batch):
            body = _build_body(values[start : start + batch], constrain, confidence, threshold, rag)
            if base:
                body["base"] = True
            answers += self._answer_rows(f"/v1/tasks/{_quote(alias)}", body)
        return answers

    def _answer_rows(self, path: str, body: dict[str, Any]) -> list[Answer]:
        """Ask for the rows of a body; in halves where they are too many tokens or bytes for one request."""
        try:
            response = self._call("POST", path, body)
        except GatewayError as error:
            rows = body["rows"]
            if error.status != TOO_LARGE or len(rows) < 2:
                raise
            half = len(rows) // 2
            return [
                answer
                for part in (rows[:half], rows[half:])
                for answer in self._answer_rows(path, body | {"rows": part})
            ]
        with self._read_answer():
            return [Answer(**result, model=response["model"]) for result in response["results"]]

    def stream(
        self,
        alias: str,
        rows: Inputs,
        *,
        constrain: bool = False,
        confidence: bool = False,
        threshold: float | None = None,
        rag: bool = True,
    ) -> Iterator[Delta]:
        """Answer rows in one request and yield the texts as they come. A lost connection is not tried again.

        Raises DataError as `task` does.
        """
        body = _build_body(_list_rows(rows), constrain, confidence, threshold, rag) | {"stream": True}
        with closing(self._send("POST", f"/v1/tasks/{_quote(alias)}", body, stream=True)) as answer:
            try:
                for line in answer.iter_lines():
                    if line == "data: [DONE]":
                        return
                    if line.startswith("data: "):
                        with self._read_answer():
                            delta = _read_delta(json.loads(line[6:]))
                        yield delta
            except httpx.TransportError as error:
                raise GatewayError(f"the connection to {self.url} was lost on the way: {error}") from error
        raise GatewayError(f"the answer of {self.url} ended before it was complete; ask again")

    def tool(self, alias: str, name: str, **arguments: Any) -> Any:
        """Call a function of the pack, such as nl2fol's prover."""
        return self._call("POST", f"/v1/tasks/{_quote(alias)}/tools/{_quote(name)}", arguments)

    # -- bundles, for admin keys ---------------------------------------------------------------------------------

    def models(self) -> list[str]:
        """List the names of every model that can be used."""
        with self._read_answer():
            return [model["id"] for model in self._call("GET", "/v1/models")["data"]]

    def bundles(self) -> dict[str, Any]:
        """List versions, aliases, bundles that are loading and those that were refused."""
        return self._call("GET", "/v1/bundles")

    def add(self, path: str, alias: str | None = None) -> dict[str, Any]:
        """Serve the bundle in a directory below the gateway's bundle root."""
        return self._call("POST", "/v1/bundles", {"path": path, "alias": alias})

    def remove(self, ref: str) -> dict[str, Any]:
        """Stop serving a version, once its last request is answered."""
        return self._call("DELETE", f"/v1/bundles/{_quote(ref)}")

    def point(self, alias: str, ref: str, share: float = 1.0) -> dict[str, Any]:
        """Move an alias to a version; a share below 1 makes the version its canary."""
        return self._call("PUT", f"/v1/aliases/{_quote(alias)}", {"bundle": ref, "share": share})

    def rollback(self, alias: str) -> dict[str, Any]:
        """Remove the canary; without one, move the alias back to the previous version."""
        return self._call("POST", f"/v1/aliases/{_quote(alias)}/rollback")

    def unpoint(self, alias: str) -> dict[str, Any]:
        """Delete an alias."""
        return self._call("DELETE", f"/v1/aliases/{_quote(alias)}")

    def ready(self) -> bool:
        """Tell whether every engine answers; False also while the gateway itself cannot be reached."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    # -- runs, for admin keys ------------------------------------------------------------------------------------

    def runs(self) -> dict[str, Any]:
        """List the choices for a run (tasks, models, methods, presets), and the runs, newest first."""
        with self._read_answer():
            response = self._call("GET", "/v1/runs")
            return {
                name: response[name] for name in ("tasks", "models", "methods", "presets", "runs", "running")
            }

    def check(
        self, words: str | Sequence[str], rows: Mapping[str, Path | str] | None = None
    ) -> dict[str, Any]:
        """Create a run of `KEY=VALUE` words and check its data; returns `id`, `ok` and the findings.

        rows: files by split (train, dev, test); None: those that the task ships. A run that is `ok` can be started.
        """
        with self._read_answer():
            run = str(self._call("POST", "/v1/runs", {"words": list_words(words)})["id"])
        for split, file in (rows or {}).items():
            body = Path(file).read_bytes()
            suffixes = Path(str(file).lower()).suffixes
            kind = "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])
            self._send("PUT", f"/v1/runs/{_quote(run)}/rows/{_quote(split)}?kind={_quote(kind)}", body)
        return self._call("POST", f"/v1/runs/{_quote(run)}/check")

    def start(self, run: str) -> dict[str, Any]:
        """Start a run that was checked, or resume one that was stopped or failed."""
        return self._call("POST", f"/v1/runs/{_quote(run)}/start")

    def stop(self, run: str) -> dict[str, Any]:
        """Stop a run; its state is saved."""
        return self._call("POST", f"/v1/runs/{_quote(run)}/stop")

    def run(self, run: str, after: int = 0) -> dict[str, Any]:
        """Describe a run: phase, progress, last lines, the curve after step `after`; once done verdict and bundle."""
        return self._call("GET", f"/v1/runs/{_quote(run)}?after={after}")

    # -- the wire ------------------------------------------------------------------------------------------------

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self._send(method, path, body)
        with self._read_answer():
            values: dict[str, Any] = answer.json()
        return values

    @contextmanager
    def _read_answer(self) -> Iterator[None]:
        """Raises GatewayError where the block cannot read an answer, as of a server that is no gateway."""
        try:
            yield
        except (ValueError, KeyError, TypeError):
            raise GatewayError(
                f"{self.url} answered what no gateway does; is it an appkit gateway?"
            ) from None

    def _send(self, method: str, path: str, body: Any = None, *, stream: bool = False) -> httpx.Response:
        """Send a request, with retries; return the response once its status is a success."""
        content: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        try:
            request = self._http.build_request(method, path, **content)
        except UnicodeEncodeError:
            raise GatewayError(
                "a text has half a surrogate pair, which cannot be sent; take it out"
            ) from None
        except (TypeError, ValueError) as error:  # an object of Python, NaN
            raise GatewayError(f"the request cannot be written as JSON: {error}") from None
        for tries_left in range(self.retries, -1, -1):
            try:
                answer = self._http.send(request, stream=stream)
            except httpx.TransportError as error:
                # the gateway may have received the request: only one that changes nothing is sent again
                safe = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) or "/tasks" in path
                if not (tries_left and safe):
                    raise GatewayError(
                        f"no answer from {self.url}: {error or type(error).__name__}; is the gateway running "
                        "(appkit serve), and is this its address?"
                    ) from error
                self._pause(tries_left, None)
                continue
            if answer.is_success:
                return answer
            answer.read()
            answer.close()
            if not tries_left or answer.status_code not in AGAIN:
                raise _read_refusal(self.url, answer)
            self._pause(tries_left, answer.headers.get("Retry-After"))
        raise AssertionError

    def _pause(self, tries_left: int, retry_after: str | None) -> None:
        growing = 0.5 * 2 ** (self.retries - tries_left) * random.uniform(0.75, 1.25)
        time.sleep(
            min(60.0, max(growing, float(retry_after) if retry_after and retry_after.isdigit() else 0.0))
        )


def _list_rows(rows: Inputs) -> list[str | dict[str, Any]]:
    values = list_inputs(rows)
    for number, value in enumerate(values, 1):
        if not isinstance(value, (str, Mapping)):
            which = f"input {number}: " if len(values) > 1 else ""
            raise DataError(
                f"{which}an input is a text, or a dict of its fields, got {type(value).__name__} {shortened(value)}"
            )
    return [value if isinstance(value, str) else dict(value) for value in values]


def _build_body(
    rows: Sequence[str | Mapping[str, Any]],
    constrain: bool,
    confidence: bool,
    threshold: float | None,
    rag: bool,
) -> dict[str, Any]:
    body = {"rows": list(rows), "constrain": constrain, "confidence": confidence, "threshold": threshold}
    return body if rag else body | {"rag": False}  # a gateway of an older version knows no such key


def _read_delta(event: dict[str, Any]) -> Delta:
    if "error" in event:
        raise GatewayError(event["error"]["message"])
    answer = Answer(**event["result"], model=event["model"]) if "result" in event else None
    return Delta(event["row"], event.get("delta", ""), answer)


def _read_refusal(url: str, answer: httpx.Response) -> GatewayError:
    try:
        return GatewayError(answer.json()["error"]["message"], status=answer.status_code)
    except (ValueError, KeyError, TypeError):
        message = f"{url} answered {answer.status_code}; is it an appkit gateway?"
        return GatewayError(message, status=answer.status_code, told=False)


def _quote(name: str) -> str:
    try:
        return quote(name, safe="")
    except UnicodeEncodeError:
        raise GatewayError(f"no name has half a surrogate pair, got {name[:80]!r}; take it out") from None
