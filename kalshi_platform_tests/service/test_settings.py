"""Settings."""

import re
from pathlib import Path

import pytest

from kalshi_platform.core.errors import ConfigurationError
from kalshi_platform.service.settings import PREFIX, Settings, describe, example_env, load_settings, unknown_names

_README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine reaches a test."""
    monkeypatch.chdir(tmp_path)
    for line in describe(Settings()):
        monkeypatch.delenv(line.name, raising=False)


def test_every_setting_is_in_the_readme() -> None:
    """The README's table names each setting once, with its default."""
    rows = dict(re.findall(r"^\| `(KALSHI_\w+)` \| ([^|]*) \|", _README.read_text(), re.MULTILINE))
    expected = {line.name: f"`{line.default}`" if line.default else "" for line in describe(Settings())}
    assert {name: default.strip() for name, default in rows.items()} == expected


def test_sources_are_told_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment wins over .env, which wins over the default; what is left empty gives nothing."""
    (tmp_path / ".env").write_text("KALSHI_GATHERER_ID=from-file\nKALSHI_METRICS_PORT=1234\nKALSHI_SPOOL_BYTES=\n")
    monkeypatch.setenv("KALSHI_METRICS_PORT", "4321")
    monkeypatch.setenv("KALSHI_LAKE_URL", "")
    lines = {line.name: line for line in describe(load_settings())}
    assert (lines["KALSHI_GATHERER_ID"].value, lines["KALSHI_GATHERER_ID"].source) == ("from-file", ".env")
    assert (lines["KALSHI_METRICS_PORT"].value, lines["KALSHI_METRICS_PORT"].source) == ("4321", "environment")
    assert (lines["KALSHI_LAKE_URL"].source, lines["KALSHI_SPOOL_BYTES"].source) == ("default", "default")


def test_passwords_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the table, not in a repr, not in an error."""
    monkeypatch.setenv("KALSHI_GATHERERS", "g1=postgresql://sync:s3cret@h1:5432/k,g2=postgresql://sync:s3cret@h2/k")
    monkeypatch.setenv("KALSHI_PRODUCTION_DATABASE_URL", "postgresql://u:s3cret@h/k?sslpassword=s3cret")
    settings = load_settings()
    assert "s3cret" not in repr(settings)
    shown = {line.name: line.value for line in describe(settings)}
    assert "s3cret" not in str(shown)
    assert shown["KALSHI_GATHERERS"] == "g1=postgresql://sync:***@h1:5432/k,g2=postgresql://sync:***@h2/k"
    assert settings.gatherer_urls()["g2"] == "postgresql://sync:s3cret@h2/k"


def test_a_password_with_a_comma_is_not_shown_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the list is cut, hide too much rather than too little."""
    monkeypatch.setenv("KALSHI_GATHERERS", "g1=postgresql://u:s3c,ret@h/k")
    (shown,) = [line.value for line in describe(load_settings()) if line.name == "KALSHI_GATHERERS"]
    assert "s3c" not in shown
    assert "ret" not in shown


@pytest.mark.parametrize(
    "value", ["postgresql://u:s3cret@h/k", "g1=s3cret", "g1=postgresql://h,g1=postgresql://s3cret", ","]
)
def test_malformed_gatherers_are_refused_in_plain_words(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """The form is shown, the value is not."""
    monkeypatch.setenv("KALSHI_GATHERERS", value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings().gatherer_urls()
    assert "KALSHI_GATHERERS" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_missing_setting_is_named_with_its_meaning() -> None:
    """A person can act on the error."""
    with pytest.raises(ConfigurationError, match=f"{PREFIX}API_KEY_ID is not set: API key id"):
        load_settings().required("api_key_id")


def test_a_value_of_the_wrong_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named as the person wrote it."""
    monkeypatch.setenv("KALSHI_METRICS_PORT", "many")
    with pytest.raises(ConfigurationError, match="KALSHI_METRICS_PORT"):
        load_settings()


def test_the_example_is_every_setting_at_its_default(tmp_path: Path) -> None:
    """The file in the repository is what the code says; with every # taken away it changes nothing."""
    text = example_env()
    is_fresh = (_README.parent / "env.example").read_text() == text
    assert is_fresh, "run: kalshi-platform settings --example > env.example"
    (tmp_path / ".env").write_text(re.sub(r"^#KALSHI_", "KALSHI_", text, flags=re.MULTILINE))
    lines = describe(load_settings())
    assert {line.source for line in lines if line.value} == {".env"}
    assert [line.value for line in lines] == [line.default for line in lines]
    assert unknown_names() == []


def test_a_misspelt_name_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wherever it stands; variables of others and of the tests are left alone."""
    (tmp_path / ".env").write_text("KALSHI_LAKE_URI=x\nOTHER=1\n")
    monkeypatch.setenv("KALSHI_GATHERER", "x")
    monkeypatch.setenv("KALSHI_MIGRATE_URL", "x")
    monkeypatch.setenv("KALSHI_TEST_FAULTS", "x")
    assert unknown_names() == ["KALSHI_GATHERER", "KALSHI_LAKE_URI"]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """In plain words."""
    (tmp_path / ".env").write_bytes(b"KALSHI_GATHERER_ID=\xff\xfe\n")
    with pytest.raises(ConfigurationError, match=r"\.env cannot be read"):
        load_settings()
