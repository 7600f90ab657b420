"""A checkpoint is whole or it is not there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from appkit.errors import AppkitError, RunError
from appkit.training import checkpoint


def write(stage: Path) -> None:
    (stage / "weights").write_bytes(bytes(range(256)) * 40)
    (stage / "state.json").write_text('{"a": 1}')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def steps(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoint.checkpoints(folder)]


def test_the_manifest_has_every_file_with_size_and_hash(folder: Path) -> None:
    path = checkpoint.save(folder, 7, write, {"preset": "quick"})
    manifest = json.loads((path / "manifest.json").read_text())
    assert path == folder / "step-000007"
    assert (manifest["step"], manifest["preset"]) == (7, "quick")
    assert {name: entry["bytes"] for name, entry in manifest["files"].items()} == {
        "state.json": 8,
        "weights": 10240,
    }
    # sha256 of b'{"a": 1}', by sha256sum
    assert manifest["files"]["state.json"]["sha256"] == (
        "f9d86028c6e0d64e225186f96acb69338b2c59764df79162107f5c4bb34d1310"
    )
    assert checkpoint.verify(path) is None


def _cut(path: Path) -> None:
    (path / "weights").write_bytes((path / "weights").read_bytes()[:-1])


def _flip(path: Path) -> None:
    content = bytearray((path / "weights").read_bytes())
    content[5000] ^= 1
    (path / "weights").write_bytes(content)


def _remove(path: Path) -> None:
    (path / "weights").unlink()


def _no_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def _half_manifest(path: Path) -> None:
    (path / "manifest.json").write_text('{"step": 7, "fi')


def _zeros(path: Path) -> None:
    """What some file systems leave behind after a power cut."""
    (path / "manifest.json").write_bytes(bytes(300))


DAMAGES = [
    (_cut, "weights has 10239 bytes, 10240 were written"),
    (_flip, "weights is not what was written (sha256 differs)"),
    (_remove, "weights is missing"),
    (_no_manifest, "its manifest.json cannot be read (FileNotFoundError)"),
    (_half_manifest, "its manifest.json cannot be read (JSONDecodeError)"),
    (_zeros, "its manifest.json cannot be read (JSONDecodeError)"),
]


@pytest.mark.parametrize(("damage", "fault"), DAMAGES)
def test_damage_is_seen_and_the_one_before_is_taken(
    damage: Callable[[Path], None], fault: str, folder: Path
) -> None:
    for step in (5, 10):
        checkpoint.save(folder, step, write, {})
    assert checkpoint.latest(folder) == (folder / "step-000010", [])
    damage(folder / "step-000010")
    assert checkpoint.verify(folder / "step-000010") == fault
    assert checkpoint.latest(folder) == (
        folder / "step-000005",
        [f"checkpoint step-000010 is damaged and was passed over: {fault}"],
    )
    with pytest.raises(RunError, match=r"step-000010 cannot be loaded: .*; start the run anew"):
        checkpoint.of_step(folder, 10)
    assert checkpoint.of_step(folder, 5) == folder / "step-000005"


def test_where_there_is_none_there_is_none(folder: Path) -> None:
    assert checkpoint.latest(folder) == (None, [])
    assert checkpoint.checkpoints(folder) == []
    assert checkpoint.of(folder, 3) is None
    with pytest.raises(RunError):
        checkpoint.of_step(folder, 3)


def test_what_is_being_written_is_no_checkpoint(folder: Path) -> None:
    def look(stage: Path) -> None:
        write(stage)
        assert checkpoint.checkpoints(folder) == []

    checkpoint.save(folder, 1, look, {})
    assert steps(folder) == [1]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("inline_container.cc: x")]
)
def test_a_write_that_fails_leaves_nothing(error: Exception, folder: Path) -> None:
    def fail(stage: Path) -> None:
        write(stage)
        raise error

    checkpoint.save(folder, 1, write, {})
    with pytest.raises(AppkitError, match=r"no space for .*step-000002"):
        checkpoint.save(folder, 2, fail, {})
    assert [path.name for path in folder.iterdir()] == ["step-000001"]
    assert checkpoint.latest(folder) == (folder / "step-000001", [])


def test_pruning_keeps_the_newest_and_the_best(folder: Path) -> None:
    for step in (1, 2, 30, 4, 100):
        checkpoint.save(folder, step, write, {})
    checkpoint.prune(folder, 2, also=2)
    assert steps(folder) == [2, 30, 100]
    checkpoint.prune(folder, 2)
    assert steps(folder) == [30, 100]
    checkpoint.prune(folder, 5)
    assert steps(folder) == [30, 100]


def test_a_damaged_one_makes_room(folder: Path) -> None:
    path = checkpoint.save(folder, 1, write, {})
    _cut(path)
    checkpoint.discard(path)
    assert steps(folder) == []
    checkpoint.save(folder, 1, write, {})
    assert checkpoint.verify(path) is None
