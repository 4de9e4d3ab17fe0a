"""Where settings come from. Run: pytest tests/test_settings.py"""

from dataclasses import fields
from pathlib import Path

import pytest

from medi_core.errors import InvalidRequestError
from medi_core.settings import Settings

GIVEN = {"checkpoint": "c", "device": "cpu", "dtype": "float32", "checkpoints_dir": "/cs", "assets_dir": "/as"}


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch):
    for field in fields(Settings):
        monkeypatch.delenv(f"MEDI_{field.name.upper()}", raising=False)


def test_without_flags_and_environment_the_defaults_hold():
    assert Settings.from_environment() == Settings()
    assert Settings().assets_dir.is_dir()


@pytest.mark.parametrize("name", GIVEN)
def test_each_setting_follows_the_environment_and_a_flag_beats_it(monkeypatch, name):
    monkeypatch.setenv(f"MEDI_{name.upper()}", GIVEN[name])
    from_environment = Settings.from_environment()
    assert str(getattr(from_environment, name)) == GIVEN[name]
    others = [field.name for field in fields(Settings) if field.name != name]
    assert all(getattr(from_environment, other) == getattr(Settings(), other) for other in others)
    assert str(getattr(Settings.from_environment(**{name: "flag"}), name)) == "flag"


def test_a_flag_that_was_not_given_leaves_the_environment_alone(monkeypatch):
    monkeypatch.setenv("MEDI_DEVICE", "mps")
    assert Settings.from_environment(device=None, checkpoint=None).device == "mps"
    assert Settings.from_environment(device="").device == "mps"


def test_an_empty_variable_is_as_none(monkeypatch):
    monkeypatch.setenv("MEDI_CHECKPOINT", "")
    monkeypatch.setenv("MEDI_ASSETS_DIR", "")
    assert Settings.from_environment() == Settings()


def test_folders_are_paths_wherever_they_come_from(monkeypatch):
    monkeypatch.setenv("MEDI_ASSETS_DIR", "/somewhere")
    settings = Settings.from_environment(checkpoints_dir="/elsewhere")
    assert (settings.assets_dir, settings.checkpoints_dir) == (Path("/somewhere"), Path("/elsewhere"))


def test_a_flag_that_is_no_setting_is_a_bug():
    with pytest.raises(KeyError, match="chekpoint"):
        Settings.from_environment(chekpoint="medi-128")


def test_a_number_of_the_environment_is_a_number(monkeypatch):
    monkeypatch.setenv("MEDI_RATE_LIMIT", "0")
    assert Settings.from_environment().rate_limit == 0
    monkeypatch.setenv("MEDI_RATE_LIMIT", "many")
    with pytest.raises(InvalidRequestError, match="MEDI_RATE_LIMIT = many: it must be a whole number"):
        Settings.from_environment()


def test_secrets_are_not_shown_with_the_settings():
    assert "s3cret" not in repr(Settings(auth="anna:s3cret", admin_passphrase="s3cret too"))
