"""A typed client asks a gateway; it needs httpx and nothing heavier.

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from appkit.errors import GatewayError

__all__ = ["Answer", "Client", "Delta"]

AGAIN = (429, 502, 503)
"""Nothing was done, or nothing that another try would do twice."""


@dataclass(frozen=True)
class Answer:
    """Answers one row. text: what the model wrote. parsed: the pack's reading, None with the reason in `error`.

    confidence: 0 to 1, if it was asked for. abstained: it was below the threshold. model: the version that answered.
    citations: passages that the gateway found for the row, as numbered in the prompt, each with number, cited, score,
    source, start and text; None where it looked for none.
    """

    text: str
    parsed: Any
    error: str | None
    truncated: bool
    tokens: int
    model: str
    confidence: float | None = None
    abstained: bool = False
    citations: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Delta:
    """New text of a streamed row; `answer` is there with the last one."""

    row: int
    text: str = ""
    answer: Answer | None = None


class Client:
    """A connection to a gateway.

    key: None takes `$APPKIT_KEY`. timeout: seconds without a byte. retries: further tries after a refusal or a lost
    connection, with growing pauses, or those that the gateway asks for.

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
        self._http.close()

    # -- tasks ---------------------------------------------------------------------------------------------------

    def tasks(self) -> list[dict[str, Any]]:
        """List the aliases that this key may use: alias, task, summary."""
        with self._understood():
            found: list[dict[str, Any]] = self._call("GET", "/v1/tasks")["tasks"]
        return found

    def describe(self, alias: str) -> dict[str, Any]:
        """Describe an alias: its task's fields, examples and tools, its metrics and certificate."""
        return self._call("GET", f"/v1/tasks/{_part(alias)}")

    def evidence(self, alias: str) -> dict[str, Any]:
        """Fetch a bundle's report, scores, certificate and pictures; with an admin key the label audit too."""
        return self._call("GET", f"/v1/tasks/{_part(alias)}/evidence")

    def task(
        self,
        alias: str,
        rows: Sequence[str | Mapping[str, Any]],
        *,
        constrain: bool = False,
        confidence: bool = False,
        threshold: float | None = None,
        base: bool = False,
        rag: bool = True,
        batch: int = 32,
    ) -> list[Answer]:
        """Answer rows, in order: bare texts, or the pack's input fields. `batch` go in one request.

        base: by the base alone, from the same prompt. rag: with the gateway's documents, if it has any.
        """
        if isinstance(rows, str):
            raise TypeError("rows is a sequence of rows, got one text; put it into a list")
        answers: list[Answer] = []
        for start in range(0, len(rows), batch):
            body = _asked(rows[start : start + batch], constrain, confidence, threshold, rag)
            if base:
                body["base"] = True
            found = self._call("POST", f"/v1/tasks/{_part(alias)}", body)
            with self._understood():
                answers += [Answer(**result, model=found["model"]) for result in found["results"]]
        return answers

    def stream(
        self,
        alias: str,
        rows: Sequence[str | Mapping[str, Any]],
        *,
        constrain: bool = False,
        confidence: bool = False,
        threshold: float | None = None,
        rag: bool = True,
    ) -> Iterator[Delta]:
        """Answer rows in one request, as the answers come. A connection that is lost on the way is not tried again."""
        body = _asked(rows, constrain, confidence, threshold, rag) | {"stream": True}
        with closing(self._sent("POST", f"/v1/tasks/{_part(alias)}", body, stream=True)) as answer:
            try:
                for line in answer.iter_lines():
                    if line == "data: [DONE]":
                        return
                    if line.startswith("data: "):
                        with self._understood():
                            delta = _delta(json.loads(line[6:]))
                        yield delta
            except httpx.TransportError as error:
                raise GatewayError(f"the connection to {self.url} was lost on the way: {error}") from error
        raise GatewayError(f"the answer of {self.url} ended before it was complete; ask again")

    def tool(self, alias: str, name: str, **arguments: Any) -> Any:
        """Call a function of the pack, such as nl2fol's prover."""
        return self._call("POST", f"/v1/tasks/{_part(alias)}/tools/{_part(name)}", arguments)

    # -- bundles, for admin keys ---------------------------------------------------------------------------------

    def models(self) -> list[str]:
        """List every name that can be asked."""
        with self._understood():
            return [model["id"] for model in self._call("GET", "/v1/models")["data"]]

    def bundles(self) -> dict[str, Any]:
        """List versions, aliases, what is loading and what was refused."""
        return self._call("GET", "/v1/bundles")

    def add(self, path: str, alias: str | None = None) -> dict[str, Any]:
        """Serve the bundle in a directory below the gateway's bundle root."""
        return self._call("POST", "/v1/bundles", {"path": path, "alias": alias})

    def remove(self, ref: str) -> dict[str, Any]:
        """Stop serving a version, once nobody uses it any more."""
        return self._call("DELETE", f"/v1/bundles/{_part(ref)}")

    def point(self, alias: str, ref: str, share: float = 1.0) -> dict[str, Any]:
        """Move an alias to a version; a share below 1 makes the version its canary."""
        return self._call("PUT", f"/v1/aliases/{_part(alias)}", {"bundle": ref, "share": share})

    def rollback(self, alias: str) -> dict[str, Any]:
        """Withdraw the canary; without one, back to the version before."""
        return self._call("POST", f"/v1/aliases/{_part(alias)}/rollback")

    def unpoint(self, alias: str) -> dict[str, Any]:
        """Delete an alias."""
        return self._call("DELETE", f"/v1/aliases/{_part(alias)}")

    def ready(self) -> bool:
        """Tell whether every engine answers. False too while the gateway itself cannot be reached."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    # -- runs, for admin keys ------------------------------------------------------------------------------------

    def runs(self) -> dict[str, Any]:
        """List what can be chosen there (tasks, models, methods, presets), and the runs, newest first."""
        with self._understood():
            found = self._call("GET", "/v1/runs")
            return {
                name: found[name] for name in ("tasks", "models", "methods", "presets", "runs", "running")
            }

    def check(self, words: Sequence[str], rows: Mapping[str, Path | str] | None = None) -> dict[str, Any]:
        """A new run of `KEY=VALUE` words, and what the data check says of it: `id`, `ok`, and the findings.

        rows: files by split (train, dev, test); none: those that the task ships. A run that is `ok` can be started.
        """
        with self._understood():
            run = str(self._call("POST", "/v1/runs", {"words": list(words)})["id"])
        for split, file in (rows or {}).items():
            body = Path(file).read_bytes()
            kind = Path(file).suffix.lower()
            self._sent("PUT", f"/v1/runs/{_part(run)}/rows/{_part(split)}?kind={_part(kind)}", body)
        return self._call("POST", f"/v1/runs/{_part(run)}/check")

    def start(self, run: str) -> dict[str, Any]:
        """Train a run that was checked, or go on with one that was stopped or failed."""
        return self._call("POST", f"/v1/runs/{_part(run)}/start")

    def stop(self, run: str) -> dict[str, Any]:
        """Stop a run; its state is saved."""
        return self._call("POST", f"/v1/runs/{_part(run)}/stop")

    def run(self, run: str, after: int = 0) -> dict[str, Any]:
        """Describe a run: phase, progress, last lines, the curve behind step `after`; once done verdict and bundle."""
        return self._call("GET", f"/v1/runs/{_part(run)}?after={after}")

    # -- the wire ------------------------------------------------------------------------------------------------

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self._sent(method, path, body)
        with self._understood():
            found: dict[str, Any] = answer.json()
        return found

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Reads answers within; something that is no gateway may answer anything."""
        try:
            yield
        except (ValueError, KeyError, TypeError):
            raise GatewayError(
                f"{self.url} answered what no gateway does; is it an appkit gateway?"
            ) from None

    def _sent(self, method: str, path: str, body: Any = None, *, stream: bool = False) -> httpx.Response:
        """Send a request; returns the response, once its status is good."""
        given: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
        request = self._http.build_request(method, path, **given)
        for left in range(self.retries, -1, -1):
            try:
                answer = self._http.send(request, stream=stream)
            except httpx.TransportError as error:
                # a request that was on its way may have been done: only what changes nothing is sent again
                safe = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) or "/tasks" in path
                if not (left and safe):
                    raise GatewayError(
                        f"no answer from {self.url}: {error or type(error).__name__}; is the gateway running "
                        "(appkit serve), and is this its address?"
                    ) from error
                self._pause(left, None)
                continue
            if answer.is_success:
                return answer
            answer.read()
            answer.close()
            if not left or answer.status_code not in AGAIN:
                raise _refused(self.url, answer)
            self._pause(left, answer.headers.get("Retry-After"))
        raise AssertionError

    def _pause(self, left: int, asked: str | None) -> None:
        growing = 0.5 * 2 ** (self.retries - left) * random.uniform(0.75, 1.25)
        time.sleep(min(60.0, max(growing, float(asked) if asked and asked.isdigit() else 0.0)))


def _asked(
    rows: Sequence[str | Mapping[str, Any]],
    constrain: bool,
    confidence: bool,
    threshold: float | None,
    rag: bool,
) -> dict[str, Any]:
    body = {"rows": list(rows), "constrain": constrain, "confidence": confidence, "threshold": threshold}
    return body if rag else body | {"rag": False}  # a gateway of an older version knows no such key


def _delta(event: dict[str, Any]) -> Delta:
    if "error" in event:
        raise GatewayError(event["error"]["message"])
    answer = Answer(**event["result"], model=event["model"]) if "result" in event else None
    return Delta(event["row"], event.get("delta", ""), answer)


def _refused(url: str, answer: httpx.Response) -> GatewayError:
    try:
        return GatewayError(answer.json()["error"]["message"], status=answer.status_code)
    except (ValueError, KeyError, TypeError):
        message = f"{url} answered {answer.status_code}; is it an appkit gateway?"
        return GatewayError(message, status=answer.status_code, told=False)


def _part(name: str) -> str:
    return quote(name, safe="")
