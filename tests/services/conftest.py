"""A reference set around the tiny checkpoint, with an encoder that costs nothing."""

import shutil
from pathlib import Path

import pytest

from medi_core.bootstrap import Services
from medi_core.projection import ProjectionConfig
from medi_core.services.synthetic_bank import BankConfig
from tests.services.test_encoding import CountingEncoder


@pytest.fixture
def cheap_encoder(monkeypatch) -> None:
    """Mean colours as features."""
    monkeypatch.setattr("medi_core.services.encoding.TileEncoder", CountingEncoder)


@pytest.fixture(scope="session")
def built_reference(tmp_path_factory) -> Path:
    """Where the first test that needs the reference set leaves it for the others: the tiny checkpoint is always one."""
    return tmp_path_factory.mktemp("built") / "reference"


@pytest.fixture
def referenced(tiny_services: Services, toy_manifest, cheap_encoder, built_reference: Path) -> Services:
    """The tiny services with a reference set of the 24 toy tiles and a bank of one tile a pair."""
    folder = tiny_services.settings.assets_dir / "reference"
    if built_reference.exists():
        shutil.copytree(built_reference, folder)
    else:
        bank = BankConfig(tiles_a_pair=1, crossed_centers=1, crossed_types=1)
        tiny_services.reference.build(toy_manifest, bank, ProjectionConfig(method="pca"))
        shutil.copytree(folder, built_reference)
    return tiny_services
