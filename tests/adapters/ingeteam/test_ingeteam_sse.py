"""Bytes to events, however they are cut, ended and padded (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.ingeteam.sse import LARGEST_EVENT, Event, EventDecoder


def decode(*chunks, largest=LARGEST_EVENT):
    decoder = EventDecoder(largest)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


PLAIN = b'event: /ems/sse/phases\ndata: {"a": 1}\n\n'


def test_an_event_has_a_name_and_data():
    assert decode(PLAIN) == [Event("/ems/sse/phases", '{"a": 1}')]


def test_an_event_may_have_no_name():
    assert decode(b"data: 1\n\n") == [Event("", "1")]


def test_a_name_does_not_outlive_its_event():
    assert decode(b"event: one\ndata: 1\n\ndata: 2\n\n") == [Event("one", "1"), Event("", "2")]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_lines_end_in_each_of_three_ways(end):
    text = b"event: x\ndata: 1\ndata: 2\n\nevent: y\ndata: 3\n\n".replace(b"\n", end)
    expected = [Event("x", "1\n2"), Event("y", "3")]

    assert decode(text) == expected
    assert decode(*[text[place : place + 1] for place in range(len(text))]) == expected


def test_an_event_that_ends_in_cr_is_told_without_waiting_for_more():
    assert decode(b"data: 1\r\r") == [Event("", "1")]


def test_a_line_end_cut_in_two_is_one_line_end():
    assert decode(b"data: 1\r", b"\ndata: 2\r", b"\n\r", b"\n") == [Event("", "1\n2")]


def test_a_byte_order_mark_at_the_beginning_is_no_part_of_the_first_name():
    assert decode(b"\xef", b"\xbb", b"\xbfdata: 1\n\n") == [Event("", "1")]
    assert decode(b"\xef\xbb\xbf" + PLAIN) == decode(PLAIN)


def test_a_byte_order_mark_later_is_like_any_character():
    assert decode(b"data: 1\n\n", b"\xef\xbb\xbfdata: 2\n\n") == [Event("", "1")]


def test_a_character_cut_in_two_is_whole_again():
    text = 'data: "Señal µ €"\n\n'.encode()

    for place in range(len(text)):
        assert decode(text[:place], text[place:]) == [Event("", '"Señal µ €"')]


def test_what_is_no_utf_8_does_no_harm():
    assert decode(b"data: \xff\xfe1\n\ndata: 2\n\n") == [Event("", "\ufffd\ufffd1"), Event("", "2")]


@pytest.mark.parametrize("comment", [b":\n", b": heart-beat\n\n", b":data: 9\n"])
def test_comments_are_no_events_and_disturb_none(comment):
    assert decode(comment) == []
    assert decode(comment + PLAIN + comment + PLAIN) == decode(PLAIN) * 2


def test_a_comment_inside_an_event_leaves_it_alone():
    assert decode(b"data: 1\n: beat\ndata: 2\n\n") == [Event("", "1\n2")]


def test_data_of_several_lines_is_joined_and_one_blank_is_taken_off():
    assert decode(b"data: {\ndata:  1\ndata:}\ndata\n\n") == [Event("", "{\n 1\n}\n")]


@pytest.mark.parametrize("text", [b"event: x\n\n", b"id: 7\n\n", b"retry: 10\n\n", b"\n\n\n", b"nonsense\n\n"])
def test_an_event_without_data_is_none(text):
    assert decode(text + PLAIN) == decode(PLAIN)


def test_ids_and_other_fields_are_ignored():
    assert decode(b"id: 5\nretry: 1\nfoo: bar\ndata: 1\n\n") == [Event("", "1")]


@pytest.mark.parametrize("text", [b"data: 1", b"data: 1\n", b"event: x\ndata: 1\ndata", b"data: 1\r\n"])
def test_what_the_end_leaves_unfinished_is_not_told(text):
    assert decode(text) == []


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_an_oversize_event_is_dropped_and_the_next_is_read(size):
    large = b"data: " + b"x" * (LARGEST_EVENT + 1) + b"\n\n"
    decoder = EventDecoder()
    text = large + PLAIN
    if size == 1:
        text, decoder = b"data: " + b"x" * 50 + b"\n\n" + PLAIN, EventDecoder(45)
    events = [event for place in range(0, len(text), size) for event in decoder.feed(text[place : place + size])]

    assert events == decode(PLAIN)
    assert decoder.oversize == 1


def test_an_event_of_the_largest_size_is_still_read():
    assert decode(b"data: " + b"x" * 94 + b"\n\n", largest=100) == [Event("", "x" * 94)]
    assert decode(b"data: " + b"x" * 95 + b"\n\n", largest=100) == []


def test_many_lines_make_an_event_oversize_too():
    assert decode(b"data: 12345\n" * 10 + b"\n" + PLAIN, largest=100) == decode(PLAIN)


def test_heart_beats_never_add_up_to_an_oversize_event():
    assert decode(b"data: 1\n" + b": beat\n" * 100 + b"\n", largest=100) == [Event("", "1")]


def test_a_line_without_end_takes_no_memory():
    decoder = EventDecoder(1000)
    for _ in range(5000):
        assert decoder.feed(b"x" * 1000) == []

    assert len(decoder._line) < 1100
    assert decoder._data == []


pieces = st.sampled_from(
    [
        b"data: 1",
        b"data:",
        b"data",
        b"event: x",
        b": c",
        b"id: 1",
        b"\n",
        b"\r",
        b"\r\n",
        b"\xef\xbb\xbf",
        b"\xc3",
        b" ",
    ]
)


@given(parts=st.lists(pieces | st.binary(max_size=4), max_size=30), cuts=st.lists(st.integers(0, 200), max_size=8))
@example(parts=[b"data: 1", b"\r", b"\r\n", b"\n"], cuts=[8, 9])
def test_where_the_bytes_are_cut_changes_nothing(parts, cuts):
    text = b"".join(parts)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    chunks = [text[one:other] for one, other in itertools.pairwise(places)]

    assert decode(*chunks) == decode(text)


@given(
    data=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))), name=st.text("abc/")
)
def test_what_was_written_is_read(data, name):
    text = "".join(f"data: {line}\n" for line in data) + f"event: {name}\n\n"

    assert decode(text.encode()) == ([Event(name, "\n".join(data))] if data else [])
