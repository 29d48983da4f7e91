"""The files that others run by: lock files, Procfile, docker-compose.yml, Makefile, settings."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from db.roles import ACTORS, COURIER, GATEWAY, OPERATOR, OWNER, RECONCILER, RELAY
from gateway.contract.problem_kinds import KINDS
from gateway.wire.connection_limits import TrustedProxies
from ops import rabbitmq_users
from ops.local.environment import SWAGGER_ORIGINS
from ops.local.rabbitmq_docker import DOCKER_IMAGE
from ops.roles import password_variable
from runtime.settings import Settings
from tests.conftest import THOROUGH

ROOT = Path(__file__).parents[2]
PROCESSES = {"gateway", "relay", "actors", "reconciler", "courier", "bank_sim"}
PACKAGES = ("wallet", "runtime", "db", "gateway", "actors", "bank_sim", "ops", "lab")
PARENT = ["python", "-P", "-m", "runtime.parent"]
WBS = Path(sys.executable).parent / "wbs"
TARGETS = {"help", "init", "run", "stop", "refresh_db", "reset", "test", "test-coverage", "lint"}
TARGETS |= {"attack", "bench", "chaos"}


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    return {name: command.strip() for name, _, command in (line.partition(":") for line in lines)}


def test_compose_runs_what_the_procfile_lists(compose: dict[str, Any]) -> None:
    """Goal: no Docker engine is here, so at least both ways run the same commands, in containers below a parent."""
    assert set(procfile()) == PROCESSES
    for name, command in procfile().items():
        assert compose["services"][name]["command"] == [*PARENT, *command.split()], name
        module = command.split()[-1].replace(".", "/")
        assert (ROOT / f"{module}.py").exists() or (ROOT / module / "__main__.py").exists(), command


@pytest.fixture
def foreign_folder(tmp_path: Path) -> Path:
    """A working folder that has folders of the same names as our packages."""
    for name in ("wallet", "runtime", "db", "gateway", "actors", "bank_sim", "ops", "lab"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise SystemExit('{name} of the working folder')\n")
    return tmp_path


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_the_working_folder_is_not_imported(name: str, foreign_folder: Path) -> None:
    """Goal: a folder `db/` in the user's working directory is not taken for ours."""
    command = [sys.executable, *procfile()[name].split()[1:]]
    wrong = {"WBS_BANK_PORT": "none"}
    ran = subprocess.run(
        command, cwd=foreign_folder, env={**os.environ, **wrong}, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode in (1, 2)
    assert "WBS_BANK_PORT" in ran.stdout + ran.stderr, "it came as far as its settings"


def test_the_command_tells_its_version_anywhere(foreign_folder: Path) -> None:
    """Goal: `wbs --version` prints the installed version."""
    ran = subprocess.run(
        [WBS, "--version"], cwd=foreign_folder, capture_output=True, text=True, timeout=60, check=True
    )
    assert re.fullmatch(r"wbs \d+\.\d+\.\d+\n", ran.stdout)


def test_compose_has_every_service_on_its_port(compose: dict[str, Any]) -> None:
    """Goal: the ports that the design promises, published on loopback only."""
    expected = {
        "postgres": {5432},
        "rabbitmq": {5672, 15672},
        "proxy": {8080},
        "bank_sim": {8090},
        "prometheus": {9090},
        "alertmanager": {9093},
        "grafana": {3000},
        "swagger": {8282},
    }
    services = compose["services"]
    one_time = {"migrate", "roles", "rabbitmq_users", "webhook_secret", "operator"}
    assert set(services) == PROCESSES | set(expected) | one_time
    assert "ports" not in services["gateway"], "only one of several gateways could have it"
    for name, ports in expected.items():
        published = services[name]["ports"]
        assert all(entry.startswith("127.0.0.1:") for entry in published), name
        assert {int(entry.split(":")[1]) for entry in published} == ports, name
    database = services["postgres"]["environment"]
    laptop = {"USER": "postgres", "PASSWORD": "password", "DB": "wpdb"}
    for key, default in laptop.items():
        assert database[f"POSTGRES_{key}"] == f"${{POSTGRES_{key}:-{default}}}", "an .env file replaces it"
    logins = {
        "migrate": OWNER,
        "gateway": GATEWAY,
        "relay": RELAY,
        "actors": ACTORS,
        "reconciler": RECONCILER,
    }
    for name, role in {**logins, "courier": COURIER, "operator": OPERATOR, "roles": "postgres"}.items():
        url = f"postgresql://{role}:password@postgres:5432/wpdb"
        assert without_env(services[name]["environment"]["DATABASE_URL"]) == url
        variable = re.search(r"\$\{(\w+_PASSWORD)", services[name]["environment"]["DATABASE_URL"])
        assert variable
        if name != "roles":
            assert variable[1] == password_variable(role)
            assert variable[1] in services["roles"]["environment"]


def test_each_kind_has_its_user_of_rabbitmq(compose: dict[str, Any]) -> None:
    """Goal: who gets into one process can do what that one needs; the administrator only makes the users."""
    services = compose["services"]
    kinds = {
        "relay": rabbitmq_users.RELAY,
        "actors": rabbitmq_users.ACTORS,
        "reconciler": rabbitmq_users.RECONCILER,
        "operator": rabbitmq_users.OPERATOR,
    }
    made = services["rabbitmq_users"]["environment"]
    for kind, user in {**kinds, "rabbitmq_users": rabbitmq_users.ADMINISTRATOR}.items():
        url = services[kind]["environment"]["RABBITMQ_URL"]
        assert without_env(url) == f"amqp://{user}:password@rabbitmq:5672/%2F", kind
        [variable] = re.findall(r"\$\{(\w+)", url)
        if kind == "rabbitmq_users":
            assert services["rabbitmq"]["environment"]["RABBITMQ_DEFAULT_USER"] == user, (
                "so there is no guest"
            )
            assert f"${{{variable}:-" in services["rabbitmq"]["environment"]["RABBITMQ_DEFAULT_PASS"]
        else:
            assert variable == rabbitmq_users.password_variable(user)
            assert made[variable] == f"${{{variable}:-password}}"
            assert kind == "operator" or "rabbitmq_users" in services[kind]["depends_on"]
    assert set(rabbitmq_users.USERS) == {*kinds.values(), rabbitmq_users.ADMINISTRATOR}


def test_only_the_container_reaches_the_ports_between_erlangs_nodes(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    """Goal: no other container runs code in RabbitMQ's node; the cookie is random, and stays when it starts again."""
    service = compose["services"]["rabbitmq"]
    assert service["environment"]["RABBITMQ_NODENAME"].endswith("@localhost")
    assert service["environment"]["ERL_EPMD_ADDRESS"] == "127.0.0.1"
    additional = service["environment"]["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    assert additional == "-kernel inet_dist_use_interface {127,0,0,1}"
    [shell, option, script] = service["command"]
    cookie = tmp_path / "cookie"
    script = script.replace("$$", "$").replace("/var/lib/rabbitmq/.erlang.cookie", str(cookie))
    assert script.endswith("exec rabbitmq-server\n")
    script = script.replace("exec rabbitmq-server", f"cat {cookie}")
    starts = [subprocess.run([shell, option, script], capture_output=True, text=True) for _ in range(2)]
    assert re.fullmatch("[0-9a-f]{48}", starts[0].stdout), starts[0]
    assert stat.S_IMODE(cookie.stat().st_mode) == 0o400
    assert starts[1].stdout == starts[0].stdout
    cookie.unlink()
    cookie.touch(0o400)  # the container ended in the middle of it
    third = subprocess.run([shell, option, script], capture_output=True, text=True, check=True).stdout
    assert len(third) == 48
    assert third != starts[0].stdout


def without_env(text: str) -> str:
    """Return a value of the compose file as it is where no variable is set."""
    return re.sub(r"\$\{[A-Z_]+:?-([^}]*)\}", r"\1", text)


def test_containers_are_called_by_names_that_they_serve(compose: dict[str, Any]) -> None:
    """Goal: the bank's callbacks, payouts and Swagger UI are no strangers to whom they call."""
    gateway, bank = (compose["services"][name]["environment"] for name in ("gateway", "bank_sim"))
    callback_host = urlsplit(bank["WBS_CALLBACK_URL"]).hostname
    assert callback_host in without_env(gateway["WBS_ALLOWED_HOSTS"]).split(",")
    assert urlsplit(without_env(gateway["WBS_BANK_URL"])).hostname == bank["WBS_ALLOWED_HOSTS"]
    [port] = compose["services"]["swagger"]["ports"]
    pages = {f"http://{host}:{port.split(':')[1]}" for host in ("127.0.0.1", "localhost")}
    assert (
        pages == set(without_env(gateway["WBS_CORS_ORIGINS"]).split(",")) == set(SWAGGER_ORIGINS.split(","))
    )


def test_gateways_learn_the_clients_address_from_the_proxy(compose: dict[str, Any]) -> None:
    """Goal: the proxy says whose request it is, and replaces what the client says of itself."""
    networks = without_env(compose["services"]["gateway"]["environment"]["WBS_TRUSTED_PROXIES"])
    proxies = TrustedProxies.from_setting(networks)
    assert proxies.includes("172.18.0.5"), "Docker's networks"
    assert not proxies.includes("203.0.113.7")
    proxy = (ROOT / "deploy/haproxy/haproxy.cfg").read_text(encoding="utf-8")
    frontend = proxy.partition("\nfrontend api\n")[2].partition("\nbackend ")[0]
    assert "    http-request set-header X-Forwarded-For %[src]\n" in frontend
    assert "add-header" not in proxy
    assert "forwardfor" not in proxy, "it would leave what the client said before it"


def test_without_a_gateway_the_proxy_answers_with_a_problem() -> None:
    """Goal: clients of the API get problem documents, and the time to wait, while no gateway is there at all."""
    proxy = (ROOT / "deploy/haproxy/haproxy.cfg").read_text(encoding="utf-8")
    [(media_type, told, header)] = re.findall(
        r"^    http-error status 503 content-type (\S+) string '(.*)' hdr (.*)$", proxy, re.MULTILINE
    )
    assert (media_type, header) == ("application/problem+json", "Retry-After 1")
    problem = json.loads(told)
    kind = KINDS[problem["code"]]
    assert problem["type"] == f"/problems/{problem['code']}"
    assert (problem["status"], problem["title"]) == (503, kind.title) == (kind.status, kind.title)


def test_containers_may_do_little(compose: dict[str, Any]) -> None:
    """Goal: no container has a capability, none gains any, only Swagger UI writes outside volumes and memory."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert "VOLUME" not in dockerfile, "each container would leave a volume without a name"
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] == (name != "swagger"), name
        assert service["init"] is True, f"an orphan in {name} would be a child of its server"
        if name not in ("roles", "rabbitmq_users", "migrate", "webhook_secret", "operator"):
            assert service["healthcheck"]["test"], name
        for volume in service.get("volumes", []):
            source = str(volume).split(":")[0]
            assert source in compose["volumes"] or str(volume).endswith(":ro"), name


def test_what_is_frozen_is_seen_in_containers(compose: dict[str, Any]) -> None:
    """Goal: each of our containers ends when its process is frozen, is started again, and has a liveness probe."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert "WBS_BEAT_FILE=/data/beat" in dockerfile, "the parent and the probe look for the same file"
    assert 'CMD ["python", "-P", "-m", "runtime.parent", "python", "-P", "-m", "gateway"]' in dockerfile
    for name in PROCESSES:
        service = compose["services"][name]
        assert service["restart"] == "unless-stopped", name
        probe = service["healthcheck"]["test"]
        assert probe == ["CMD", "python", "-P", "-m", "runtime.probe"] or "/health" in probe[-1], name
        # A probe that asked whether requests can be served would end every gateway because PostgreSQL is away.
        assert "ready" not in probe[-1], name


def test_compose_waits_for_what_it_needs(compose: dict[str, Any]) -> None:
    """Goal: nothing starts before the schema exists; each awaited service reports its health."""
    services = compose["services"]
    for name in PROCESSES - {"bank_sim"}:
        needs = services[name]["depends_on"]
        assert needs["migrate"]["condition"] == "service_completed_successfully", name
        for other, need in needs.items():
            if need["condition"] == "service_healthy":
                assert "healthcheck" in services[other], other
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = str(volume).split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).is_dir(), f"{name} mounts {source}"


def test_grafana_finds_its_dashboards(compose: dict[str, Any]) -> None:
    """Goal: the folder in Grafana's provisioning is the mounted one, and has the first page."""
    provider = ROOT / "deploy/grafana/provisioning/dashboards/dashboards.yml"
    [told] = yaml.safe_load(provider.read_text(encoding="utf-8"))["providers"]
    service = compose["services"]["grafana"]
    mounts = {target: source for source, target, *_ in (volume.split(":") for volume in service["volumes"])}
    folder = ROOT / mounts[told["options"]["path"]]
    home = Path(service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == told["options"]["path"]
    assert (folder / home.name).is_file()
    assert mounts["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"


def test_prometheus_scrapes_the_ports_that_compose_gives(compose: dict[str, Any]) -> None:
    """Goal: every background process is scraped where it serves its metrics."""
    text = (ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8")
    for name in PROCESSES - {"gateway", "bank_sim"}:
        port = compose["services"][name]["environment"]["WBS_METRICS_PORT"]
        assert f"names: [{name}], type: A, port: {port}," in text, name
    assert "names: [gateway], type: A, port: 8080," in text, "each gateway, not the one that the proxy picks"
    assert "bank_sim:8090" in text


def test_postgres_has_room_for_parallel_queries(compose: dict[str, Any]) -> None:
    """Goal: an audit of many rows, whose workers share memory, is not ended by Docker's 64 MB of it."""
    assert compose["services"]["postgres"]["shm_size"] == "1gb"


def test_images_are_pinned_to_a_patch_version(compose: dict[str, Any]) -> None:
    """Goal: the same image today and tomorrow; what is newer comes by a change that somebody reads."""
    images = {service["image"] for service in compose["services"].values() if "image" in service}
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    images |= set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
    assert DOCKER_IMAGE in images, "`wbs up` runs the same RabbitMQ in Docker"
    for image in images - {"wallet-balance-split"}:
        assert re.search(r":v?\d+\.\d+(\.\d+)?", image), image
        assert image.startswith("postgres:") or re.search(r":v?\d+\.\d+\.\d+", image), image


def test_only_known_files_are_installed() -> None:
    """Goal: whoever changes a package on its way to us changes nothing here: pip refuses it."""
    for name in ("deploy/make-venv", "deploy/Dockerfile"):
        installs = re.findall(
            r"^.*install .* -r .*$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE
        )
        assert installs
        assert all("--require-hashes" in line for line in installs), name


def test_make_help_lists_every_target() -> None:
    """Goal: `make` alone tells what there is."""
    shown = subprocess.run(
        ["make", "-C", str(ROOT)], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    missing = [target for target in TARGETS if f"make {target} " not in shown]
    assert not missing


NOT_IN_CONTAINERS = {
    "WBS_APT_INSTALL": "how `wbs up` provisions",
    "WBS_BEAT_FILE": "the Dockerfile says where it is",
    "WBS_BROKER": "how `wbs up` provisions",
    "WBS_CHAOS_SEED": "the tests'",
    "WBS_HTTP_HOST": "the Dockerfile says it",
    "WBS_HTTP_PORT": "the proxy publishes the port",
    "WBS_POSTGRES": "how `wbs up` provisions",
    "WBS_POSTGRES_BIN": "how `wbs up` provisions",
    "WBS_STATE_DIR": "the Dockerfile says where it is",
}
"""Documented variables that docker-compose.yml does not mention, and why."""


def test_compose_passes_on_what_makes_sense() -> None:
    """Goal: a documented variable works in containers too, or a reason is given."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    mentioned = set(re.findall(r"^ +([A-Z_]+):", text, re.MULTILINE)) | set(
        re.findall(r"\$\{([A-Z_]+)", text)
    )
    documented = documented_variables()
    assert set(documented) - mentioned == set(NOT_IN_CONTAINERS)


def test_every_variable_is_documented_once() -> None:
    """Goal: .env.example has each variable that something reads, once, and none that nothing reads."""
    read = {str(field.metadata["env"]) for field in fields(Settings)}
    composed = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    read |= set(re.findall(r"\$\{([A-Z_]+)", composed))
    read |= set(re.findall(r"^ +(OTEL_[A-Z_]+):", composed, re.MULTILINE))  # which libraries read
    for folder in (*PACKAGES, "tests/chaos"):
        for path in (ROOT / folder).rglob("*.py"):
            read |= set(re.findall(r'"(WBS_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    assert sorted(documented_variables()) == sorted(read)


def documented_variables() -> list[str]:
    """Return the variables of .env.example, in their order."""
    return re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("compiled", ["with optimization", "without", "not at all"])
def test_the_interpreter_for_the_virtual_environment(compiled: str, tmp_path: Path) -> None:
    """Goal: an interpreter of one's own is taken, unless it is slow and the system's is not."""
    python = tmp_path / "python3"
    if compiled != "not at all":
        python.write_text(f"#!/bin/sh\nexit {0 if compiled == 'with optimization' else 1}\n")
        python.chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    ran = subprocess.run(
        [bash, ROOT / "deploy" / "choose-python"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    suits = "import ensurepip, sys, venv; assert sys.version_info >= (3, 11)"
    system = Path("/usr/bin/python3")
    system_suits = (
        system.exists() and not subprocess.run([system, "-c", suits], timeout=60, check=False).returncode
    )
    expected = "python3" if compiled == "with optimization" or not system_suits else str(system)
    assert ran.stdout.strip() == expected
    assert (str(python) in ran.stderr) == (compiled == "without" and system_suits)


def test_make_looks_for_thorough_tests_where_they_are() -> None:
    """Goal: no test that is marked as thorough is in a folder that `make test-thorough` does not read."""
    listed = re.search(
        r"^THOROUGH := \$\(addprefix tests/,(.*)\)$", (ROOT / "Makefile").read_text("utf-8"), re.M
    )
    assert listed
    folders = tuple(place if place.endswith(".py") else f"{place}/" for place in listed[1].split())
    marked = [
        place
        for file in (ROOT / "tests").rglob("test_*.py")
        if (place := file.relative_to(ROOT / "tests").as_posix()).startswith(THOROUGH)
        or re.search(r"pytest\.mark\.thorough", file.read_text(encoding="utf-8"))
    ]
    assert len(marked) > 15
    assert [place for place in marked if not place.startswith(folders)] == []
