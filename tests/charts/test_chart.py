"""The Helm chart: lints, renders, and is what Kubernetes takes; each process has its login and no more."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.local.secret_settings import NEEDED

pytestmark = pytest.mark.charts
ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "wallet-balance-split"
PYTHON = Path(sys.prefix) / "charts" / "bin" / "python"
BANK = {"settings": {"WBS_BANK_URL": "https://bank.example/v1"}}
KINDS = ("gateway", "relay", "actors", "reconciler", "courier")


def render(**values: Any) -> dict[str, Any]:
    """Return what the chart comes to with these values."""
    ran = subprocess.run(
        [PYTHON, Path(__file__).parent / "render.py", CHART],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def variables(container: dict[str, Any]) -> dict[str, Any]:
    """Return a container's variables: text, or the key of a Secret."""
    return {
        one["name"]: one.get("value") or one["valueFrom"]["secretKeyRef"]["key"] for one in container["env"]
    }


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"ingress": {"enabled": True, "host": "pay.example", "tlsSecretName": "tls", "className": "nginx"}},
        {"gateway": {"replicas": 1}, "relay": {"replicas": 0}},
        {"podAnnotations": {"a": "b"}, "nodeSelector": {"disk": "ssd"}, "migrate": {"enabled": False}},
        {
            "image": {
                "repository": "registry.example/wallet",
                "tag": "1.2.3",
                "pullSecrets": [{"name": "pull"}],
            }
        },
    ],
    ids=["defaults", "ingress", "replicas", "places", "image"],
)
def test_what_kubernetes_takes(more: dict[str, Any]) -> None:
    """Goal: the linter finds nothing, and no version of Kubernetes would refuse an object."""
    found = render(**BANK, **more)
    assert found["lint"] == []
    assert found["invalid"] == []
    assert {f"Deployment pay-{kind}" for kind in KINDS} <= found["objects"].keys()


def test_each_process_has_its_login_and_no_more() -> None:
    """Goal: a process that is broken into tells no more than it needs; none is root or writes to its image."""
    objects = render(**BANK)["objects"]
    for kind in KINDS:
        pod = objects[f"Deployment pay-{kind}"]["spec"]["template"]["spec"]
        [container] = pod["containers"]
        given = variables(container)
        assert given["DATABASE_URL"] == f"database-{kind}"
        secrets = {one["name"] for one in container["env"] if "valueFrom" in one}
        assert secrets <= NEEDED[kind], kind
        assert {"DATABASE_URL", "RABBITMQ_URL", "WBS_METRICS_TOKEN", "WBS_BANK_WEBHOOK_SECRET"} & NEEDED[
            kind
        ] <= secrets
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert variables(objects["Job pay-migrate"]["spec"]["template"]["spec"]["containers"][0]) == {
        "DATABASE_URL": "database-owner"
    }


def test_the_gateway_is_probed_by_a_name_it_knows() -> None:
    """Goal: probes come with a Host that is served (any other is 421), and clients' names are allowed."""
    objects = render(
        **BANK,
        gateway={"replicas": 2, "hosts": ["api.example"]},
        ingress={"enabled": True, "host": "pay.example", "tlsSecretName": "tls"},
    )["objects"]
    [container] = objects["Deployment pay-gateway"]["spec"]["template"]["spec"]["containers"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    allowed = set(variables(container)["WBS_ALLOWED_HOSTS"].split(","))
    assert allowed == {"pay", "pay.money", "pay.money.svc", "api.example", "pay.example"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "which bank"),
        ({**BANK, "ingress": {"enabled": True, "host": "pay.example"}}, "tlsSecretName"),
        ({"settings": {**BANK["settings"], "PASSWORD": "x"}}, "PASSWORD"),
        ({**BANK, "gateway": {"replicas": "two"}}, "replicas"),
        ({**BANK, "gateway": {"replicas": 2, "replica": 2}}, "replica"),
    ],
    ids=["no bank", "no TLS", "a strange setting", "a word", "a mistyped name"],
)
def test_bad_values_are_refused(values: dict[str, Any], says: str) -> None:
    """Goal: what can't work is refused when it is rendered, by name."""
    assert says in render(**values)["refused"]
