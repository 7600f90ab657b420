"""Mounts a page for each alias that begins to be served while a gallery is shown.

The pages that are open stay as they are: nobody loses what was typed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import gradio as gr
from fastapi import FastAPI

from appkit.client import Client
from appkit.errors import GatewayError
from appkit_apps.app import place

__all__ = ["Watcher"]

log = logging.getLogger(__name__)

EVERY = 5.0
"""seconds between two questions to the gateway"""


class Watcher:
    """Watches a gateway while a gallery is shown, and mounts a page for each new alias.

    known: what `Client.describe` returned, by alias; the watcher adds each alias that gets a page. build: makes the
    Blocks of a page. looks: options of `gr.mount_gradio_app`.
    """

    def __init__(
        self,
        client: Client,
        known: dict[str, Mapping[str, Any]],
        build: Callable[[str, Mapping[str, Any]], gr.Blocks],
        looks: Mapping[str, Any],
    ) -> None:
        self._client, self._known, self._build, self._looks = client, known, build, looks
        self._failed: set[str] = set()

    @asynccontextmanager
    async def lifespan(self, app: gr.routes.App) -> AsyncIterator[None]:
        """Watches as long as the app that serves the gallery lives; closes the pages with it."""
        async with AsyncExitStack() as pages:
            watching = asyncio.create_task(self._watch(app, pages))
            yield
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self, app: gr.routes.App, pages: AsyncExitStack) -> None:
        while True:
            await asyncio.sleep(EVERY)
            for alias, about in (await asyncio.to_thread(self._new)).items():
                try:
                    await self._mount(app, pages, alias, about)
                    self._known[alias] = about
                except Exception:  # the app may be anyone's; the other pages go on
                    log.exception("no page for %s", alias)
                    self._failed.add(alias)

    def _new(self) -> dict[str, Mapping[str, Any]]:
        """Describes the aliases that are served and have no page yet; none while the gateway does not answer."""
        with suppress(GatewayError):
            served = [task["alias"] for task in self._client.tasks()]
            new = [alias for alias in served if alias not in self._known and alias not in self._failed]
            return {alias: self._client.describe(alias) for alias in new}
        return {}

    async def _mount(
        self, app: gr.routes.App, pages: AsyncExitStack, alias: str, about: Mapping[str, Any]
    ) -> None:
        blocks = await asyncio.to_thread(self._build, alias, about)
        # mounted into an app of its own first: only an app that has not started yet starts what is mounted in it
        holder = gr.mount_gradio_app(
            FastAPI(), blocks, f"/{place(alias)}", auth=app.blocks.auth, **self._looks
        )
        mounted = holder.routes[-1]
        page = mounted.app
        page.cookie_id, page.tokens = app.cookie_id, app.tokens  # a login to the gallery holds here too
        await pages.enter_async_context(holder.router.lifespan_context(holder))
        app.router.routes.append(mounted)
