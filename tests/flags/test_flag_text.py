"""Flag files as editors and shells of several systems write them."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from flags import flag_text
from runtime.errors import UserError

ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
NO_SURROGATES = st.characters(codec="utf-8")


def read(content, is_text=lambda name: name == "data_dir"):
    return list(flag_text.flags_in(content, "a.flags", is_text))


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(value=st.text(NO_SURROGATES), end=st.sampled_from(["\n", "\r\n", "\r"]))
@example(value='a "b" # c', end="\n")
@example(value="für mich\u2028 #2", end="\r\n")
def test_what_line_writes_is_read_again_in_any_encoding(encoding, value, end):
    if set(value) & set("\r\n\0"):
        with pytest.raises(UserError, match=r"--data_dir: .* cannot stand in a flag file"):
            flag_text.line("data_dir", value)
        return
    assume(not set(value) >= set("\"'"))
    line = flag_text.line("data_dir", value)
    text = end.join(["# é", line, "--seed=1"])
    assert read(ENCODINGS[encoding] + text.encode(encoding)) == [(2, f"--data_dir={value}"), (3, "--seed=1")]


@given(value=st.text(NO_SURROGATES.filter(lambda sign: sign not in "#\r\n"), min_size=1))
def test_a_value_without_quotes_is_taken_as_it_stands(value):
    assume(value == value.strip() and value[0] not in "'\"")
    assert read(f"--data_dir={value}\n".encode()) == [(1, f"--data_dir={value}")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_known_by_its_zeros(encoding):
    assert read("--data_dir=für mich\r\n--seed=1\r\n".encode(encoding)) == [(1, "--data_dir=für mich"), (2, "--seed=1")]


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ('--data_dir="a b"', "--data_dir=a b"),
        ("--data_dir='a b'", "--data_dir=a b"),
        ('--data_dir="a # b"  # first try', "--data_dir=a # b"),
        ('"--data_dir=a b"', "--data_dir=a b"),
        ('--data_dir="a "b" c"', '--data_dir=a "b" c'),
        ('--data_dir="a', '--data_dir="a'),
        ("--data_dir=a#b", "--data_dir=a#b"),
        ("--data_dir=", "--data_dir="),
        ('--data_dir=""', "--data_dir="),
        ("--data_dir= a", "--data_dir= a"),
        ("--data_dir = a b", "--data_dir=a b"),
        ("--data_dir a b", "--data_dir=a b"),
        ('--data_dir "a b"', "--data_dir=a b"),
        ("--data_dir", "--data_dir"),
        ("--train_steps=100  # enough", "--train_steps=100"),
        ("--train_steps 100 # enough", "--train_steps=100"),
        ("--noflip # arrows", "--noflip"),
        ("-seed=1", "-seed=1"),
        ("\u2013\u2013seed=1", "\u2013\u2013seed=1"),
        ("  --seed=1\t\u00a0", "--seed=1"),
    ],
)
def test_a_line(line, flag):
    assert read(line.encode()) == [(1, flag)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"--seed=1\n--data_dir=out   # first try", "a.flags, line 2: got --data_dir=out   # first try; if `# first try` is a "
         'comment, put it on a line of its own; if it is part of the value, write --data_dir="out   # first try"'),
        (b'--data_dir="a" # "b"', 'a.flags, line 1: got "a" # "b", which can end at several quotes; use the other kind of'),
        (b"# f\xfcr mich\n--data_dir=f\xfcr mich", "a.flags, line 2: the byte 0xfc after '--data_dir=f' is no UTF-8; save the"),
        (codecs.BOM_UTF16_LE + b"-\0-\0s", "a.flags is no flag file: utf-16-le that is damaged (truncated data); save it as"),
    ],
)  # fmt: skip
def test_what_nobody_can_know_is_one_line(content, message):
    with pytest.raises(UserError) as caught:
        read(content)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
