"""`appkit serve` as a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """The URL of a gateway on a free port, once it is ready; afterwards it has ended well and in time."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from appkit.cli.main import main; main()", "serve", *words, "--port", "0"],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    try:
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if "ready after" in line:
                break
        found = re.search(r"http://[\d.]+:\d+", said)
        assert process.poll() is None, said
        assert found, said
        yield found[0]
    finally:
        process.terminate()
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said + rest
