"""Keeps which bundles are served, and which of them a name means.

A version is `name@sha`, and never changes. An alias points to one, may send a share of its requests to another (the
canary), and remembers the one before, so that one call undoes a move. A request stays with the version that it
began with; a version leaves the engine when nobody uses it any more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appkit.bundles.files import escape
from appkit.bundles.schema import NAME
from appkit.errors import AppkitError, BundleError, ConfigError, ModelError
from appkit.serving.engines.protocol import NULL, Conflict, JobRefused
from appkit.serving.engines.supervised import Pool, Supervised
from appkit.storage.atomic import write_text

if TYPE_CHECKING:
    from appkit.models.chat import Chat
    from appkit.serving.deployment import Deployment

__all__ = ["NAME", "Alias", "Registry", "Target", "Unknown"]

log = logging.getLogger(__name__)

SHORTEST_PIN = 8
"""digits of the sha in `name@sha`, at least"""


class Unknown(AppkitError):
    """Says that no bundle or alias has that name."""


@dataclass(eq=False)
class Target:
    """Answers requests: a bundle, or a base alone."""

    ref: str
    """`name@sha` of a bundle, or a base's name"""
    adapter: str
    """its name in the engine: the bundle's sha, or NULL"""
    engine: Supervised
    chat: Chat
    deployment: Deployment | None = None
    """None: a base alone"""
    running: int = 0
    """requests under way"""
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    """set while no request is under way"""

    def __post_init__(self) -> None:
        self.idle.set()

    @property
    def context(self) -> int:
        """The most tokens of a prompt with its answer: those of the engine, without the adapter's virtual ones."""
        return self.engine.engine.max_length - (self.deployment.virtual_tokens if self.deployment else 0)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keeps the version in the engine while a request is under way."""
        self.running += 1
        self.idle.clear()
        try:
            yield
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()


@dataclass
class Alias:
    """Points a name to versions, each as `name@sha`."""

    current: str
    canary: str | None = None
    """gets a share of the requests"""
    share: float = 0.0
    """of the requests that the canary gets, 0 to 1"""
    previous: str | None = None
    """that a rollback goes back to"""


class Registry:
    """Holds what is served. `open_bundle(path)` reads and checks a bundle, in a thread; `state`: the aliases' file."""

    def __init__(
        self,
        pool: Pool,
        open_bundle: Callable[[Path], Deployment],
        *,
        max_bundles: int,
        state: Path | None = None,
    ) -> None:
        self.pool, self._open, self.max_bundles, self.state = pool, open_bundle, max_bundles, state
        self.versions: dict[str, Target] = {}
        self.bases: dict[str, Target] = {}
        self.aliases: dict[str, Alias] = {}
        self.removed: set[str] = set()
        self._leaving: dict[str, Target] = {}  # removed, with requests under way
        self._adding = asyncio.Lock()
        # one thread: each would keep the heap, some 60 MB, that reading a bundle once took
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        if state is not None and state.exists():
            try:
                content = json.loads(state.read_text(encoding="utf-8"))
                self.aliases = {name: Alias(**alias) for name, alias in content["aliases"].items()}
                self.removed = set(content["removed"])
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise BundleError(f"{state} cannot be read: {error}; correct or remove it") from None

    def resolve(self, model: str, draw: Callable[[], float] = random.random) -> Target:
        """Finds the version that answers a request for `model`: an alias, `name@sha`, or a base's name.

        A name with "@" is a pin, and means that version and nothing else: no alias and no base has an "@".
        """
        if "@" in model:
            return self.version(model)
        if alias := self.aliases.get(model):
            canary = alias.canary is not None and draw() < alias.share
            ref = alias.canary if canary and alias.canary in self.versions else alias.current
            if ref in self.versions:
                return self.versions[ref]
        if target := self.bases.get(model):
            return target
        raise Unknown(f"no model {model!r}; GET /v1/models lists them")

    def version(self, ref: str) -> Target:
        """Finds a version by `name@sha`, the sha shortened to 8 digits or more."""
        name, _, sha = ref.partition("@")
        matches = [
            target
            for target in self.versions.values()
            if target.deployment is not None
            and target.deployment.name == name
            and len(sha) >= SHORTEST_PIN
            and target.adapter.startswith(sha)
        ]
        if len(matches) != 1:
            raise Unknown(f"no bundle {ref!r} is served; GET /v1/models lists them")
        return matches[0]

    async def add(self, path: Path, alias: str | None = None, *, again: bool = False) -> Target:
        """Serves the bundle in `path`, and points `alias` to it (None: its own name, if that is free).

        again: the gateway starts, and a bundle that was removed before stays removed.
        Raises BundleError for a bundle that is unsound or not certified, Conflict at a ceiling, RunError when its
        engine does not start. Nothing else is touched then.
        """
        if alias is not None:
            self._check_name(alias)
        async with self._adding:
            deployment = await asyncio.get_running_loop().run_in_executor(
                self._reader, self._read_bundle, path
            )
            if again and deployment.sha in self.removed:
                raise Conflict(f"{deployment.ref} was removed; POST /v1/bundles brings it back")
            self._check_pins(deployment)
            served = self.versions.get(deployment.ref)
            if served is None:
                await self._load(deployment)
            elif deployment.sha in served.engine.failed:  # it could not be loaded again after a restart
                await self._load_adapter(served.engine, deployment)
            self.removed.discard(deployment.sha)
            if alias is None and deployment.name not in self.aliases:
                alias = deployment.name if deployment.name not in self.bases else None
            if alias is not None:
                self._move(alias, deployment.ref)
            self._save()
            return self.versions[deployment.ref]

    def _read_bundle(self, path: Path) -> Deployment:
        try:
            with _refuse_damaged(path):
                return self._open(path)
        except ConfigError as error:  # the bundle's own configuration, nothing that the operator set
            raise BundleError(f"{path} is damaged: {error}; install what it was trained with") from None
        except ModelError as error:  # the base is the bundle's choice
            reason = escape(" ".join(str(error).split())[:500])
            raise BundleError(f"{path}: its base cannot be served here: {reason}") from None

    def _check_pins(self, deployment: Deployment) -> None:
        """Raises Conflict where a pin of a version that is, or was, served could come to mean this bundle."""
        targets = [*self.versions.values(), *self._leaving.values()]
        pinned = {target.adapter for target in targets if target.ref.startswith(f"{deployment.name}@")}
        for sha in pinned | self.removed:
            if sha != deployment.sha and sha[:SHORTEST_PIN] == deployment.sha[:SHORTEST_PIN]:
                raise Conflict(
                    f"{deployment.name}@{deployment.sha} begins as another version does, {sha}, which pins may "
                    "name; train it with another seed"
                )

    async def _load(self, deployment: Deployment) -> None:
        if len(self.versions) >= self.max_bundles:
            raise Conflict(
                f"{len(self.versions)} bundles are served, the limit is {self.max_bundles}; "
                "remove one, or raise serve.max_bundles"
            )
        engine = await self.pool.engine(deployment.engine, deployment.ref)
        await self._load_adapter(engine, deployment)
        target = self._leaving.pop(deployment.ref, None)  # its requests still count
        self.versions[deployment.ref] = target or Target(
            deployment.ref, deployment.sha, engine, deployment.chat, deployment
        )
        # the base alone answers nothing in an engine that only reads
        if deployment.role == "generate" and engine not in [base.engine for base in self.bases.values()]:
            name = escape(deployment.base_name).replace("@", "-")  # "@" is a pin's
            # another dtype of a base has its name too
            while name in self.bases or name in self.aliases:
                name += "+"
            self.bases[name] = Target(name, NULL, engine, deployment.chat)

    async def _load_adapter(self, engine: Supervised, deployment: Deployment) -> None:
        is_loaded = deployment.sha in engine.adapters  # for another version of the same payload
        try:
            await engine.add(deployment.sha, deployment.files)
            if deployment.doubted:
                await self._certify(engine, deployment)
        except BaseException as error:
            if not is_loaded:
                await engine.remove(deployment.sha)
            if isinstance(error, JobRefused):
                reason = escape(" ".join(str(error).split())[:500])
                raise BundleError(f"{deployment.ref} is refused by the engine: {reason}") from None
            raise

    async def _certify(self, engine: Supervised, deployment: Deployment) -> None:
        """Replaces a certificate that anybody could have written by one from this engine. Raises BundleError."""
        from appkit.serving.certify.certify import certify_served

        fault = (deployment.certificate or {}).get("seal_fault")
        began = time.monotonic()
        try:
            with _refuse_damaged(deployment.path):
                deployment.certificate = await certify_served(deployment, engine.engine)
        except JobRefused as error:  # an engine with room for folded heads scores no words
            reason = escape(" ".join(str(error).split())[:500])
            raise BundleError(
                f"{deployment.path}: its certificate {fault}, and its checks cannot be made in this engine ({reason}); "
                f"make them in one of its own: appkit certify {deployment.path}"
            ) from None
        log.warning(
            "%s: its certificate %s, so its checks were made again, in %.1f s; appkit recertify keeps them",
            deployment.ref,
            fault,
            time.monotonic() - began,
        )

    async def remove(self, ref: str) -> Target:
        """Stops serving a version once nobody uses it. Raises Unknown, or Conflict while an alias points to it."""
        target = self.version(ref)
        aliases = [
            name for name, entry in self.aliases.items() if target.ref in (entry.current, entry.canary)
        ]
        if aliases:
            raise Conflict(f"alias {aliases[0]!r} points to {target.ref}; move or delete the alias first")
        self._leaving[target.ref] = self.versions.pop(target.ref)  # no new request finds it
        if not self._is_needed(target, leaving=False):
            self.removed.add(target.adapter)
        for alias in self.aliases.values():
            if alias.previous == target.ref:
                alias.previous = None
        self._save()
        await target.idle.wait()
        async with self._adding:  # an `add` of this version finds it loaded, or loads it after this
            if target.ref in self._leaving and not target.running:
                del self._leaving[target.ref]
                if not self._is_needed(target):
                    await target.engine.remove(target.adapter)
        return target

    def _is_needed(self, target: Target, *, leaving: bool = True) -> bool:
        """Tells whether another version has the same payload: the manifest, and a name in it, is no part of it."""
        others = [*self.versions.values(), *(self._leaving.values() if leaving else ())]
        return any(other.adapter == target.adapter and other.engine is target.engine for other in others)

    def point(self, alias: str, ref: str, share: float = 1.0) -> Alias:
        """Points `alias` to a version: wholly, or for a share of its requests, as a canary.

        Raises Unknown for a version that is not served, Conflict for a canary of an alias that does not exist.
        """
        self._check_name(alias)
        target = self.version(ref)
        if share >= 1:
            self._move(alias, target.ref)
        elif alias not in self.aliases:
            raise Conflict(f"alias {alias!r} does not exist, so that it can have no canary; point it first")
        else:
            self.aliases[alias].canary, self.aliases[alias].share = target.ref, share
        self._save()
        return self.aliases[alias]

    def rollback(self, alias: str) -> Alias:
        """Withdraws the canary; without one, goes back to the version before. A second call undoes that."""
        entry = self._find_alias(alias)
        if entry.canary is not None:
            entry.canary, entry.share = None, 0.0
        elif entry.previous is not None:
            entry.current, entry.previous = entry.previous, entry.current
        else:
            raise Conflict(f"alias {alias!r} has neither a canary nor an earlier version to go back to")
        self._save()
        return entry

    def unpoint(self, alias: str) -> None:
        """Deletes an alias; the version stays, as name@sha."""
        self._find_alias(alias)
        del self.aliases[alias]
        self._save()

    def _find_alias(self, alias: str) -> Alias:
        if alias not in self.aliases:
            raise Unknown(f"no alias {alias!r}; GET /v1/bundles lists them")
        return self.aliases[alias]

    def _move(self, alias: str, ref: str) -> None:
        entry = self.aliases.get(alias)
        if entry is None:
            self.aliases[alias] = Alias(ref)
        else:
            earlier = entry.current if entry.current != ref else entry.previous
            self.aliases[alias] = Alias(ref, previous=earlier if earlier in self.versions else None)

    def _check_name(self, alias: str) -> None:
        if not NAME.fullmatch(alias):
            raise Conflict(f"an alias is made of letters, digits, '.', '_' and '-', got {alias[:80]!r}")
        if alias in self.bases:
            raise Conflict(f"{alias!r} is the name of a base; choose another alias")

    def settle(self) -> list[str]:
        """Drops versions of the state file that were not served at the start; returns the aliases that lose theirs.

        The file keeps them until the next change: a bundle that only lacks a certificate gets its alias back.
        """
        lost_aliases = []
        for name, alias in list(self.aliases.items()):
            if alias.canary not in self.versions:
                alias.canary, alias.share = None, 0.0
            if alias.previous not in self.versions:
                alias.previous = None
            if alias.current not in self.versions:
                lost_aliases.append(name)
                if alias.previous is None:
                    del self.aliases[name]
                else:
                    alias.current, alias.previous = alias.previous, None
        return lost_aliases

    def _save(self) -> None:
        if self.state is not None:
            content: dict[str, Any] = {
                "aliases": {name: asdict(alias) for name, alias in self.aliases.items()},
                "removed": sorted(self.removed),
            }
            write_text(self.state, json.dumps(content, indent=1) + "\n")


@contextmanager
def _refuse_damaged(path: Path) -> Iterator[None]:
    """Refuses a bundle alone, whatever a stranger's files do to their reader. Raises BundleError."""
    try:
        yield
    except AppkitError:
        raise
    except Exception as error:
        log.exception("bundle %s", escape(str(path)))
        raise BundleError(
            f"{path} is damaged: {type(error).__name__} while it was read; copy the bundle again"
        ) from None
