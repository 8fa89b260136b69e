"""Changing one value of a JSON document."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from padfix.errors import SourceError
from padfix.types import ABSENT
from padfix.write.json_text import JsonText

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=5)
STYLES = st.sampled_from([{"indent": 2}, {"indent": 4}, {"indent": "\t"}, {"separators": (",", ":")}, {}])


@given(OBJECTS, STYLES, st.booleans(), st.text(max_size=5), VALUES, st.booleans())
@settings(max_examples=100, deadline=None)
def test_setting_a_key_changes_that_key_only(obj, style, escape, key, value, crlf):
    """After `set`, the document's value differs in the one key, and every other member keeps its bytes."""
    text = json.dumps(obj, ensure_ascii=escape, **style)
    text = text.replace("\n", "\r\n") if crlf else text
    doc = JsonText(text, "x.json")
    doc.set((key,), value)
    assert json.loads(doc.text) == {**obj, key: value}
    if key in obj:
        head = 0
        while head < min(len(text), len(doc.text)) and text[head] == doc.text[head]:
            head += 1
        assert text[:head] == doc.text[:head]
    else:
        before, after = iter(text), doc.text
        position = 0
        for char in before:  # the old text is a subsequence of the new one: nothing was lost or reordered
            position = after.find(char, position) + 1
            assert position


@given(st.lists(VALUES, max_size=4), STYLES, VALUES)
@settings(max_examples=60, deadline=None)
def test_appending_keeps_the_elements(elements, style, value):
    """After `append`, the array holds what it held and the new element, last."""
    doc = JsonText(json.dumps({"a": 1, "list": elements}, **style), "x.json")
    doc.append(("list",), value)
    assert json.loads(doc.text) == {"a": 1, "list": [*elements, value]}


@pytest.mark.parametrize("indent", [2, 4, "\t"])
def test_the_result_is_what_the_same_style_writes(indent):
    """A new key, a new element and a nested value look as if the whole file had been written with them."""
    obj = {"z": 1, "list": [{"id": 0, "content": "é"}], "nested": {"deep": {"x": 1}}}
    doc = JsonText(json.dumps(obj, indent=indent, ensure_ascii=False), "x.json")
    doc.append(("list",), {"id": 1, "content": "ü"})
    doc.set(("nested", "deep", "y"), {"a": [1, 2]})
    doc.set(("w",), "▁")
    obj["list"].append({"id": 1, "content": "ü"})
    obj["nested"]["deep"]["y"] = {"a": [1, 2]}
    obj["w"] = "▁"
    assert doc.text == json.dumps(obj, indent=indent, ensure_ascii=False)


def test_a_new_key_goes_where_sorted_keys_put_it():
    """transformers sorts the keys of a config; the new one does not break the order."""
    doc = JsonText('{\n  "eos_token_id": 2,\n  "vocab_size": 9\n}', "config.json")
    doc.set(("pad_token_id",), 0)
    assert doc.text == '{\n  "eos_token_id": 2,\n  "pad_token_id": 0,\n  "vocab_size": 9\n}'


def test_numbers_escapes_and_odd_spacing_stay():
    """1.0, 1e-05, \\u escapes and hand-made spacing keep every byte."""
    text = '{ "a":1.0 ,\n   "b" : 1e-05, "c": "\\u00e9\\/",\r\n"pad_token_id": null }\n\n'
    doc = JsonText(text, "config.json")
    doc.set(("pad_token_id",), 7)
    assert doc.text == text.replace("null", "7")


def test_the_last_of_two_equal_keys_is_changed():
    """json takes the last of two equal keys, so that is the one to change."""
    doc = JsonText('{"pad_token_id": 1, "pad_token_id": 2}', "config.json")
    doc.set(("pad_token_id",), 3)
    assert doc.text == '{"pad_token_id": 1, "pad_token_id": 3}'
    assert doc.get("pad_token_id") == 3


def test_escapes_are_written_as_the_document_writes_them():
    """An ASCII file with \\u escapes gets escapes, any other file gets the character itself."""
    escaped = JsonText('{"a": "\\u2581"}', "x.json")
    escaped.set(("b",), "▁")
    assert escaped.text == '{"a": "\\u2581", "b": "\\u2581"}'
    plain = JsonText('{"a": "x"}', "x.json")
    plain.set(("b",), "▁")
    assert plain.text == '{"a": "x", "b": "▁"}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{",
        '{"a": 1} x',
        "1",
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"n": ' + "9" * 5000 + "}",
    ],
)
def test_what_is_not_a_json_object_is_refused(text):
    """Broken, deep and huge documents give a typed error that names the file."""
    with pytest.raises(SourceError, match=r"config\.json"):
        JsonText(text, "config.json")


def test_a_missing_parent_is_an_error():
    """A key cannot be set below something that is not there, and reading it says absent."""
    doc = JsonText('{"a": 1}', "config.json")
    assert doc.get("b", "c") is ABSENT
    with pytest.raises(SourceError, match="no object at 'b'"):
        doc.set(("b", "c"), 1)
    with pytest.raises(SourceError, match="no array at 'a'"):
        doc.append(("a",), 1)
