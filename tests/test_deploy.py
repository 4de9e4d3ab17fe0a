"""What stands around the app on a machine of one's own fits it, and docs/hosting.md speaks of what is there."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from medi_core.data.safe_zip import MAX_ZIP_BYTES
from medi_core.settings import Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
CADDYFILE = (DEPLOY / "Caddyfile").read_text(encoding="utf-8")
COMPOSE, COMPOSE_GPU = (
    yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8")) for name in ("compose.yaml", "compose.gpu.yaml")
)


APP = COMPOSE["services"]["app"]
SETTINGS = {f"MEDI_{field.name.upper()}" for field in fields(Settings)}


@pytest.mark.parametrize("page", [*sorted(DEPLOY.iterdir()), ROOT / "docs" / "hosting.md"], ids=lambda page: page.name)
def test_every_variable_named_is_a_setting(page):
    assert set(re.findall(r"MEDI_[A-Z_]+", page.read_text(encoding="utf-8"))) <= SETTINGS


def test_every_setting_reaches_the_app_or_is_fixed_by_the_image():
    """Above all MEDI_AUTH: where it got lost on the way, the app would stand open."""
    passed = {name: value for name, value in APP["environment"].items() if name.startswith("MEDI_")}
    assert passed == {name: f"${{{name}:-}}" for name in passed}
    fixed = set(re.findall(r"(MEDI_[A-Z_]+)=", DOCKERFILE))
    assert passed.keys() | fixed == SETTINGS
    assert not passed.keys() & fixed, "where nobody sets it, what the image says would be made empty"


def test_the_page_names_every_setting():
    page = (ROOT / "docs" / "hosting.md").read_text(encoding="utf-8")
    _, section = page.split("## Settings and secrets")
    assert set(re.findall(r"`(MEDI_[A-Z_]+)`", section)) == SETTINGS


def test_the_app_believes_the_proxy_about_the_visitors_address_and_nobody_else_reaches_it():
    assert APP["environment"]["FORWARDED_ALLOW_IPS"] == "*"
    assert not {"ports", "network_mode", "networks"} & set(APP), "whoever reached the app could claim any address"


def test_only_a_public_name_is_bound_to_tls_for_a_year():
    (matcher,) = re.findall(r"header (\S+) Strict-Transport-Security", CADDYFILE)
    (spared,) = re.findall(rf"{matcher} not host (.+)", CADDYFILE)
    (default,) = re.findall(r"\$SITE_ADDRESS:(\S+?)\}", CADDYFILE)
    assert {default, "*.localhost", "*.local"} <= set(spared.split())


def test_the_proxy_talks_to_the_port_that_the_app_listens_on():
    (port,) = re.findall(r"GRADIO_SERVER_PORT=(\d+)", DOCKERFILE)
    assert f"EXPOSE {port}\n" in DOCKERFILE
    assert f"127.0.0.1:{port}/healthz" in DOCKERFILE
    assert re.search(r"reverse_proxy \{\$APP:(\w+):(\d+)\}", CADDYFILE).groups() == ("app", port)
    assert "app" in COMPOSE["services"]


def test_the_proxy_lets_the_largest_upload_of_the_app_through():
    (megabytes,) = re.findall(r"max_size (\d+)MB", CADDYFILE)
    assert int(megabytes) * 1_000_000 > MAX_ZIP_BYTES


def test_answers_are_kept_in_a_volume_and_the_app_is_not_root():
    (data,) = re.findall(r"MEDI_DATA_DIR=(\S+)", DOCKERFILE)
    assert f"data:{data}" in APP["volumes"]
    assert "data" in COMPOSE["volumes"]
    assert APP["read_only"]
    assert DOCKERFILE.index("USER medi") < DOCKERFILE.index("CMD [")


def test_no_secret_is_written_down():
    for name in ("MEDI_ADMIN_PASSPHRASE", "MEDI_AUTH"):
        assert APP["environment"][name] == f"${{{name}:-}}"
    assert "/deploy/.env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_image_gets_what_the_app_needs_and_no_more():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    taken = {line[1:] for line in lines if line.startswith("!")}
    assert {"app.py", "requirements.txt", "medi_core", "assets", "checkpoints"} <= taken
    assert all((ROOT / name).exists() for name in taken)
    assert not taken & {"deploy", "runs", "outputs", ".git"}


def test_the_file_for_the_gpu_adds_to_a_service_that_is_there():
    assert set(COMPOSE_GPU["services"]) <= set(COMPOSE["services"])
    assert COMPOSE_GPU["services"]["app"]["environment"] == {"MEDI_DEVICE": "${MEDI_DEVICE:-cuda}"}
