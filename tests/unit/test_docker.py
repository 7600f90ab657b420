"""Every path, extra, command and option that the container files name is there; no Docker is needed to know."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from appkit.cli.main import app

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))


def lines(file: Path) -> list[str]:
    """Instructions, continued lines joined, without comments."""
    text = re.sub(r"^#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def of(file: Path, instruction: str) -> list[str]:
    return [
        line.removeprefix(f"{instruction} ") for line in lines(file) if line.startswith(f"{instruction} ")
    ]


def check_words(words: list[str]) -> None:
    """That the command exists and has these options."""
    command: Any = typer.main.get_command(app)
    name, *rest = words
    command = command.commands[name]
    known = {option for one in command.params for option in one.opts}
    for word in rest:
        if word.startswith("--"):
            assert word in known, f"appkit {name} has no {word}"


def test_there_are_three_images() -> None:
    assert [file.stem for file in FILES] == ["app", "serve", "train"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_an_image_copies_and_installs_is_there(file: Path) -> None:
    copied = {source for line in of(file, "COPY") for source in line.split()[:-1]}
    assert all((ROOT / source).exists() for source in copied), copied
    installs = " ".join(of(file, "RUN"))
    (extra,) = re.findall(r"'\.\[(\w+)\]'", installs)
    assert extra in EXTRAS
    wanted = re.findall(r"--(?:constraint|requirement) (\S+)", installs)
    assert wanted
    assert set(wanted) <= copied
    # packages that setuptools would look for; it does not fail without them, it leaves them out
    places = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"][
        "find"
    ]
    assert {place for place in places["where"] if place != "."} | {"appkit"} <= copied


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_an_image_runs_is_a_command(file: Path) -> None:
    assert of(file, "ENTRYPOINT") == ['["appkit"]']
    (command,) = [line for line in of(file, "CMD") if line.startswith("[")]
    check_words(json.loads(command))
    (user,) = of(file, "USER")
    assert f"useradd --create-home {user}" in " ".join(of(file, "RUN"))
    for health in of(file, "HEALTHCHECK"):
        _, _, code = json.loads(health[health.index("[") :])
        compile(code, file.name, "exec")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_any_user_number_can_write_where_an_image_keeps_things(file: Path) -> None:
    """Compose runs them as the files' owner; a volume takes the mode that its place has in the image."""
    (open_to_all,) = re.findall(r"chmod 1777 ([^&]+)", " ".join(of(file, "RUN")))
    volumes = {place for line in of(file, "VOLUME") for place in json.loads(line)}
    homes = {line.removeprefix("HOME=") for line in of(file, "ENV") if line.startswith("HOME=")}
    assert volumes | homes == set(open_to_all.split())
    assert homes


def test_a_wrong_option_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="has no --bundle"):
        check_words(["serve", "--bundle", "/bundles"])


def test_the_services_fit_each_other() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        build = service["build"]
        assert (DOCKER / build["context"] / build["dockerfile"]).resolve().is_file()
        assert set(service["secrets"]) <= COMPOSE["secrets"].keys()
        for volume in service["volumes"]:
            source = volume.rsplit(":", 1)[0]
            assert source in COMPOSE["volumes"] or source.startswith("${")
        for needed in service.get("depends_on", ()):
            assert "healthcheck" in services[needed]
    app_words = json.loads(of(DOCKER / "app.Dockerfile", "CMD")[-1])
    gateway = app_words[app_words.index("--gateway") + 1]
    serve_words = json.loads(of(DOCKER / "serve.Dockerfile", "CMD")[-1])
    assert gateway == f"http://gateway:{serve_words[serve_words.index('--port') + 1]}"
    for words in (app_words, serve_words):
        secrets = [Path(word).name for word in words if word.startswith("/run/secrets/")]
        assert secrets
        assert set(secrets) <= COMPOSE["secrets"].keys()
    assert any("/readyz" in word for word in services["gateway"]["healthcheck"]["test"])
