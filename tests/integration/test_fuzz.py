"""Whatever fits the gateway's OpenAPI schema, or just not, gets an answer that the schema documents; never a 5xx."""

import asyncio
import os
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fakes import deployment, gateway, sha, state_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from appkit.serving.gateway.app import create_app
from appkit.serving.gateway.keys import add_key

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
FEW = settings(
    max_examples=int(os.environ.get("APPKIT_FUZZ_EXAMPLES", "5")),
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
KNOWN = {
    "alias": "nl2fol",
    "model": "nl2fol",
    "name": "check",
    "ref": f"nl2fol@{sha('two')[:12]}",
    "bundle": f"nl2fol@{sha('two')[:12]}",
    "path": "B",
}


def known(values: Any, **more: str) -> Any:
    """Every other value of a name is one that exists: names at random are all unknown."""
    if not isinstance(values, dict):
        return values
    names = KNOWN | more
    return {
        key: names[key] if key in names and isinstance(value, str) and len(value) % 2 else value
        for key, value in values.items()
    }


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    # the alias that the other routes use stays
    spare = {"alias": "spare"} if "/aliases/" in context.operation.path else {}
    return known(path_parameters, **spare)


GOOD = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi."}]},
    "/v1/completions": {"prompt": "Hi."},
    "/v1/tasks/{alias}": {"rows": ["Hi."]},
}
turns = count()


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Of each four bodies two as they come, one with what is essential made good, and one with little besides."""
    turn, good = next(turns) % 4, GOOD.get(context.operation.path)
    if not isinstance(body, dict) or turn < 2:
        return known(body, alias="spare")
    if context.operation.path.endswith("/tools/{name}"):
        return {"formula": "P(a)"}
    if good is None:
        return known(body, alias="spare")
    kept = body if turn == 2 else {"stream": bool(next(turns) & 8)}
    return kept | good | ({} if "rows" in good else {"model": "nl2fol"})


class Background:
    """A gateway with a fake engine, in a thread's own event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ready, self.url = folder, threading.Event(), ""
        (folder / "root").mkdir()
        keys = folder / "keys.json"
        self.keys = keys
        self.secrets = {"user": add_key(keys, "user"), "admin": add_key(keys, "admin", admin=True)}
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        self.loop, self.done = asyncio.get_running_loop(), asyncio.Event()
        async with gateway(self.folder / "root", keys=self.keys) as served:
            served.place("B", deployment(version="two"))
            await served.one.registry.add(served.one.root / "B", "spare")
            self.url = served.url
            self.ready.set()
            await self.done.wait()


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    one = Background(tmp_path_factory.mktemp("fuzz"))
    one.thread.start()
    try:
        assert one.ready.wait(30)
        yield one
    finally:
        one.loop.call_soon_threadsafe(one.done.set)
        one.thread.join()


SCHEMA = schemathesis.openapi.from_dict(create_app(state_of(Path("nowhere"))[0]).openapi())
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]


def test_every_route_is_there() -> None:
    assert {"GET /v1/models", "POST /v1/tasks/{alias}", "DELETE /v1/bundles/{ref}"} <= {
        one.label for one in OPERATIONS
    }


STANDS_AGAINST = ("DELETE /v1/bundles/{ref}", "POST /v1/aliases/{alias}/rollback")
"""Routes that mostly answer 409: an alias needs the bundle, and nothing came before."""
ADMIN = ("/v1/bundles", "/v1/aliases", "/v1/runs")


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("who", ["user", "admin"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_whatever_is_sent(operation: Any, who: str, mode: GenerationMode, background: Background) -> None:
    headers = {"Authorization": f"Bearer {background.secrets[who]}"}
    seen = []

    @FEW
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        answer = case.call_and_validate(base_url=background.url, checks=CHECKS, headers=headers)
        seen.append(answer.status_code)

    try:
        send()
    except Unsatisfiable:  # where nothing is taken, nothing can be wrong
        assert mode is GenerationMode.NEGATIVE
        assert not operation.body
        return
    if who == "user" and operation.label.split()[1].startswith(ADMIN):
        assert set(seen) <= {400, 403, 404}
    elif operation.path.startswith("/v1/runs"):  # this gateway does not train: each try would take seconds
        assert set(seen) <= {400, 409, 413}
    elif mode is GenerationMode.POSITIVE and operation.label not in STANDS_AGAINST:
        for _ in range(8):  # few examples may all have been refused by chance
            if any(status < 300 for status in seen):
                break
            send()
        assert [status for status in seen if status < 300], seen  # it was not refused each time


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_without_a_key(operation: Any, background: Background) -> None:
    @FEW
    @given(case=operation.as_strategy())
    def send(case: Any) -> None:
        answer = case.call_and_validate(base_url=background.url, checks=CHECKS)
        assert answer.status_code in (
            (200,) if operation.path in ("/healthz", "/readyz") else (400, 401, 404, 422)
        )

    send()
