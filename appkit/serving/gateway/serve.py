"""`appkit serve` starts a gateway for bundles, and ends it at SIGTERM or ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from appkit.arguments import list_words
from appkit.bundles import manifest as manifests
from appkit.bundles.files import escape
from appkit.bundles.manifest import find_bundles
from appkit.config import rag_words
from appkit.errors import AppkitError, BundleError, ConfigError, RunError
from appkit.loopback import is_loopback
from appkit.rag.rows import AtHand
from appkit.serving.deployment import Deployment
from appkit.serving.engines.choose import engine_name, engine_version
from appkit.serving.engines.protocol import Engine, EngineSpec
from appkit.serving.engines.supervised import Pool
from appkit.serving.gateway.admission import admit
from appkit.serving.gateway.keys import Keys
from appkit.serving.gateway.metrics import Metrics
from appkit.serving.gateway.registry import NAME, Registry
from appkit.serving.gateway.settings import Settings, settings
from appkit.serving.gateway.state import Gateway
from appkit.serving.gateway.trainer import Trainer
from appkit.storage.atomic import cache_dir, write_text

__all__ = ["make_server_config", "serve"]

log = logging.getLogger(__name__)

LONGEST_REASON = 2000
"""characters of the reason why a bundle is refused"""
Say = Callable[[str], None]


def serve(
    words: str | Sequence[str],
    *,
    root: Path | None = None,
    more: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    keys: Path | None = None,
    address_file: Path | None = None,
    say: Say = lambda line: None,
    **options: Any,
) -> None:
    """Serves bundles until SIGTERM or ctrl-C; finishes running requests first.

    words: bundle or run directories, `ALIAS=DIRECTORY`, `serve.KEY=VALUE`, `rag=INDEX`, `rag.KEY=VALUE`. root: a
    directory whose bundles are all served, and below which more may be added, or trained. more: the same without
    serving all. address_file: gets the gateway's address once it answers. options: settings by name.
    Raises ConfigError, BundleError when no bundle can be served, RunError when the port is taken or no engine starts.
    """
    documents, words = rag_words(list_words(words))
    chosen = settings([word for word in words if word.startswith("serve.")], **options)
    bundles = _read_bundles([word for word in words if not word.startswith("serve.")], root)
    if root is not None and more is not None:
        raise ConfigError(f"--bundles {root} takes more bundles already; leave --more {more} out")
    if keys is None and not is_loopback(host):
        raise ConfigError(
            f"--host {host} lets other machines in, which takes keys: "
            "appkit keys add keys.json NAME, then --keys keys.json"
        )
    rag = None
    if documents.index:
        rag = AtHand.open(documents)
        rag.index.search("any query")  # loads the model of the embeddings, or raises
        say(f"documents: {len(rag.index.passages)} passages of {documents.index}")
    engine = engine_name(chosen.engine)
    with _listen(host, port) as listener, _make_store() as store:
        gateway = _make_gateway(chosen, engine, store, keys, root, more, bundles)
        gateway.rag = rag
        asyncio.run(
            _run(gateway, bundles, listener, local=is_loopback(host), address_file=address_file, say=say)
        )


def _read_bundles(words: Sequence[str], root: Path | None) -> list[tuple[Path, str | None]]:
    """Reads words as (directory, alias) of bundles. Raises BundleError for one that holds none, or without any."""
    bundles: list[tuple[Path, str | None]] = []
    for word in words:
        alias, equals, path = word.partition("=")
        if not equals or not NAME.fullmatch(alias):
            alias, path = "", word
        directory = manifests.find(path)
        manifests.read_manifest(directory, verify=False)
        bundles.append((directory, alias or None))
    if root is not None:
        bundles += [(path, None) for path in find_bundles(root)]
    if not bundles:
        raise BundleError(
            f"no bundle to serve{f' below {root}' if root else ''}; name one, or make one: appkit train task=nl2fol"
        )
    return bundles


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise RunError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port"
        ) from None
    except OverflowError:
        raise ConfigError(f"--port must be in 0..65535, got {port}") from None


@contextmanager
def _make_store() -> Iterator[Path]:
    """Makes a directory for the engines' copies of adapters while this process serves; removes those of ended ones.

    Its name is hidden: `appkit cache prune` leaves it alone, since an engine dies whose adapter is gone.
    """
    folder = cache_dir() / "serving"
    prefix = f".{socket.gethostname()}."
    for old_store in folder.glob(f"{prefix}*"):
        pid = old_store.name.removeprefix(prefix)
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc").exists():
            shutil.rmtree(old_store, ignore_errors=True)
    store = folder / f"{prefix}{os.getpid()}"
    store.mkdir(parents=True, exist_ok=True)
    try:
        yield store
    finally:
        shutil.rmtree(store, ignore_errors=True)


def _make_gateway(
    chosen: Settings,
    engine: str,
    store: Path,
    keys: Path | None,
    root: Path | None,
    more: Path | None,
    bundles: Sequence[tuple[Path, str | None]],
) -> Gateway:
    version = engine_version(engine)
    paths = [path for path, _ in bundles]
    rank = chosen.max_rank or _spare_rank(paths, chosen)
    labels = chosen.max_labels or max([256, *map(_count_labels, paths)])

    def open_bundle(path: Path) -> Deployment:
        return admit(
            path,
            engine=engine,
            version=version,
            max_rank=rank,
            max_labels=labels,
            store=store,
            settings=chosen,
        )

    pool = Pool(
        lambda spec: _make_engine(spec, engine, chosen, rank, labels),
        most=chosen.max_engines,
        queue=chosen.max_queue,
    )
    state = root / ".appkit-serve.json" if root else None
    registry = Registry(pool, open_bundle, max_bundles=chosen.max_bundles, state=state)
    folder = root or more
    bundle_root = folder.resolve() if folder else None
    trainer = Trainer(bundle_root, chosen) if bundle_root else None
    return Gateway(chosen, Keys(keys), pool, registry, Metrics(pool), bundle_root, trainer)


def _spare_rank(paths: Sequence[Path], chosen: Settings) -> int:
    """Chooses the rank to have room for: twice the largest; where heads are folded, no less than their labels."""
    folded = max(map(_count_labels, paths), default=0) if chosen.classify == "folded" else 0
    return min(512, max(2 * max(map(_read_rank, paths), default=32), folded))


def _read_rank(bundle: Path) -> int:
    return _read_number(bundle, lambda manifest: int((manifest.get("exported") or {}).get("rank") or 32)) or 1


def _count_labels(bundle: Path) -> int:
    return _read_number(bundle, lambda manifest: len(manifest.get("labels") or ()))


def _read_number(bundle: Path, read: Callable[[manifests.Manifest], int]) -> int:
    """Reads a number from a manifest; 0 where it is damaged: adding the bundle reports why."""
    try:
        return read(manifests.read_manifest(bundle, verify=False))
    except Exception:
        return 0


def _make_engine(spec: EngineSpec, engine: str, chosen: Settings, rank: int, labels: int) -> Engine:
    if engine == "transformers":
        from appkit.serving.engines.transformers import TransformersEngine

        rows = min(32, chosen.max_running)
        return TransformersEngine(spec.base, dtype=spec.dtype, rows=rows, role=spec.role)
    from appkit.serving.engines.vllm import Room, VllmEngine

    room = Room(
        rank=rank,
        targets=spec.targets,
        slots=chosen.max_slots + 1,  # and one for base traffic
        adapters=max(chosen.max_bundles, chosen.max_slots) + 1,
        requests=chosen.max_running,
        cache_gib=chosen.cache_gib,
        labels=labels,
        length=chosen.max_window if spec.role == "embed-unmasked" else None,
    )
    name = f"serve-{spec.base.name[:60]}-{spec.dtype}-{spec.role}-{os.getpid()}.log"
    log = cache_dir() / "logs" / name
    return VllmEngine(spec.base, dtype=spec.dtype, null=spec.null, room=room, log=log, role=spec.role)


async def _run(
    gateway: Gateway,
    bundles: Sequence[tuple[Path, str | None]],
    listener: socket.socket,
    *,
    local: bool,
    address_file: Path | None,
    say: Say,
) -> None:
    from appkit.serving.gateway.app import create_app

    failure: list[AppkitError] = []

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        bringing = asyncio.create_task(bring_up())
        try:
            yield
        finally:
            bringing.cancel()
            await asyncio.gather(bringing, return_exceptions=True)
            if gateway.trainer is not None:
                await gateway.trainer.close()
            await gateway.pool.close()

    async def bring_up() -> None:
        try:
            await _bring_up(gateway, bundles, url, say, address_file)
        except AppkitError as error:
            failure.append(error)
            server.should_exit = True
        except Exception as error:
            log.exception("the start failed")
            failure.append(RunError(f"the start failed: {error}"))
            server.should_exit = True

    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    app = create_app(gateway, local=local, lifespan=lifespan)
    server = _make_server(make_server_config(app, gateway.settings))
    gateway.starting = [escape(str(path)) for path, _ in bundles]
    loop = asyncio.get_running_loop()

    def end() -> None:
        if server.should_exit:
            server.force_exit = True  # the second signal
        else:
            server.should_exit = True
            say("ending: running requests are finished first; again to end at once")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await server.serve(sockets=[listener])
    if failure:
        raise failure[0]


def make_server_config(app: Any, chosen: Settings) -> Any:
    """Makes uvicorn's configuration for the gateway's app."""
    import uvicorn

    from appkit.serving.gateway.connections import PatientProtocol

    return uvicorn.Config(
        app,
        http=PatientProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        # clients keep idle connections too, httpx for 5 s, which is uvicorn's default: if both close at once, a
        # request that is just being sent is lost
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(chosen.drain_s)),
    )


def _make_server(config: Any) -> Any:
    """Makes a uvicorn server that leaves signals to us."""
    import contextlib

    import uvicorn

    class Server(uvicorn.Server):
        """Handles no signals: uvicorn's own handler would end the process before an engine is closed."""

        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    return Server(config)


