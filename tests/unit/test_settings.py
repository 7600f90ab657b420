"""`serve.KEY=VALUE`: checked like every other configuration, and documented."""

from pathlib import Path

import pytest

from appkit.errors import ConfigError
from appkit.serving.gateway.settings import Settings, settings

GUIDE = Path(__file__).parents[2] / "appkit" / "serving" / "README.md"


def test_words_and_keywords() -> None:
    made = settings(
        ["serve.max_slots=4", "serve.timeout_s=2.5", "serve.log_prompts=true"], engine="vllm", certified=None
    )
    assert (made.max_slots, made.timeout_s, made.log_prompts) == (4, 2.5, True)
    assert (made.engine, made.certified) == ("vllm", True)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("serve.max_slot=4", r"no setting serve.max_slot; did you mean 'max_slots'\?"),
        ("serve.max_slots=0", r"serve.max_slots: .* greater than or equal to 1, got '0'"),
        ("serve.max_slots=many", r"serve.max_slots: .* integer.*, got 'many'"),
        ("serve.engine=tgi", r"serve.engine: .*, got 'tgi'"),
        ("serve.cache_gib=0.5", r"serve.cache_gib: .*valid integer.*, got '0.5'"),
        ("serve.timeout_s=nan", r"serve.timeout_s: .*, got 'nan'"),
    ],
)
def test_what_does_not_fit_is_one_line(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        settings([word])
    assert "\n" not in str(raised.value)


def test_the_guide_names_every_limit() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    named_elsewhere = {"engine", "dtype", "certified"}  # options of the command
    assert not [
        name for name in Settings.model_fields if f"serve.{name}" not in text and name not in named_elsewhere
    ]
