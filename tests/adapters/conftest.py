"""The fixture package's methods are installed for these tests."""

from collections.abc import Iterator

import pytest
from cases import installed


@pytest.fixture(scope="module", autouse=True)
def _fixture_package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("site")):
        yield
