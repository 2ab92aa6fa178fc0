import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.evaluation.report.wording import (
    printable,
    seconds,
    signed,
    slice_title,
)


@given(st.floats(-2, 2))
def test_signed_is_the_rounded_value(value):
    text = signed(value)
    assert text[0] in "+-" and len(text.split(".")[1]) == 4
    assert abs(float(text) - value) <= 0.5001e-4
    assert text != "-.0000"


def test_printable_drops_what_drives_terminals():
    assert printable("a\x1b[31mb\nc\u202e") == "a [31mb c "
    assert slice_title("new\x07slice") == "new slice"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (59.96, "1 min 00 s"), (3599.6, "1 h 00 min")],
)
def test_seconds_carry_over(value, text):
    assert seconds(value) == text
