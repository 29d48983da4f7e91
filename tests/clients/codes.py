"""Writes `wbs_client.codes`, a class per code of the gateway's problems: `python -m tests.clients.codes`."""

from pathlib import Path

from gateway.contract.problem_kinds import KINDS

MODULE = Path(__file__).parents[2] / "clients" / "python" / "src" / "wbs_client" / "codes.py"

HEAD = '''"""A class per code of the service's problems. Made from the service's own table; not edited by hand."""

from typing import Any

from wbs_client.errors import ApiError
from wbs_client.models import Problem

'''
FOOT = '''
BY_CODE = {kind.code: kind for kind in ApiError.__subclasses__()}


def error_of_problem(
    problem: Problem | None,
    members: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
    retry_after_s: float | None = None,
) -> ApiError:
    """Return the error that a problem is, of the class of its code."""
    problem = problem or Problem(code="", status=500)
    kind = BY_CODE.get(problem.code, ApiError)
    return kind(problem, members, idempotency_key=idempotency_key, retry_after_s=retry_after_s)
'''


def class_name(code: str) -> str:
    """Return the name of a code's class: `not_found` is NotFound."""
    return "".join(word.capitalize() for word in code.split("_"))


def source() -> str:
    """Return the module."""
    parts = []
    for code, kind in KINDS.items():
        parts.append(f'\nclass {class_name(code)}(ApiError):\n    """{kind.title} ({kind.status})."""\n')
        parts.append(f'\n    code = "{code}"\n\n')
    names = "".join(f'    "{name}",\n' for name in sorted(map(class_name, KINDS)))
    return f"{HEAD}__all__ = [\n{names}]\n\n{''.join(parts)}{FOOT}"


if __name__ == "__main__":
    MODULE.write_text(source(), encoding="utf-8")
