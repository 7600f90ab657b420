"""A gallery shows all that a gateway serves: a page for each bundle, the evidence, and the training."""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from appkit.client import Client
from appkit.data.feedback import Feedback
from appkit.errors import AppkitError, GatewayError, RunError
from appkit.loopback import is_loopback, names_loopback
from appkit_apps import evidence, generic, train
from appkit_apps.app import EVIDENCE, TRAIN, App, Limiter, Page, place
from appkit_apps.cards import write_home
from appkit_apps.looks import LOOKS
from appkit_apps.startup import without_app
from appkit_apps.watcher import Watcher

__all__ = ["build", "launch", "offer"]

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing of ours asks another machine

FindApp = Callable[[str], App | None]
"""task pack -> its app, None if it has none of its own"""

CACHE = (600, 3600)
"""seconds between two removals of uploads and downloads, and the age at which one is removed"""
WAITING = 64
"""most requests that wait for their turn"""
AT_ONCE = 8

BAR = 8
"""most specialists that the bar on top names; more of them are found by their cards alone"""


def build(
    client: Client,
    apps: FindApp,
    abouts: Mapping[str, Mapping[str, Any]],
    *,
    limiter: Limiter,
    feedback: Feedback | None,
) -> gr.Blocks:
    """Builds the gallery of these aliases, each with what `Client.describe` returned.

    abouts: later aliases may join the mapping.
    """
    with gr.Blocks(title="appkit: specialists", delete_cache=CACHE) as blocks:
        cards = gr.HTML(write_home(abouts, apps), elem_id="home")
        blocks.load(
            lambda: _current_home(client, abouts, apps),
            None,
            cards,
            show_progress="hidden",
            api_visibility="private",
        )
    for alias, about in abouts.items():
        app = apps(about["task"]) or generic.APP
        with blocks.route(alias, f"/{place(alias)}", show_in_navbar=len(abouts) <= BAR):
            app.build(Page(blocks, alias, about, client, limiter, feedback))
    with blocks.route("Evidence", f"/{EVIDENCE}"):
        evidence.build(blocks, client, abouts)
    if (trainable := _trainable(client)) is not None:
        with blocks.route("Train", f"/{TRAIN}"):
            train.build(blocks, client, trainable)
    return blocks.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE)


def _trainable(client: Client) -> dict[str, Any] | str | None:
    """Asks what can be trained there; a text says why nothing can; None: the key is no admin's."""
    try:
        return client.runs()
    except GatewayError as error:
        return str(error) if error.status == 409 else None


def _describe_served(client: Client) -> dict[str, Mapping[str, Any]]:
    """Describes each alias that the gateway serves. Raises GatewayError when it cannot be asked."""
    return {task["alias"]: client.describe(task["alias"]) for task in client.tasks()}


def _current_home(client: Client, known: Mapping[str, Mapping[str, Any]], apps: FindApp) -> str:
    """Writes the home page as it is now; the aliases in `known` have a page."""
    try:
        served = [task["alias"] for task in client.tasks()]
        abouts = {alias: client.describe(alias) for alias in list(known) if alias in served}
    except GatewayError:
        return write_home(dict(known), apps, ["The gateway does not answer now."])
    new = [alias for alias in served if alias not in known]
    return write_home(abouts, apps, [f"New, without a page yet: {', '.join(new)}."] if new else [])