def _explain_refusal(error: Exception, shown: str) -> AppkitError:
    """Makes an error in one line, of the same type where it is one of ours."""
    if not isinstance(error, AppkitError):
        return BundleError(f"{shown} is refused: {type(error).__name__}; the gateway's log says more")
    line = escape(str(error))
    if len(line) > LONGEST_REASON:  # lists show it for as long as the gateway runs
        line = f"{line[:LONGEST_REASON]}…"
    return error if line == str(error) else BundleError(line)


async def _bring_up(
    gateway: Gateway,
    bundles: Sequence[tuple[Path, str | None]],
    url: str,
    say: Say,
    address_file: Path | None,
) -> None:
    """Loads the bundles one by one. Raises the last error when none could be loaded."""
    began = time.monotonic()
    say(
        f"{url}: loading {len(bundles)} {'bundle' if len(bundles) == 1 else 'bundles'}; an engine takes about a minute"
    )
    last: AppkitError | None = None
    for path, alias in bundles:
        shown = escape(str(path))
        try:
            target = await gateway.registry.add(path, alias, again=True)
            say(f"  {target.ref}  {shown}")
        except Exception as error:  # one bundle keeps no other from being served
            if not isinstance(error, AppkitError):
                log.exception("bundle %s", shown)
            last = _explain_refusal(error, shown)
            gateway.refused[shown] = str(last)
            say(f"  refused: {last}")
        with suppress(ValueError):
            gateway.starting.remove(shown)
    for alias in gateway.registry.settle():
        say(f"  alias {alias!r} pointed to a bundle that is not served")
    if not gateway.registry.versions:
        raise last or BundleError("no bundle could be served")
    if address_file:
        write_text(address_file, url)
    example = next(iter(gateway.registry.aliases), next(iter(gateway.registry.versions)))
    names = ", ".join([*gateway.registry.aliases, *gateway.registry.bases])
    say(
        f"ready after {time.monotonic() - began:.0f} s: {names}\n"
        f"  appkit client ask {example} '...' --url {url}\n"
        f"  OpenAI clients: base_url={url}/v1   routes: {url}/docs   end it with ctrl-C"
    )
