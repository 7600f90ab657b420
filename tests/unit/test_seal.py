"""Seals of certificates: only this machine's key makes one, and it holds for one certificate of one payload."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appkit.errors import BundleError, ConfigError
from appkit.heads.checks import Check
from appkit.serving.certify import certificate as module
from appkit.serving.certify.certificate import Certificate, Uncertified, read_certificate, write_certificate
from appkit.serving.certify.seal import key_file, require_key

SHA, BASE = "a" * 64, "sha256:" + "b" * 64
MANIFEST = {"sha": SHA, "base": {"fingerprint": BASE}}
ENGINE = {"engine": "vllm", "version": "1", "dtype": "float32"}
MADE = Certificate(
    SHA,
    BASE,
    **ENGINE,
    checks=(Check("files", True, "5 – all"), Check("metric", None, "")),
    made_at="today",
    manifest=module.digest_manifest(MANIFEST),
)


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's key will be."""
    monkeypatch.setenv("APPKIT_SEAL_KEY", str(tmp_path / "data" / "seal.key"))
    return tmp_path / "data" / "seal.key"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "bundle").mkdir()
    write_certificate(tmp_path / "bundle", MADE)
    return tmp_path / "bundle"


def read(bundle: Path, **more: Any) -> dict[str, Any]:
    return read_certificate(bundle, MANIFEST, **ENGINE | more)


def edit(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = bundle / MADE.file
    values = json.loads(file.read_text(encoding="utf-8"))
    change(values)
    file.write_text(json.dumps(values), encoding="utf-8")


# --- the key ----------------------------------------------------------------------------------------------


def test_the_key_is_random_its_users_alone_and_stays(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0)
    try:
        first = require_key()
    finally:
        os.umask(before)
    assert (len(first), key.read_bytes(), require_key()) == (32, first, first)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    monkeypatch.setenv("APPKIT_SEAL_KEY", str(key.with_name("other")))
    assert require_key() != first


def test_it_lies_beside_the_users_data_not_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPKIT_SEAL_KEY", "")
    monkeypatch.setenv("APPKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name: str(tmp_path / "share" / name))
    assert key_file() == tmp_path / "share" / "appkit" / "seal.key"
    require_key()
    assert not (tmp_path / "cache").exists()


def test_processes_that_need_it_at_once_make_one(key: Path) -> None:
    code = "from appkit.serving.certify.seal import require_key; print(require_key().hex())"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    printed = {process.communicate(timeout=60)[0] for process in processes}
    assert printed == {f"{key.read_bytes().hex()}\n"}
    assert {file.name for file in key.parent.iterdir()} <= {"seal.key", ".seal.key.lock"}


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33, b"x" * 99])
def test_a_file_that_is_no_key_is_one_line(key: Path, content: bytes) -> None:
    key.parent.mkdir()
    key.write_bytes(content)
    with pytest.raises(
        ConfigError, match=r"is no key of certificates: it has .* bytes, a key has 32"
    ) as told:
        require_key()
    assert "\n" not in str(told.value)
    assert key.read_bytes() == content


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("APPKIT_SEAL_KEY", str(tmp_path / "file" / "seal.key"))
    with pytest.raises(ConfigError, match=r"cannot be made or read: .*APPKIT_SEAL_KEY") as told:
        require_key()
    assert "\n" not in str(told.value)


# --- what a seal holds for --------------------------------------------------------------------------------


