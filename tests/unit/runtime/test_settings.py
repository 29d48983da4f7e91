"""Settings: read from the environment, checked at start, documented, and silent about secrets."""

import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.settings import Settings, SettingsError

ROOT = Path(__file__).parents[3]

SECRETS = {
    "DATABASE_URL": "postgresql://me:s3cret@db/wallets",
    "RABBITMQ_URL": "amqp://me:s3cret@broker/",
    "WBS_METRICS_TOKEN": "metrics-s3cret-metrics",
    "WBS_BANK_WEBHOOK_SECRET": "whsec_" + 6 * "s3cret",
    "WBS_BANK_TOKEN": "s3cret",
    "WBS_BANK_PROXY": "https://me:s3cret@proxy",
}


def _environment_names() -> list[str]:
    return [item.metadata["env"] for item in fields(Settings)]


def test_the_defaults_agree_with_each_other() -> None:
    """Goal: without any variable the settings are whole and valid."""
    settings = Settings.from_env({})
    assert settings.http_port == 8080
    assert settings.bank_url == "http://127.0.0.1:8090"
    assert settings.default_currency == "USD"


def test_the_environment_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: without an explicit mapping the process's own environment is read; blank means not set."""
    monkeypatch.setenv("WBS_HTTP_PORT", " 8123 ")
    monkeypatch.setenv("WBS_BANK_PORT", "")
    settings = Settings.from_env()
    assert (settings.http_port, settings.bank_port) == (8123, 8090)


def test_the_bank_is_the_simulator_unless_named() -> None:
    """Goal: WBS_BANK_PORT alone changes the bank's address; WBS_BANK_URL replaces it."""
    assert Settings.from_env({"WBS_BANK_PORT": "8999"}).bank_url == "http://127.0.0.1:8999"
    named = Settings.from_env({"WBS_BANK_PORT": "8999", "WBS_BANK_URL": "http://bank:1"})
    assert named.bank_url == "http://bank:1"


def test_another_bank_leaves_the_simulators_port_alone() -> None:
    """Goal: where the bank is elsewhere, the API may have the port that the simulator would have."""
    assert (
        Settings.from_env({"WBS_HTTP_PORT": "8090", "WBS_BANK_URL": "https://bank.example/v1"}).http_port
        == 8090
    )


def test_every_number_is_read_and_bounded() -> None:
    """Goal: each whole number is refused below its bound and when it is none, and the message names it."""
    numbers = [item for item in fields(Settings) if item.type is int]
    assert len(numbers) > 20
    for item in numbers:
        name, low = item.metadata["env"], item.metadata["low"]
        assert low is not None, f"{name} has no lower bound"
        with pytest.raises(SettingsError, match=f"{name} must be at least {low}"):
            Settings.from_env({name: str(low - 1)})
        for text in ("1.5", "many", "0x10", "1e3"):
            with pytest.raises(SettingsError, match=f"{name} must be a whole number"):
                Settings.from_env({name: text})


RULES = [
    {"WBS_BANK_CONNECT_TIMEOUT_MS": "3001"},
    {"WBS_BANK_TIMEOUT_MS": "10000"},
    {"WBS_LEASE_MS": "13000"},
    {"WBS_ROUND_DEADLINE_MS": "17000"},
    {"WBS_RETRY_DELAY_MS_MIN": "30001"},
    {"WBS_RETRY_DELAY_MS_MAX": "1999"},
    {"WBS_LOCK_TIMEOUT_MS": "1500"},
    {"WBS_BATCH_SIZE_MAX": "2001"},
    {"WBS_DEFAULT_CURRENCY": "usd"},
    {"WBS_DEFAULT_CURRENCY": "EURO"},
    {"WBS_LOG_LEVEL": "verbose"},
    {"WBS_HTTP_PORT": "8090"},
    {"WBS_BANK_PORT": "8080"},
    {"WBS_METRICS_PORT": "8080"},
    {"WBS_BANK_WEBHOOK_SECRET": "hunter2"},
    {"WBS_BANK_WEBHOOK_SECRET": "whsec_hunter2"},
    {"WBS_BANK_WEBHOOK_SECRET": "whsec_" + "A" * 31},
    {"WBS_BANK_WEBHOOK_SECRET": "whsec_" + "A" * 28 + "%%%%"},
    {"WBS_BANK_WEBHOOK_SECRET": "whsec_" + "A" * 88},
    {"WBS_BANK_WEBHOOK_SECRET": "whsec_" + "A" * 32 + ",whsec_B"},
    {"WBS_BANK_WEBHOOK_SECRET": ",".join(["whsec_" + "A" * 32] * 5)},
    {"WBS_BANK_WEBHOOK_SECRET_FILE": "/dev/null"},
    {"WBS_BANK_WEBHOOK_SECRET_FILE": "/nowhere"},
    {"WBS_BANK_WEBHOOK_SECRET": "whsec_" + "A" * 32, "WBS_BANK_WEBHOOK_SECRET_FILE": "/dev/null"},
    {"WBS_BANK_URL": "bank"},
    {"WBS_BANK_URL": "bank:8090"},
    {"WBS_BANK_URL": "http://"},
    {"WBS_BANK_URL": "http:/bank"},
    {"WBS_BANK_URL": "ftp://bank"},
    {"WBS_BANK_URL": "http://bank:port"},
    {"WBS_BANK_URL": "http://bank:99999"},
    {"WBS_BANK_URL": "http://b nk/"},
    {"WBS_BANK_URL": "http:" + "//[::1"},
]


