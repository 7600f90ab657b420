"""Python imports this in every process of a test session: a vLLM server writes a line of the session's list, and all
start sooner."""

import gc
import os
import sys

SERVER = "vllm.entrypoints.openai.api_server"


def note_start() -> None:
    """Appends this process to the file APPKIT_ENGINE_STARTS, if it is a vLLM server."""
    file, words = os.environ.get("APPKIT_ENGINE_STARTS"), sys.orig_argv
    if file and words[1:3] == ["-m", SERVER]:
        # one short line in one write: no two processes mix theirs
        with open(file, "a", encoding="utf-8") as starts:
            starts.write(f"{os.getpid()} {' '.join(words[3:])}\n")


def start_warm() -> None:
    """Lets a server that has the imports start the command that this process is about to become, if it is one."""
    place, words = os.environ.get("APPKIT_WARM"), " ".join(sys.orig_argv[1:3])
    if place and ("appkit" in words or SERVER in words or "APPKIT_WARM_CODE" in os.environ):
        from pathlib import Path

        from warm import kind_of, relay

        if kind := kind_of(sys.orig_argv[1:]):
            relay(kind, Path(place))


note_start()
start_warm()
# Importing vLLM or transformers makes millions of objects that stay; to go through them again and again takes a fifth
# of the time.
gc.set_threshold(50_000)
