"""Qdrant's REST interface over the client's own local mode: its server is no package of Python's registry.

Paths, bodies and answers are those of the server's published interface, as far as the index uses it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Qdrant:
    """A server on a free port. keys: what requests came with. fail_after: so many points, then it answers 500."""

    def __init__(self, key: str | None = None) -> None:
        from qdrant_client import QdrantClient

        self.key, self.local, self.fail_after = key, QdrantClient(":memory:"), 10**9
        self.url = ""

    def collections(self) -> list[str]:
        return sorted(one.name for one in self.local.get_collections().collections)

    def answer(self, method: str, path: str, body: Any) -> Any:
        from qdrant_client import models

        _, _, name, *rest = [*path.split("?")[0].split("/"), ""]
        rest = [one for one in rest if one]
        if not name:
            return {"collections": [{"name": one} for one in self.collections()]}
        if rest == ["exists"]:
            return {"exists": self.local.collection_exists(name)}
        if method == "PUT" and not rest:
            size = models.VectorParams(**body["vectors"])
            return self.local.create_collection(name, vectors_config=size)
        if not self.local.collection_exists(name):
            raise KeyError(f"Not found: Collection `{name}` doesn't exist!")
        if method == "DELETE":
            return self.local.delete_collection(name)
        if rest == ["points", "count"]:
            return {"count": self.local.count(name, exact=body["exact"]).count}
        if rest == ["points", "query"]:
            assert body["params"] == {"exact": True}, body
            found = self.local.query_points(name, query=body["query"]["nearest"], limit=body["limit"]).points
            return {"points": [{"id": one.id, "version": 0, "score": one.score} for one in found]}
        assert (method, rest) == ("PUT", ["points"]), (method, path)
        points = body["points"] if "points" in body else _of_batch(body["batch"])
        if self.local.count(name).count + len(points) > self.fail_after:
            raise RuntimeError("no space left")
        self.local.upsert(name, [models.PointStruct(**one) for one in points])
        return {"operation_id": 0, "status": "completed"}


def _of_batch(batch: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"id": one, "vector": vector} for one, vector in zip(batch["ids"], batch["vectors"], strict=True)]


@contextmanager
def qdrant(key: str | None = None) -> Iterator[Qdrant]:
    server = Qdrant(key)

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            if server.key and self.headers.get("api-key") != server.key:
                return self.say(401, "Must provide an API key or an Authorization bearer token")
            try:
                return self.say(200, {"result": server.answer(self.command, self.path, body), "time": 0.0})
            except KeyError as error:
                return self.say(404, {"status": {"error": error.args[0]}, "time": 0.0})
            except RuntimeError as error:
                return self.say(500, {"status": {"error": str(error)}, "time": 0.0})

        do_GET = do_POST = do_PUT = do_DELETE = handle_one

        def say(self, status: int, body: Any) -> None:
            data = json.dumps({"status": "ok"} | body if isinstance(body, dict) else body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        server.local.close()