def test_what_was_sealed_here_is_read_here(bundle: Path) -> None:
    certificate = read(bundle)
    assert certificate["sealed"] is True
    assert "seal" not in certificate
    assert [check["figure"] for check in certificate["checks"]] == ["5 – all", ""]
    edit(bundle, lambda values: None)  # written by another program: spaces and escapes mean nothing
    assert read(bundle)["sealed"]


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "none": (lambda values: values.pop("seal"), "has no seal"),
    "null": (lambda values: values.update(seal=None), "has no seal"),
    "figure": (lambda values: values["checks"][0].update(figure="6"), "was changed after it was sealed"),
    "check": (lambda values: values["checks"].pop(), "was changed after it was sealed"),
    "time": (lambda values: values.update(made_at="later"), "was changed after it was sealed"),
    "made up": (lambda values: values["seal"].update(hmac="0" * 64), "was changed after it was sealed"),
    "other key": (
        lambda values: values["seal"].update(key="0" * 8),
        "was sealed with the key 00000000, this machine's",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_not_sealed_so_is_not_certified_here(bundle: Path, fault: str) -> None:
    change, reason = FAULTS[fault]
    assert (read(bundle)["sealed"], read(bundle)["seal_fault"]) == (True, None)
    edit(bundle, change)
    found = read(bundle)
    assert found["sealed"] is False
    assert reason in found["seal_fault"]


def test_another_machines_seal_counts_once_its_key_is_here(
    bundle: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPKIT_SEAL_KEY", str(key.with_name("other")))
    assert "and this machine has none yet" in read(bundle)["seal_fault"]
    assert not key.with_name("other").exists()  # asking makes no key
    require_key()
    assert re.fullmatch(
        r"was sealed with the key [0-9a-f]{8}, this machine's is [0-9a-f]{8}", read(bundle)["seal_fault"]
    )
    key.with_name("other").write_bytes(b"")
    assert "this machine's cannot be read" in read(bundle)["seal_fault"]
    key.with_name("other").write_bytes(key.read_bytes())
    assert read(bundle)["sealed"]


@pytest.mark.parametrize("change", [{"confidence": None}, {"head": {"pooling": "mean"}}, {"name": "other"}])
def test_a_seal_holds_for_the_manifest_too(bundle: Path, change: dict[str, Any]) -> None:
    """It says how answers are made of what the payload computes."""
    assert read_certificate(bundle, dict(reversed(MANIFEST.items())), **ENGINE)["sealed"]
    changed = read_certificate(bundle, MANIFEST | change, **ENGINE)
    assert (changed["sealed"], changed["seal_fault"]) == (False, "was made before the manifest was changed")


def test_a_seal_cannot_be_moved_to_another_bundle_or_engine(bundle: Path) -> None:
    for manifest in (MANIFEST | {"sha": "c" * 64}, MANIFEST | {"base": {"fingerprint": "sha256:1"}}):
        with pytest.raises(BundleError, match="belongs to another bundle"):
            read_certificate(bundle, manifest, **ENGINE)
    edit(bundle, lambda values: values.update(bundle="c" * 64))
    moved = read_certificate(bundle, MANIFEST | {"sha": "c" * 64}, **ENGINE)
    assert moved["seal_fault"] == "was changed after it was sealed"


@pytest.mark.parametrize("changed", [{"version": "2"}, {"dtype": "bfloat16"}, {"form": "-folded"}])
def test_a_certificate_for_another_engine_is_none_under_its_name(
    bundle: Path, changed: dict[str, str]
) -> None:
    other = ENGINE | changed
    with pytest.raises(Uncertified, match="has no certificate for"):
        read(bundle, **changed)
    (bundle / MADE.file).rename(module.certificate_file(bundle, **other))
    with pytest.raises(BundleError, match="belongs to another bundle, base or engine"):
        read(bundle, **changed)


@pytest.mark.parametrize(
    "seal", [5, [], {}, {"key": "0" * 8}, {"key": "X" * 8, "hmac": "0" * 64}, {"key": 1, "hmac": 2}]
)
def test_a_seal_that_is_none_is_one_line(bundle: Path, seal: Any) -> None:
    edit(bundle, lambda values: values.update(seal=seal))
    with pytest.raises(BundleError, match="cannot be read: ") as told:
        read(bundle)
    assert "\n" not in str(told.value)


def test_no_certificate_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "certificates").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="is a link, which is not followed"):
        write_certificate(tmp_path / "new", MADE)
    assert list((tmp_path / "elsewhere").iterdir()) == []
