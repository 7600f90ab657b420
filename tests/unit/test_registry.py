"""Which version answers which name, while versions come and go."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from fakes import BASE, FakeDeployment, FakeEngine, deployment, in_loop, sha, state_of, until

from appkit.errors import BundleError, ModelError, RunError
from appkit.serving.engines.protocol import NULL, Conflict, JobRefused
from appkit.serving.gateway.registry import Alias, Registry, Unknown

ONE, TWO, THREE = (f"nl2fol@{sha(name)[:12]}" for name in ("one", "two", "three"))


class Shelf:
    """A registry over one fake engine, and what its directories hold."""

    def __init__(self, root: Path, **given: Any) -> None:
        self.gateway, self.engine, self.bundles = state_of(root, **given)
        self.registry: Registry = self.gateway.registry
        self.root = self.gateway.root or root
        for version in ("one", "two", "three"):
            self.bundles[version] = deployment(version=version)

    async def add(self, directory: str, alias: str | None = None, **options: Any) -> str:
        return (await self.registry.add(self.root / directory, alias, **options)).ref

    def asked(self, model: str, draw: float = 0.999) -> str:
        return self.registry.resolve(model, lambda: draw).ref


@asynccontextmanager
async def shelf(root: Path, *directories: str, **given: Any) -> AsyncIterator[Shelf]:
    made = Shelf(root, **given)
    for directory in directories:
        await made.add(directory)
    try:
        yield made
    finally:
        await made.gateway.pool.close()


@in_loop
async def test_a_name_is_an_alias_a_version_or_a_base(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two") as one:
        assert one.asked("nl2fol") == ONE  # the first has its name; the second does not take it
        assert one.asked(TWO) == TWO
        assert one.asked(f"nl2fol@{sha('two')}") == TWO
        assert one.asked(f"nl2fol@{sha('two')[:8]}") == TWO
        assert one.asked(BASE) == BASE
        assert one.registry.resolve(BASE).adapter == NULL
        assert set(one.engine.adapters) == {sha("one"), sha("two")}


@pytest.mark.parametrize(
    "model",
    ["", "nl2fo", "other", "@", "nl2fol@", f"nl2fol@{sha('two')[:7]}", f"other@{sha('two')}", "nl2fol@zzzzzzzz",
     f"@{sha('two')}", f"{TWO}@x", f"nl2fol@{sha('two')}0", "NL2FOL"],
)  # fmt: skip
@in_loop
async def test_any_other_name_is_unknown(tmp_path: Path, model: str) -> None:
    async with shelf(tmp_path, "one", "two") as one:
        with pytest.raises(Unknown, match="GET /v1/models lists them"):
            one.asked(model)


@in_loop
async def test_a_version_whose_pin_could_mean_another_is_refused(tmp_path: Path) -> None:
    """Eight equal digits take minutes to find, and a pin of eight digits is valid."""
    async with shelf(tmp_path, "one") as one:
        for digits in (8, 12, 20):
            twin = deployment(version="one")
            twin.manifest["sha"] = sha("one")[:digits] + "f" * (64 - digits)
            one.bundles["twin"] = twin
            with pytest.raises(Conflict, match="begins as another version does"):
                await one.add("twin")
            assert one.registry.resolve(f"nl2fol@{sha('one')[:8]}").adapter == sha("one")
        one.registry.unpoint("nl2fol")
        await one.registry.remove(ONE)
        with pytest.raises(Conflict, match="begins as another version does"):  # the pin outlives the version
            await one.add("twin")


@in_loop
async def test_no_base_has_the_name_of_a_pin(tmp_path: Path) -> None:
    """A base's name stands in the bundle; here it is the pin of a version that is served."""
    pin = f"nl2fol@{sha('one')}"
    async with shelf(tmp_path, "one") as one:
        named = deployment(version="two", dtype="bfloat16")
        one.registry._load_adapter = lambda *_: asyncio.sleep(0)  # type: ignore[method-assign]
        named.base_name = pin
        one.bundles["two"] = named
        one.registry.pool.engine = lambda *_: asyncio.sleep(0, object())  # type: ignore[method-assign, assignment]
        await one.add("two")
        assert one.asked(pin) == ONE
        assert not [name for name in one.registry.bases if "@" in name]


