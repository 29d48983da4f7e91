"""A warning names each variable that no code reads."""

import re
from pathlib import Path

from runtime.known_settings import ELSEWHERE, unknown_settings, warning_of

ROOT = Path(__file__).parents[3]


def test_a_mistyped_setting() -> None:
    """Goal: the warning names the variable, and the one that was meant."""
    found = unknown_settings({"WBS_RETRY_ROUND": "3", "WBS_RETRY_ROUNDS": "3", "WBS_QQQ": "", "PATH": "/bin"})
    assert found == {"WBS_QQQ": None, "WBS_RETRY_ROUND": "WBS_RETRY_ROUNDS"}
    assert warning_of("WBS_RETRY_ROUND", "WBS_RETRY_ROUNDS").endswith("is WBS_RETRY_ROUNDS meant?")
    assert "meant" not in warning_of("WBS_QQQ", None)


def test_what_is_read_is_known() -> None:
    """Goal: no variable that some part of ours reads is warned of, and none is known that nothing reads."""
    read = set()
    for folder in ("wallet", "runtime", "db", "gateway", "actors", "bank_sim", "ops"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "known_settings.py":
                read |= set(re.findall(r'"(WBS_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    read |= set(
        re.findall(r"^#?(WBS_[A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert set(unknown_settings(dict.fromkeys(read, "1"))) == set()
    assert set(ELSEWHERE) <= read
