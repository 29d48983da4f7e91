"""One key, however it is written; nothing where it is not clear which key is meant."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.idempotency_keys import KEY_CHARS_MAX, BadKey, header_key, plain_key

letters = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
keys = st.text(letters, min_size=1, max_size=40).map(lambda text: text.strip(" ")).filter(bool)
blanks = st.text(" \t", max_size=3)
parameters = st.sampled_from(("", ";x=1", "; a", ';a="b;\\"c\\""; d=?1', " ;e=:aGk=:", ";*a.b-c=tok/en"))


def quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(keys, blanks, blanks)
def test_blanks_around_a_key(key: str, before: str, after: str) -> None:
    """Goal: spaces and tabs around a key are no part of it, wherever it is."""
    assert plain_key(before + key + after) == key


@given(keys, blanks, blanks, parameters)
def test_a_quoted_key(key: str, before: str, after: str, more: str) -> None:
    """Goal: a structured field's string is what is within its quotes; parameters say nothing about the key."""
    assert header_key([before + quoted(key) + more + after]) == key


@given(keys.filter(lambda key: not key.startswith('"') and "," not in key), blanks)
def test_a_plain_key(key: str, after: str) -> None:
    """Goal: without quotes a key is what it says."""
    assert header_key([key + after]) == key


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        (['"KEY"'], "KEY"),
        (['"KEY";x=1'], "KEY"),
        (["KEY", "KEY"], "KEY"),
        (["KEY", '"KEY"'], "KEY"),
        (["KEY ", "\tKEY"], "KEY"),
        (["KEY, KEY"], "KEY"),
        (["KEY,KEY ,\tKEY"], "KEY"),
        (['"KEY", "KEY"'], "KEY"),
        (['"KEY";a=1 , "KEY"; b'], "KEY"),
        (['"a, b"'], "a, b"),
        (["order 7, line 2"], "order 7, line 2"),
        (["a, b", "a, b"], "a, b"),
        (['a "quoted" one'], 'a "quoted" one'),
        (['" KEY "'], "KEY"),
        ([r'"a\"b\\c"'], 'a"b\\c'),
        ([r"a\"b"], r"a\"b"),
        (["x" * KEY_CHARS_MAX], "x" * KEY_CHARS_MAX),
        ([quoted("x" * KEY_CHARS_MAX)], "x" * KEY_CHARS_MAX),
        ([quoted('"' * KEY_CHARS_MAX)], '"' * KEY_CHARS_MAX),
        ([","], ","),
        (["Key;x=1"], "Key;x=1"),
    ],
)
def test_headers(lines: list[str], key: str) -> None:
    """Goal: all these name one key, and this one."""
    assert header_key(lines) == key


@pytest.mark.parametrize(
    "lines",
    [
        ["a", "b"],
        ["a", "A"],
        ['"a"', "b"],
        ['"a", "b"'],
        ['"a","a","b"'],
        ["KEY", ""],
        [""],
        [" \t"],
        ['""'],
        ['" "'],
        ['"'],
        ['"""'],
        ['"KEY'],
        ['"KEY" x'],
        ['"KEY"x=1'],
        ['"KEY";'],
        ['"KEY";=1'],
        ['"KEY", '],
        ['"KEY",, "KEY"'],
        ['"KEY", KEY'],
        [r'"a\b"'],
        ['"é"'],
        ["é"],
        ["a\tb"],
        ['"a\tb"'],
        ["\x7f"],
        ["x" * (KEY_CHARS_MAX + 1)],
        [quoted("x" * (KEY_CHARS_MAX + 1))],
    ],
)
def test_what_names_no_key_or_two(lines: list[str]) -> None:
    """Goal: no one clear key: nothing is taken."""
    with pytest.raises(BadKey):
        header_key(lines)


@pytest.mark.parametrize("text", ["", " ", "\t", "é", "a\n", "a\tb", "x" * 256, "\x00", "a\x7f", " x" * 200])
def test_bad_plain_keys(text: str) -> None:
    """Goal: a key can be printed, and kept."""
    with pytest.raises(BadKey):
        plain_key(text)


@pytest.mark.parametrize(
    "line",
    [
        '"' + "\\" * 8000,
        '"a"' + " ;a" * 2500 + "!",
        '"a"' + " " * 8000 + "x",
        '"a",' * 2000 + "x",
        "," * 8000 + "x",
    ],
)
def test_no_header_is_much_work(line: str) -> None:
    """Goal: the time for a header grows with its length only."""
    started = time.process_time()
    with pytest.raises(BadKey):
        header_key([line])
    assert time.process_time() - started < 0.25