@in_loop
async def test_one_payload_under_two_names_is_removed_with_the_last(tmp_path: Path) -> None:
    """The name stands in the manifest, which no hash covers: who removes a copy must not take the other down."""
    copy = f"copy@{sha('one')[:12]}"
    async with shelf(tmp_path, "one") as one:
        one.bundles["copy"] = deployment(name="copy", version="one")
        one.bundles["copy"].path = Path("one")
        await one.add("copy")
        one.registry.unpoint("copy")
        await one.registry.remove(copy)
        assert one.asked(ONE) == ONE
        assert set(one.engine.adapters) == {sha("one")}
        one.registry.unpoint("nl2fol")
        await one.registry.remove(ONE)
        assert not one.engine.adapters


@pytest.mark.parametrize(
    "fault", [RecursionError(), UnicodeError(), MemoryError(), OverflowError(), OSError("x")]
)
@in_loop
async def test_whatever_a_bundle_does_to_its_reader_it_alone_is_refused(
    tmp_path: Path, fault: Exception
) -> None:
    async with shelf(tmp_path, "one") as one:
        one.bundles["two"] = fault  # type: ignore[assignment]
        with pytest.raises(BundleError, match=f"two is damaged: {type(fault).__name__} while it was read"):
            await one.add("two")
        assert one.asked("nl2fol") == ONE


