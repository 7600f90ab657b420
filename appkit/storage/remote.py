"""Remote uploads to a repository on the Hugging Face hub or a prefix in object storage.

A reader there sees all of an upload or nothing of it; every failure there is an AppkitError of one line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from appkit.errors import AppkitError, ConfigError

__all__ = ["Store", "to_hub"]

STORES = {"s3": "s3fs", "gs": "gcsfs", "abfss": "adlfs", "memory": "fsspec"}
"""scheme of an object store -> the package that implements it; `memory` is for tests"""

LAST = ("config.json", "adapter_config.json")
"""files that a reader opens first: uploaded after the files that they name"""


@contextmanager
def _explain_failure(where: str, remedy: str) -> Iterator[None]:
    """Raises AppkitError with one line and the remedy for any failure inside the block."""
    try:
        yield
    except AppkitError:
        raise
    except Exception as error:  # each store, and each library that speaks HTTP, has exceptions of its own
        reason = " ".join(str(error).split())[:300]
        raise AppkitError(f"cannot write to {where}: {type(error).__name__}: {reason}; {remedy}") from error


def to_hub(folder: Path, repository: str, *, public: bool, message: str) -> str:
    """Upload a folder in one commit to a repository, which is created if missing; return its address.

    Raises ConfigError if huggingface_hub is not installed, or if the repository exists and is not `public` as asked;
    AppkitError when the hub refuses or cannot be reached.
    """
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError:
        raise ConfigError("the hub needs huggingface_hub; pip install huggingface_hub") from None

    api = HfApi()
    with _explain_failure(
        f"hub:{repository}", "check the name and the network, and log in with `hf auth login`"
    ):
        api.create_repo(repository, private=not public, exist_ok=True)
        if bool(api.model_info(repository).private) == public:
            raise ConfigError(
                f"hub:{repository} exists and is {'private' if public else 'public'}; change that in its settings, "
                f"{'leave out' if public else 'add'} --public, or choose another name"
            )
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
    return f"https://huggingface.co/{repository}"


class Store:
    """A prefix in object storage, `SCHEME://BUCKET/PREFIX`.

    Raises ConfigError for an invalid address and if the scheme's package is not installed. Every method raises
    AppkitError when the store refuses or cannot be reached.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        scheme, _, rest = self.address.partition("://")
        if scheme not in STORES:
            known = ", ".join(f"{name}://" for name in STORES if name != "memory")
            raise ConfigError(f"--to takes a directory, hub:OWNER/NAME, {known}, got {address!r}")
        if not all(rest.partition("/")[::2]):
            raise ConfigError(f"{scheme}:// needs a bucket and a prefix, got {address!r}; add /PREFIX")
        try:
            from fsspec.core import url_to_fs
        except ModuleNotFoundError:
            raise ConfigError(f"{scheme}:// needs {STORES[scheme]}; pip install {STORES[scheme]}") from None
        with self._reaching():
            try:
                self.client, self.root = url_to_fs(self.address)
            except ImportError:
                raise ConfigError(
                    f"{scheme}:// needs {STORES[scheme]}; pip install {STORES[scheme]}"
                ) from None
            self.client.invalidate_cache()  # fsspec keeps clients and their listings

    def _reaching(self) -> AbstractContextManager[None]:
        return _explain_failure(self.address, "check the address, the credentials and the network")

    def check_free(self, name: str = "") -> None:
        """Raises ConfigError if a file exists below `name`, or below the prefix."""
        with self._reaching():
            if self.client.find(f"{self.root}/{name}".rstrip("/")):
                place = f"{self.address}/{name}".rstrip("/")
                raise ConfigError(
                    f"{place} is there, and nothing is overwritten; remove it, or choose another prefix"
                )

    def read(self, name: str) -> str | None:
        """Read a file as text; None if there is no file of this name."""
        with self._reaching():
            file = f"{self.root}/{name}"
            return self.client.cat_file(file).decode() if self.client.exists(file) else None

    def upload(self, folder: Path) -> None:
        """Upload every file in `folder`; if that fails, remove the files that were sent."""
        files = [file for file in folder.rglob("*") if file.is_file()]
        sent: list[str] = []
        with self._reaching():
            try:
                for file in sorted(files, key=lambda file: (file.name in LAST, file)):
                    sent.append(f"{self.root}/{file.relative_to(folder).as_posix()}")
                    self.client.put_file(str(file), sent[-1])
            except BaseException:
                for name in sent:
                    with suppress(Exception):  # the user sees the error that stopped the upload
                        self.client.rm_file(name)
                raise