@pytest.mark.parametrize("environment", RULES, ids=str)
def test_contradictions_are_refused(environment: dict[str, str]) -> None:
    """Goal: each rule between settings is checked before anything starts, and the message names a setting."""
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env(environment)
    assert re.search(next(iter(environment)), str(refusal.value))


@given(st.data())
def test_a_round_is_over_before_another_may_begin(data: st.DataObject) -> None:
    """Goal: whatever is accepted, no two rounds of one withdrawal can be at the bank at the same time."""
    times = ("WBS_BANK_CONNECT_TIMEOUT_MS", "WBS_BANK_TIMEOUT_MS", "WBS_ROUND_DEADLINE_MS", "WBS_LEASE_MS")
    environment = {name: str(data.draw(st.integers(1, 100))) for name in times}
    try:
        settings = Settings.from_env(environment)
    except SettingsError:
        return
    assert settings.bank_connect_timeout_ms <= settings.bank_timeout_ms < settings.round_deadline_ms
    assert settings.round_deadline_ms + settings.bank_timeout_ms < settings.lease_ms


def test_settings_do_not_change() -> None:
    """Goal: one frozen object a process: what was checked at start still holds later."""
    with pytest.raises(FrozenInstanceError):
        Settings.from_env({}).http_port = 1  # type: ignore[misc]


def test_secrets_do_not_show() -> None:
    """Goal: a settings object in a log line or a traceback tells no password."""
    settings = Settings.from_env({**SECRETS, "WBS_BANK_URL": "https://bank"})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings)


@pytest.mark.parametrize("name", SECRETS)
def test_messages_tell_no_secret(name: str) -> None:
    """Goal: a refusal of other settings quotes no secret."""
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({name: SECRETS[name], "WBS_LOG_LEVEL": "s0me"})
    assert "s3cret" not in str(refusal.value)


def test_names_say_their_unit() -> None:
    """Goal: a setting that is a time ends in its unit, in code and environment alike."""
    for item in fields(Settings):
        name = item.metadata["env"]
        assert name.removeprefix("WBS_").lower() == item.name, name
        if re.search("timeout|delay|deadline|interval|lease|linger|ttl|after", item.name):
            assert re.search(r"_(ms|us|s)(_min|_max)?$", item.name), f"{item.name} has no unit"


def test_every_setting_is_documented() -> None:
    """Goal: each setting says what it means, in the code and in .env.example."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    offered = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    for item in fields(Settings):
        assert len(item.metadata["doc"]) > 5, item.name
        assert item.metadata["env"] in offered, f"{item.metadata['env']} is missing in .env.example"
    assert len(_environment_names()) == len(set(_environment_names()))


def test_the_example_tells_the_defaults() -> None:
    """Goal: uncommenting a line of .env.example without editing it changes nothing."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    offered = dict(re.findall(r"^#?([A-Z_]+)=(\S*)", example, re.MULTILINE))
    examples_only = {"DATABASE_URL", "RABBITMQ_URL", "WBS_BANK_WEBHOOK_SECRET"}
    default = Settings.from_env({})
    for item in fields(Settings):
        name = item.metadata["env"]
        if name not in examples_only:
            assert offered[name] == str(getattr(default, item.name)), name
