"""Bundles of strangers beside a bundle in use: refused alone, in one line, or they change nothing but themselves."""

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted import remake, with_config
from running import in_thread

from appkit.serving.gateway import connections
from appkit.serving.gateway.keys import add_key

KEPT = Path(__file__).parents[1] / "golden" / "version_0_1"
FEW = settings(
    max_examples=int(os.environ.get("APPKIT_FUZZ_EXAMPLES", "5")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
LISTS = ("/v1/bundles", "/v1/models", "/v1/tasks")
ADAPTER, WEIGHTS, MANIFEST = "adapter_config.json", "adapter_model.safetensors", "appkit.json"


def place(name: str, target: Path, base: Path) -> Path:
    """A bundle of 0.1 as another version, whose manifest names the base where it is now."""
    shutil.copytree(KEPT / name, target, ignore=shutil.ignore_patterns("certificates"))
    change(target, lambda manifest: manifest["config"]["model"].update(id=str(base), name=str(base)))
    (target / "report.md").write_text(f"Report of {target.name!a}.")
    remake(target)
    return target


def change(bundle: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    edit(manifest)
    (bundle / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def replace_text(old: str, new: bytes) -> Callable[[Path], None]:
    def plant(bundle: Path) -> None:
        content = (bundle / MANIFEST).read_bytes()
        assert old.encode() in content
        (bundle / MANIFEST).write_bytes(content.replace(old.encode(), new, 1))

    return plant


def replicate_layers(bundle: Path) -> None:
    with_config(layer_replication=[[0, 3], [0, 3]])(bundle)
    remake(bundle)


def match_forever(bundle: Path) -> None:
    with_config(target_modules="(.*.*)*(.*.*)*x")(bundle)
    remake(bundle)


def take_from_the_base(bundle: Path) -> None:
    with_config(init_lora_weights="pissa")(bundle)
    remake(bundle)


def take_a_pin(bundle: Path) -> None:
    own = json.loads((bundle.parent / "good" / MANIFEST).read_text(encoding="utf-8"))
    change(bundle, lambda manifest: manifest.update(name=f"nl2fol@{own['sha'][:12]}"))


def tear_the_weights(bundle: Path) -> None:
    (bundle / WEIGHTS).write_bytes((2).to_bytes(8, "little") + b"[]")
    remake(bundle)


def link_the_report(bundle: Path) -> None:
    (bundle / "report.md").unlink()
    (bundle / "report.md").symlink_to("/etc/passwd")
    remake(bundle)


DAMAGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "infinity": (replace_text('"seed": 0', b'"seed": Infinity'), "Infinity is no number"),
    "nesting": (replace_text('"seed": 0', b'"seed": ' + b"[" * 99_999 + b"]" * 99_999), "nested deeper"),
    "bytes": (replace_text('"seed": 0', b'"seed": "\xff"'), "cannot be read"),
    "type": (lambda path: change(path, lambda manifest: manifest.update(exported=[])), "exported: "),
    "number": (lambda path: change(path, lambda m: m["exported"].update(rank="x")), "exported.rank: "),
    "expression": (match_forever, "target_modules: "),
    "layers": (replicate_layers, "layer_replication: "),
    "start": (take_from_the_base, "init_lora_weights"),
    "pin": (take_a_pin, "name: "),
    "weights": (tear_the_weights, "cannot be read"),
    "link": (link_the_report, "report.md is a link"),
    "pipe": (lambda path: ((path / MANIFEST).unlink(), os.mkfifo(path / MANIFEST)), "no regular file"),
    "pickle": (lambda path: (path / WEIGHTS).rename(path / "adapter_model.bin"), f"{WEIGHTS} is missing"),
    "hub": (lambda path: change(path, lambda m: m["config"]["task"].update(name="none")), "none"),
}
"""what is planted into a bundle, and words of the reason"""


@dataclass
class Live:
    """A gateway that was started over a good bundle and one of each damage."""

    root: Path
    base: Path
    http: httpx.Client
    pin: str
    """of the good bundle"""
    before: list[bytes] = field(default_factory=list)
    """its answers, and the base's, as they were at the start"""

    def answers(self) -> list[bytes]:
        """What the good bundle and the base say, to the byte, but for what is the time's or the request's."""
        replies = []
        for model in (self.pin, "base-nf4"):
            body = {"model": model, "prompt": "Wombats yodel here.", "max_tokens": 8, "temperature": 0}
            reply = self.http.post("/v1/completions", json=body)
            assert reply.status_code == 200, reply.text
            replies.append(json.dumps(reply.json()["choices"]).encode())
        return replies

    def check_unchanged(self) -> None:
        assert self.answers() == self.before
        for route in LISTS:
            assert self.http.get(route).status_code == 200, route

    def add(self, directory: str) -> httpx.Response:
        reply = self.http.post("/v1/bundles", json={"path": directory, "alias": "stranger"})
        if reply.status_code != 201:
            message = reply.json()["error"]["message"]
            assert reply.status_code in (409, 422), reply.text
            assert "\n" not in message
            assert str(self.root) not in message
        return reply

    def remove(self, ref: str) -> None:
        assert self.http.delete("/v1/aliases/stranger").status_code == 200
        assert self.http.delete(f"/v1/bundles/{ref}").status_code == 200


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("strangers")
    base = Path(shutil.copytree(KEPT / "base", folder / "base"))
    root = folder / "root"
    good = place("nl2fol", root / "good", base)
    for name, (plant, _) in DAMAGED.items():
        plant(place("nl2fol", root / name, base))
    odd = os.fsdecode(os.fsencode(root) + b"/\xff\n")  # a name that no list can hold as it is
    place("nl2fol", Path(odd), base)
    keys = folder / "keys.json"
    secret = add_key(keys, "admin", admin=True)
    sha = json.loads((good / MANIFEST).read_text(encoding="utf-8"))["sha"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APPKIT_CACHE", str(folder / "cache"))
        with in_thread(root=root, keys=keys, engine="transformers", certified=False) as url:
            headers = {"Authorization": f"Bearer {secret}"}
            with httpx.Client(base_url=url, headers=headers, timeout=60, verify=False) as http:
                live = Live(root, base, http, f"nl2fol@{sha}")
                live.before = live.answers()
                yield live


def test_each_damaged_bundle_is_refused_alone_and_listed_with_its_reason(live: Live) -> None:
    live.check_unchanged()
    listed = live.http.get("/v1/bundles").json()
    refused = {Path(directory).name: reason for directory, reason in listed["refused"].items()}
    assert {name for name, (_, reason) in DAMAGED.items() if reason in refused.get(name, "")} == set(DAMAGED)
    assert all("\n" not in reason for reason in refused.values())
    assert listed["bundles"][0]["bundle"] == live.pin[: len("nl2fol@") + 12]
    assert live.before[0] != live.before[1]  # the pin is the good bundle, not the base


@pytest.mark.parametrize("name", DAMAGED)
def test_it_is_refused_when_it_is_added_too_and_nothing_changes(name: str, live: Live) -> None:
    reply = live.add(name)
    assert reply.status_code == 422, reply.text
    assert DAMAGED[name][1] in reply.json()["error"]["message"]
    live.check_unchanged()


def test_evidence_shows_no_file_but_the_bundles_own(live: Live, tmp_path: Path) -> None:
    """A link is left out, also one that comes while the bundle is served; a text that is no UTF-8 is shown."""
    run = live.root / "run"
    place("nl2fol", run / "bundle", live.base)
    (run / "bundle" / "report.md").write_bytes(b"na\xefve")
    remake(run / "bundle")
    (run / "run.json").write_text("{}")
    (run / "audit.md").symlink_to("/etc/passwd")
    (run / "loss.png").symlink_to("/etc/passwd")
    (run / "scores.png").write_bytes(b"PNG")
    Path(os.fsdecode(os.fsencode(run) + b"/\xff.png")).write_bytes(b"PNG")
    os.mkfifo(run / "pipe.png")
    reply = live.add("run")
    assert reply.status_code == 201, reply.text
    try:
        seen = live.http.get("/v1/tasks/stranger/evidence").json()
        assert seen["report"] == "na\ufffdve"
        assert (list(seen["pictures"]), seen["audit"]) == (["scores"], None)
        (run / "bundle" / "report.md").unlink()
        (run / "bundle" / "report.md").symlink_to("/etc/passwd")
        assert live.http.get("/v1/tasks/stranger/evidence").json()["report"] is None
    finally:
        live.remove(reply.json()["bundle"])


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", '{"made_at": NaN}', "[" * 99_999, '{"bundle": 5}', "\ud800", '{"seal": {"hmac": 1}}'],
    ids=["empty", "list", "nan", "nested", "type", "half", "seal"],
)
def test_a_certificate_is_a_strangers_too(content: str, live: Live) -> None:
    from appkit.serving.certify.certificate import certificate_file
    from appkit.serving.engines.choose import engine_version

    target = live.root / "certificate"
    shutil.rmtree(target, ignore_errors=True)
    place("nl2fol", target, live.base)
    file = certificate_file(target, "transformers", engine_version("transformers"), "float32")
    file.parent.mkdir()
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    assert live.add("certificate").status_code == 422
    live.check_unchanged()


def test_half_a_head_is_not_waited_for_without_end(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the server that `appkit serve` starts."""
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    with socket.create_connection((live.http.base_url.host, live.http.base_url.port), timeout=10) as half:
        half.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n")
        assert half.recv(100) == b""
    live.check_unchanged()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 10**9), st.floats(), st.text(max_size=9), st.just(["a"]), st.just({})
)  # fmt: skip


@FEW
@given(data=st.data(), file=st.sampled_from([ADAPTER, MANIFEST]))
def test_a_mutated_bundle_is_refused_or_changes_nothing_outside_itself(
    data: st.DataObject, file: str, live: Live
) -> None:
    target = live.root / "mutated"
    shutil.rmtree(target, ignore_errors=True)
    place("nl2fol", target, live.base)
    content = json.loads((target / file).read_text(encoding="utf-8"))
    inner = content
    while True:
        key = data.draw(st.sampled_from(sorted(inner)))
        if not (isinstance(inner[key], dict) and inner[key] and data.draw(st.booleans())):
            break
        inner = inner[key]
    inner[key if data.draw(st.integers(0, 5)) else data.draw(st.text(max_size=9))] = data.draw(VALUES)
    (target / file).write_text(json.dumps(content), encoding="utf-8")
    if file == ADAPTER:
        remake(target)
    reply = live.add("mutated")
    live.check_unchanged()
    if reply.status_code == 201:
        live.remove(reply.json()["bundle"])
        live.check_unchanged()