def launch(
    url: str,
    *,
    apps: FindApp,
    key: str | None = None,
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: Path | None = None,
    per_minute: int = 600,
    feedback: Feedback | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Shows the gallery of a gateway until ctrl-C.

    Raises GatewayError when the gateway cannot be asked, RunError when the port is taken.
    """
    with Client(url, key=key, retries=1) as client:
        abouts, limiter = _describe_served(client), Limiter(per_minute)
        with without_app():
            blocks = build(client, apps, abouts, limiter=limiter, feedback=feedback)

        def build_page(alias: str, about: Mapping[str, Any]) -> gr.Blocks:
            with gr.Blocks(title=alias, delete_cache=CACHE) as page:
                gr.HTML('<a href="../">All specialists</a>')
                app = apps(about["task"]) or generic.APP
                app.build(Page(page, alias, about, client, limiter, feedback))
            return page.queue(max_size=WAITING, default_concurrency_limit=AT_ONCE)

        watcher = Watcher(client, abouts, build_page, LOOKS)
        with _serve_blocks(blocks, host, port, auth, lifespan=watcher.lifespan) as address:
            say(f"gallery: {address}   end it with ctrl-C")
            threading.Event().wait()


def offer(
    command: Sequence[str],
    train: Callable[[], Iterator[str]],
    *,
    host: str,
    port: int,
    auth: Path | None,
    say: Callable[[str], None] = print,
) -> None:
    """Shows a page that offers to run the command that makes the first bundle; returns once that succeeded.

    train: runs the command and yields its lines; raises AppkitError when it fails.
    """
    training = _Training(train)
    with gr.Blocks(title="appkit: the first specialist") as blocks:
        gr.Markdown("# No specialist yet")
        gr.Markdown(f"This makes one, here or in a terminal:\n\n```\n{' '.join(command)}\n```")
        start = gr.Button("Train it now", variant="primary", elem_id="train")
        progress = gr.Textbox(label="Progress", lines=12, interactive=False, elem_id="progress")

        def follow() -> Iterator[Any]:
            while True:
                lines, busy = training.progress()
                yield gr.update(interactive=not busy), lines
                if not busy:
                    return
                time.sleep(0.5)

        def run() -> Iterator[Any]:
            training.start()
            yield from follow()

        # every visitor follows the training
        many: dict[str, Any] = {"concurrency_limit": None, "api_visibility": "private"}
        start.click(run, None, [start, progress], trigger_mode="multiple", **many)
        blocks.load(follow, None, [start, progress], show_progress="hidden", **many)
        blocks.load(None, None, None, js=_REOPEN)
    with _serve_blocks(blocks.queue(max_size=8), host, port, auth) as address:
        say(f"the page: {address}")
        training.well.wait()
        time.sleep(2)  # the last lines reach the page before it closes


class _Training:
    """Runs the offered training in a thread of its own, so it goes on when nobody looks at the page.

    well: set once the training succeeded.
    """

    def __init__(self, train: Callable[[], Iterator[str]]) -> None:
        self.well = threading.Event()
        self._train, self._lines, self._busy = train, list[str](), False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Starts the training; starts it again only after it failed."""
        with self._lock:
            if not self._busy:
                self._busy, self._lines = True, ["starting"]
                threading.Thread(target=self._run, daemon=True).start()

    def progress(self) -> tuple[str, bool]:
        """Returns the last lines, and whether the training runs or has succeeded."""
        with self._lock:
            return "\n".join(self._lines[-100:]), self._busy

    def _say(self, line: str, *, busy: bool = True) -> None:
        with self._lock:
            # a progress bar writes its line again and again
            if line.split(":")[0] == self._lines[-1].split(":")[0]:
                self._lines.pop()
            self._lines.append(line)
            self._busy = busy

    def _run(self) -> None:
        try:
            for line in self._train():
                self._say(line)
        except AppkitError as error:
            self._say(f"It failed: {error}", busy=False)
            return
        except BaseException:
            self._say("It failed; the terminal says why.", busy=False)
            raise
        self._say("Trained. The gateway starts now, which takes a minute; this page then opens by itself.")
        self.well.set()


_REOPEN = """() => {
    let gone = false;
    setInterval(async () => {
        try {
            const answer = await fetch(window.location.pathname, {cache: "no-store"});
            if (gone && answer.ok) window.location.reload();
        } catch { gone = true; }
    }, 2000);
}"""
"""The page ends with its process; this script opens it anew once another process answers in its place."""


POLICY = "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws: wss:"
"""What a page may load. Reports hold Markdown that others wrote, which could name an image elsewhere."""


class Guarded:
    """Keeps pages from loading anything from other machines; with `loopback` only loopback names are answered."""

    def __init__(self, app: Any, loopback: bool) -> None:
        self.app, self.loopback = app, loopback

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        host = dict(scope.get("headers") or ()).get(b"host", b"").decode("latin-1")
        if self.loopback and scope["type"] == "http" and not names_loopback(host):
            await PlainTextResponse("This page answers to loopback names only.", 403)(scope, receive, send)
            return

        async def bound(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, bound)


@contextmanager
def _serve_blocks(blocks: gr.Blocks, host: str, port: int, auth: Path | None, **app: Any) -> Iterator[str]:
    """Serves Blocks on a port while the context lasts; yields the address. app: options of the FastAPI app."""
    app["middleware"] = [Middleware(Guarded, loopback=is_loopback(host))]
    try:
        _, address, _ = blocks.launch(
            server_name=host,
            server_port=port or None,
            auth=_password_check(_passwords(auth)) if auth else None,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            app_kwargs=app,
            **LOOKS,
        )
    except OSError as error:
        raise RunError(f"cannot listen on {host}:{port} ({error}); choose another --port") from None
    try:
        yield address.rstrip("/")
    finally:
        blocks.close(verbose=False)


def _passwords(file: Path) -> dict[str, str]:
    """Reads `name:password` lines. Raises RunError for a file that cannot be read, is malformed, or others can read."""
    try:
        if os.name == "posix" and file.stat().st_mode & 0o077:
            raise RunError(f"{file} can be read by others; chmod 600 {file}")
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read the passwords in {file}: {error}") from None
    passwords: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, password = line.partition(":")
        if not (name and colon and password):
            raise RunError(f"{file}:{number} is no `name:password` line")
        passwords[name] = password
    if not passwords:
        raise RunError(f"{file} holds no `name:password` line; nobody could log in")
    return passwords


def _password_check(passwords: Mapping[str, str]) -> Callable[[str, str], bool]:
    """Makes the function that Gradio asks whether a name and a password belong together."""

    def is_right(name: str, password: str) -> bool:
        known = passwords.get(name, "")
        # an unknown name takes as long as a known one
        same = hmac.compare_digest(known.encode(), password.encode())
        return bool(known) and same

    return is_right
