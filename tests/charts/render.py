"""Lints and renders the Helm chart, and holds each object against Kubernetes' schemas.

Run by test_chart.py in an environment of its own: `render.py CHART` with values as JSON on standard input; it prints a
JSON object: `lint` (messages), `objects` (by kind and name), `invalid` (what Kubernetes would refuse) or `refused`
(what the chart refuses).
"""

import json
import sys
from typing import Any

import helm_python
import kubernetes_validate
import yaml

VERSIONS = ("1.28", "1.30", "1.33")
"""Of Kubernetes."""


def main(chart: str) -> dict[str, Any]:
    """Return what the chart comes to."""
    values = json.load(sys.stdin)
    try:
        rendered = helm_python.Chart.load(chart).render(values, name="pay", namespace="money")
    except helm_python.HelmError as error:
        return {"refused": str(error)}
    report = helm_python.lint(chart, values, strict=True)
    objects = [
        document
        for path, text in rendered.items()
        if not path.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document
    ]
    invalid = []
    for document in objects:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.InvalidSchemaError) as error:
                invalid.append(f"{document['kind']} {document['metadata']['name']} in {version}: {error}")
    return {
        "lint": [message for message in report["messages"] if message["severity"] > 1] + report["errors"],
        "objects": {f"{one['kind']} {one['metadata']['name']}": one for one in objects},
        "invalid": invalid,
    }


if __name__ == "__main__":
    json.dump(main(sys.argv[1]), sys.stdout)
