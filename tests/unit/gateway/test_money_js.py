"""The console's money.js: the same spelling of amounts as `wallet.currencies`, and what people type read back."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import unavailable
from tests.unit.wallet.test_currencies import SPELLED

SCRIPT = Path(__file__).parents[3] / "gateway" / "static" / "console" / "money.js"
CURRENCIES = [
    {"code": code, "exponent": exponent}
    for code, exponent in {"USD": 2, "JPY": 0, "KWD": 3, "PTS": 0, "EUR": 2}.items()
]


def run(expression: str) -> Any:
    """The value of an expression, once money.js knows the currencies."""
    node = shutil.which("node")
    if node is None:
        unavailable("no Node.js here")
    script = f"""
        {SCRIPT.read_text(encoding="utf-8").replace("export ", "")}
        knowCurrencies({json.dumps(CURRENCIES)});
        const attempt = (read) => {{ try {{ return read(); }} catch (error) {{ return error.message; }} }};
        console.log(JSON.stringify({expression}));
    """
    done = subprocess.run([node, "-e", script], capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


def test_the_browser_spells_as_the_commands_do() -> None:
    """Goal: the same amounts read the same, to the last digit, also beyond what a JavaScript number holds."""
    calls = ",".join(f"spelled({amount}n, {json.dumps(code)})" for amount, code, _ in SPELLED)
    assert run(f"[{calls}]") == [text for _, _, text in SPELLED]
    assert run("spelled(9007199254740991, 'USD')") == "90,071,992,547,409.91 USD"
    assert run("spelled(-1234, 'JPY')") == "-1,234 JPY"


@pytest.mark.parametrize(
    ("text", "code", "amount"),
    [
        ("12.34", "USD", 1234),
        ("12.3", "USD", 1230),
        ("12", "USD", 1200),
        ("1,234.56", "USD", 123456),
        ("0.29", "USD", 29),
        ("1.15", "USD", 115),
        ("90071992547409.91", "USD", 2**53 - 1),
        ("1,234", "JPY", 1234),
        ("1.234", "KWD", 1234),
        (" 7 ", "PTS", 7),
        ("7", "BGN", 7),
    ],
)
def test_what_people_type_is_read_to_the_unit(text: str, code: str, amount: int) -> None:
    """Goal: an amount with decimal places becomes exact minor units: no float comes near it."""
    assert run(f"minorUnits({json.dumps(text)}, {json.dumps(code)})") == amount


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1.234", "USD"),
        ("12,34", "USD"),
        ("1.5", "JPY"),
        ("-1", "USD"),
        ("1e3", "USD"),
        ("", "USD"),
        ("ten", "USD"),
        (".5", "USD"),
        ("90071992547409.92", "USD"),
    ],
)
def test_what_can_be_misread_is_refused(text: str, code: str) -> None:
    """Goal: nobody charges a hundred times too much because of a comma."""
    assert text in run(f"attempt(() => minorUnits({json.dumps(text)}, {json.dumps(code)}))")