@in_loop
async def test_a_base_that_is_not_here_is_the_bundles_fault(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one") as one:
        one.bundles["two"] = ModelError("no model 'far/away'\nhere")  # type: ignore[assignment]
        with pytest.raises(
            BundleError, match="two: its base cannot be served here: no model 'far/away' here"
        ):
            await one.add("two")
        assert one.asked("nl2fol") == ONE


@in_loop
async def test_adding_the_same_again_changes_nothing_but_the_alias(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one") as one:
        target = one.registry.versions[ONE]
        assert await one.add("one", "other") == ONE
        assert one.registry.versions == {ONE: target}
        assert one.asked("other") == ONE


# --- certificates that anybody could have written ---------------------------------------------------------


class Doubted:
    """The second bundle's certificate has no seal; outcome: of its checks, which need a real engine."""

    def __init__(self, shelf: Shelf, outcome: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.checked: list[str] = []
        shelf.bundles["two"].doubted = True
        shelf.bundles["two"].certificate = {"sealed": False, "seal_fault": "has no seal"}

        async def certify_served(deployment: Any, engine: Any) -> Any:
            assert engine is shelf.engine
            assert deployment.sha in engine.adapters  # it is loaded, and nobody can name it yet
            with pytest.raises(Unknown):
                shelf.asked(deployment.ref)
            self.checked.append(deployment.sha)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr("appkit.serving.certify.certify.certify_served", certify_served)


@in_loop
async def test_a_doubted_bundle_is_checked_before_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shelf(tmp_path, "one") as one:
        made = {"sealed": True, "made_at": "now"}
        doubted = Doubted(one, made, monkeypatch)
        await one.add("two")
        assert doubted.checked == [sha("two")]
        target = one.registry.version(TWO)
        assert target.deployment is not None
        assert target.deployment.certificate == made
        await one.add("two")  # it is served already
        assert doubted.checked == [sha("two")]


@pytest.mark.parametrize(
    ("outcome", "refusal", "line"),
    [
        (BundleError("does not give what training gave"), BundleError, "does not give"),
        (ValueError("shapes"), BundleError, "two is damaged: ValueError while it was read"),
        (
            JobRefused("no room"),
            BundleError,
            r"its checks cannot be made in this engine \(no room\); make them in one",
        ),
        (RunError("it ended"), RunError, "it ended"),
    ],
)
@in_loop
async def test_one_that_fails_its_checks_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    outcome: Exception,
    refusal: type[Exception],
    line: str,
) -> None:
    async with shelf(tmp_path, "one") as one:
        Doubted(one, outcome, monkeypatch)
        with pytest.raises(refusal, match=line):
            await one.add("two")
        assert set(one.engine.adapters) == {sha("one")}
        assert one.asked("nl2fol") == ONE
        with pytest.raises(Unknown):
            one.asked(TWO)
        # a copy of what is served is taken down by no copy that fails
        one.bundles["copy"] = deployment(name="copy", version="one")
        one.bundles["copy"].doubted = True
        with pytest.raises(refusal):
            await one.add("copy")
        assert set(one.engine.adapters) == {sha("one")}


# --- canaries, moves, rollback ----------------------------------------------------------------------------


@in_loop
async def test_a_canary_gets_its_share(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two") as one:
        one.registry.point("nl2fol", TWO, 0.25)
        draws = [number / 100 for number in range(100)]
        assert [one.asked("nl2fol", draw) for draw in draws] == [TWO] * 25 + [ONE] * 75
        one.registry.point("nl2fol", TWO)  # it has proven itself
        assert {one.asked("nl2fol", draw) for draw in draws} == {TWO}
        assert one.registry.aliases["nl2fol"] == Alias(TWO, previous=ONE)


@in_loop
async def test_rollback_withdraws_the_canary_first_and_then_goes_back_and_forth(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two", "three") as one:
        one.registry.point("nl2fol", TWO)
        one.registry.point("nl2fol", THREE, 0.5)
        assert one.asked("nl2fol", 0.0) == THREE
        assert one.registry.rollback("nl2fol") == Alias(TWO, previous=ONE)
        assert one.asked("nl2fol", 0.0) == TWO
        assert one.registry.rollback("nl2fol") == Alias(ONE, previous=TWO)
        assert one.registry.rollback("nl2fol") == Alias(TWO, previous=ONE)
        one.registry.point("nl2fol", TWO)  # where it is already: the way back stays
        assert one.registry.rollback("nl2fol").current == ONE


@in_loop
async def test_what_cannot_be_moved_is_told(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two") as one:
        with pytest.raises(Conflict, match="neither a canary nor an earlier version"):
            one.registry.rollback("nl2fol")
        with pytest.raises(Conflict, match="alias 'new' does not exist"):
            one.registry.point("new", TWO, 0.1)
        with pytest.raises(Conflict, match="is the name of a base"):
            one.registry.point(BASE, TWO)
        for odd in ("", "a/b", "a@b", "..", ".hidden", "a" * 65, "ü"):
            with pytest.raises(Conflict, match="an alias is made of"):
                one.registry.point(odd, TWO)
            with pytest.raises(Conflict, match="an alias is made of"):
                await one.add("two", odd)
        for call in (one.registry.rollback, one.registry.unpoint):
            with pytest.raises(Unknown, match="no alias 'new'"):
                call("new")
        with pytest.raises(Unknown):
            one.registry.point("nl2fol", f"nl2fol@{sha('four')}")
        assert one.registry.aliases == {"nl2fol": Alias(ONE)}
        one.registry.unpoint("nl2fol")
        assert one.asked(ONE) == ONE
        with pytest.raises(Unknown):
            one.asked("nl2fol")


# --- removal ----------------------------------------------------------------------------------------------


@in_loop
async def test_a_version_leaves_the_engine_with_its_last_request(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two") as one:
        target = one.registry.resolve(TWO)
        with target.used():
            with target.used():
                removal = asyncio.create_task(one.registry.remove(TWO))
                await until(lambda: TWO not in one.registry.versions)
                with pytest.raises(Unknown):  # no new request begins
                    one.asked(TWO)
            await asyncio.sleep(0)
            assert not removal.done()
            assert sha("two") in one.engine.adapters
        assert await removal is target
        assert set(one.engine.adapters) == {sha("one")}
        assert one.asked("nl2fol") == ONE


@in_loop
async def test_a_version_that_an_alias_needs_stays(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two") as one:
        one.registry.point("nl2fol", TWO, 0.1)
        for ref in (ONE, TWO):
            with pytest.raises(Conflict, match=f"alias 'nl2fol' points to {ref}"):
                await one.registry.remove(ref)
        with pytest.raises(Unknown):
            await one.registry.remove("nl2fol@ffffffff")
        one.registry.point("nl2fol", TWO)
        await one.registry.remove(ONE)
        with pytest.raises(Conflict):  # the way back is gone with it
            one.registry.rollback("nl2fol")


@in_loop
async def test_one_that_is_brought_back_while_it_leaves_stays(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two") as one:
        with one.registry.resolve(TWO).used():
            removal = asyncio.create_task(one.registry.remove(TWO))
            await until(lambda: TWO not in one.registry.versions)
            await one.add("two")
        await removal
        assert one.asked(TWO) == TWO
        assert sha("two") in one.engine.adapters


@in_loop
async def test_requests_of_before_it_was_brought_back_still_hold_it(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two") as one:
        with one.registry.resolve(TWO).used():
            first = asyncio.create_task(one.registry.remove(TWO))
            await until(lambda: TWO not in one.registry.versions)
            await one.add("two")
            second = asyncio.create_task(one.registry.remove(TWO))
            await until(lambda: TWO not in one.registry.versions)
            for _ in range(5):
                await asyncio.sleep(0)
            assert sha("two") in one.engine.adapters
        await asyncio.gather(first, second)
        assert sha("two") not in one.engine.adapters


@in_loop
async def test_one_that_is_brought_back_while_the_engine_forgets_it_is_loaded(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two") as one:
        forget, forgetting, go_on = one.engine.remove, asyncio.Event(), asyncio.Event()

        async def slow(adapter: str) -> None:
            forgetting.set()
            await go_on.wait()
            await forget(adapter)

        one.engine.remove = slow  # type: ignore[method-assign]
        removal = asyncio.create_task(one.registry.remove(TWO))
        await forgetting.wait()
        again = asyncio.create_task(one.add("two"))
        for _ in range(20):
            await asyncio.sleep(0.001)
        go_on.set()
        await asyncio.gather(removal, again)
        assert one.asked(TWO) == TWO
        assert sha("two") in one.engine.adapters


# --- ceilings and faults ----------------------------------------------------------------------------------


@in_loop
async def test_ceilings_are_conflicts_that_name_the_setting(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", max_bundles=2, max_engines=1) as one:
        one.bundles["other"] = deployment(version="other", base="other")
        with pytest.raises(Conflict, match=r"serve\.max_engines"):
            await one.add("other")
        await one.add("two")
        with pytest.raises(Conflict, match=r"2 bundles are served, the limit is 2; .*serve\.max_bundles"):
            await one.add("three")
        assert await one.add("two", "again") == TWO  # what is served already takes no more room
        one.registry.unpoint("again")
        await one.registry.remove(TWO)
        assert await one.add("three") == THREE


@in_loop
async def test_a_bundle_that_cannot_be_had_changes_nothing(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one") as one:
        before = (tmp_path / ".appkit-serve.json").read_text()
        one.engine.refuses[Path("store/two")] = JobRefused("its tensors are torn")
        with pytest.raises(BundleError, match=f"{TWO} is refused by the engine: its tensors are torn"):
            await one.add("two", "nl2fol")
        one.bundles["three"] = BundleError("no certificate")
        with pytest.raises(BundleError, match="no certificate"):
            await one.add("three", "nl2fol")
        one.bundles["other"] = deployment(version="other", base="other")
        with pytest.raises(RunError, match="no weights"):
            await one.add("other", "nl2fol")
        assert list(one.registry.versions) == [ONE]
        assert one.asked("nl2fol") == ONE
        assert (tmp_path / ".appkit-serve.json").read_text() == before
        del one.engine.refuses[Path("store/two")]
        assert await one.add("two", "nl2fol") == TWO


# --- what is kept ------------------------------------------------------------------------------------------


@in_loop
async def test_aliases_and_removals_hold_after_a_restart(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two", "three") as one:
        one.registry.point("nl2fol", TWO)
        one.registry.point("nl2fol", ONE, 0.5)
        one.registry.point("other", ONE)
        await one.registry.remove(THREE)
        kept = {name: asdict(alias) for name, alias in one.registry.aliases.items()}
    async with shelf(tmp_path) as again:
        for directory in ("one", "two"):
            await again.add(directory, again=True)
        with pytest.raises(Conflict, match="was removed; POST /v1/bundles brings it back"):
            await again.add("three", again=True)
        assert again.registry.settle() == []
        assert {name: asdict(alias) for name, alias in again.registry.aliases.items()} == kept
        assert again.asked("nl2fol", 0.1) == ONE
        assert await again.add("three") == THREE  # by hand
    async with shelf(tmp_path) as third:
        assert await third.add("three", again=True) == THREE


@in_loop
async def test_aliases_of_bundles_that_are_gone_are_settled(tmp_path: Path) -> None:
    async with shelf(tmp_path, "one", "two", "three") as one:
        one.registry.point("back", ONE)
        one.registry.point("back", TWO)
        one.registry.point("canary", ONE)
        one.registry.point("canary", TWO, 0.5)
        one.registry.point("gone", TWO)
    kept = (tmp_path / ".appkit-serve.json").read_text()
    async with shelf(tmp_path) as again:
        await again.add("one", again=True)
        assert sorted(again.registry.settle()) == ["back", "gone"]
        assert again.registry.aliases["back"] == Alias(ONE)
        assert again.registry.aliases["canary"] == Alias(ONE)
        assert "gone" not in again.registry.aliases
    assert json.loads(kept)["aliases"]["gone"]["current"] == TWO


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"aliases": {"a": {}}, "removed": []}', '{"aliases": [], "removed": []}']
)
def test_a_broken_state_file_is_one_line_with_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / ".appkit-serve.json").write_text(text)
    with pytest.raises(BundleError, match=r"\.appkit-serve\.json cannot be read: .*; correct or remove it"):
        Shelf(tmp_path)


def test_a_ref_names_twelve_digits() -> None:
    one: FakeDeployment = deployment(version="one")
    assert one.ref == ONE
    assert FakeEngine().adapters == {}
