"""API keys: nothing but hashes is kept, nobody gets in by accident, and a file that breaks locks nobody out."""

import json
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from appkit.errors import ConfigError
from appkit.serving.gateway.keys import OPEN, Key, Keys, add_key, read_keys


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def write(file: Path, *entries: Any) -> None:
    """Replaced, as an editor does: even within one tick of the clock it is another file."""
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"keys": entries}))
    os.replace(new, file)


def entry(name: str = "a", secret: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": sha256(secret.encode()).hexdigest()} | more


def test_only_the_hash_is_kept(file: Path) -> None:
    secret = add_key(file, "operator", admin=True)
    assert len(secret) > 40
    assert secret not in file.read_text()
    (key,) = read_keys(file)
    assert key == Key("operator", sha256(secret.encode()).hexdigest(), admin=True)


def test_each_secret_is_another(file: Path) -> None:
    assert len({add_key(file, name) for name in "abc"}) == 3
    assert [key.name for key in read_keys(file)] == ["a", "b", "c"]


def test_the_file_is_its_users_alone(file: Path) -> None:
    before = os.umask(0)
    try:
        add_key(file, "a")
        add_key(file, "b")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_secret_is_found_among_others(file: Path) -> None:
    secrets = {name: add_key(file, name) for name in ("a", "b", "c")}
    keys = Keys(file)
    assert [found.name for secret in secrets.values() if (found := keys.who(secret))] == ["a", "b", "c"]


@pytest.mark.parametrize("secret", [None, "", " ", "ak-", "unknown", "ü", "\udcff", "x" * 100_000])
def test_whoever_is_unknown_is_nobody(file: Path, secret: str | None) -> None:
    add_key(file, "a")
    assert Keys(file).who(secret) is None


def test_an_empty_secret_is_nobodys_even_if_its_hash_is_in_the_file(file: Path) -> None:
    write(file, entry(secret=""))
    assert Keys(file).who("") is None
    assert Keys(file).who(None) is None


def test_a_hash_is_no_secret(file: Path) -> None:
    secret = add_key(file, "a")
    assert Keys(file).who(sha256(secret.encode()).hexdigest()) is None


def test_without_a_file_everybody_may_ask_and_nobody_is_an_admin() -> None:
    for secret in (None, "", "anything"):
        assert Keys(None).who(secret) is OPEN
    assert not OPEN.admin
    assert OPEN.may_use("whatever")


def test_a_key_of_some_aliases_may_use_no_others(file: Path) -> None:
    secret = add_key(file, "a", aliases=["nl2fol", "other"])
    key = Keys(file).who(secret)
    assert key
    for alias, may in {
        "nl2fol": True,
        "other": True,
        "nl2fo": False,
        "nl2fol@aaaaaaaa": False,
        "": False,
    }.items():
        assert key.may_use(alias) is may, alias
    assert not Key("none", "", aliases=()).may_use("nl2fol")
    assert Key("all", "").may_use("nl2fol")


# --- the rate ---------------------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_is_a_bucket_that_fills_evenly() -> None:
    clock = Clock()
    keys, key = Keys(None, clock), Key("a", "", per_minute=3)
    assert [keys.seconds_to_wait(key) for _ in range(3)] == [0, 0, 0]
    assert keys.seconds_to_wait(key) == pytest.approx(20)
    clock.now += 15
    assert keys.seconds_to_wait(key) == pytest.approx(5)  # a refused request costs nothing
    clock.now += 5
    assert keys.seconds_to_wait(key) == 0
    assert keys.seconds_to_wait(key) == pytest.approx(20)
    clock.now += 10_000  # no more is saved up than a minute's
    assert [bool(keys.seconds_to_wait(key)) for _ in range(4)] == [False, False, False, True]


def test_one_keys_rate_is_not_anothers() -> None:
    keys = Keys(None, Clock())
    assert [keys.seconds_to_wait(Key(name, "", per_minute=1)) for name in ("a", "b")] == [0, 0]
    assert keys.seconds_to_wait(Key("a", "", per_minute=1)) == pytest.approx(60)
    assert [keys.seconds_to_wait(Key("free", "")) for _ in range(1000)] == [0] * 1000


# --- the file changes -------------------------------------------------------------------------------------


def test_a_key_that_is_added_or_removed_counts_at_once(file: Path) -> None:
    old = add_key(file, "old")
    keys = Keys(file)
    new = add_key(file, "new")
    assert [bool(keys.who(old)), bool(keys.who(new))] == [True, True]
    write(file, *(one for one in json.loads(file.read_text())["keys"] if one["name"] == "new"))
    assert [bool(keys.who(old)), bool(keys.who(new))] == [False, True]


BROKEN = {
    "no JSON": "{",
    "no object": "[]",
    "no keys": "{}",
    "keys of another type": '{"keys": 5}',
    "a key that is a text": '{"keys": ["secret"]}',
    "a key that is nothing": '{"keys": [null]}',
    "no name": '{"keys": [{"sha256": "' + "0" * 64 + '"}]}',
    "no hash": '{"keys": [{"name": "a"}]}',
    "a secret for a hash": '{"keys": [{"name": "a", "sha256": "ak-secret"}]}',
    "an unknown field": json.dumps({"keys": [entry(rights="all")]}),
    "two of a name": json.dumps({"keys": [entry(), entry(secret="y")]}),
    "a rate of 0": json.dumps({"keys": [entry(per_minute=0)]}),
    "a rate that is no number": json.dumps({"keys": [entry(per_minute="5")]}),
    "aliases that are one text": json.dumps({"keys": [entry(aliases="nl2fol")]}),
    "a right that is a text": json.dumps({"keys": [entry(admin="false")]}),
    "a name that is no text": json.dumps({"keys": [entry(name=5)]}),
    "no text at all": "\0\udcff",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_at_the_start_and_changes_nothing_later(
    file: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = add_key(file, "a")
    keys = Keys(file)
    new = file.with_suffix(".new")
    new.write_bytes(text.encode("utf-8", "surrogateescape"))
    os.replace(new, file)
    with pytest.raises(ConfigError, match=r"keys\.json"):
        read_keys(file)
    found = keys.who(secret)
    assert found
    assert found.name == "a"
    assert "the earlier keys still hold" in caplog.text
    write(file, entry(name="b", secret="mended"))
    assert keys.who("mended")
    assert keys.who(secret) is None


def test_a_file_that_is_gone_changes_nothing(file: Path) -> None:
    secret = add_key(file, "a")
    keys = Keys(file)
    file.unlink()
    assert keys.who(secret)


def test_a_missing_file_is_one_line_with_the_remedy(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"no key file .*keys.json; make one: appkit keys add"):
        Keys(file)


@pytest.mark.parametrize("name", ["", "Upper", "two words", "../up", "ü", ".hidden", "a" * 65, "a\n"])
def test_an_odd_name_is_refused(file: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="a key's name is made of"):
        add_key(file, name)
    assert not file.exists()


def test_what_cannot_be_added_leaves_the_file_alone(file: Path) -> None:
    add_key(file, "a")
    before = file.read_text()
    with pytest.raises(ConfigError, match="already has a key 'a'"):
        add_key(file, "a")
    with pytest.raises(ConfigError, match="per_minute must be 1 or more, got 0"):
        add_key(file, "b", per_minute=0)
    assert file.read_text() == before
    file.write_text("{")
    with pytest.raises(ConfigError, match="is no key file"):
        add_key(file, "b")
    assert file.read_text() == "{"
