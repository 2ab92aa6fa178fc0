import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.store.ranges import IdRanges, sampled, spans

NAMES = st.lists(st.text(max_size=4), max_size=40)


@given(NAMES, NAMES, st.integers(1, 6))
def test_ranges_in_order_hold_ids_in_order(sample, ids, parts):
    ranges = IdRanges.balanced(sorted(set(sample)), parts)
    assert len(ranges) <= parts
    keys = [ranges.of(name) for name in sorted(ids)]
    assert keys == sorted(keys) and all(0 <= key < len(ranges) for key in keys)


def test_balanced():
    names = [f"{n:03d}" for n in range(100)]
    ranges = IdRanges.balanced(names, 4)
    assert ranges.starts == ("025", "050", "075")
    assert [ranges.of(name) for name in ("", "024", "025", "099", "1")] == [
        0,
        0,
        1,
        3,
        3,
    ]
    assert IdRanges.balanced(["a"], 5).starts == ()
    assert IdRanges.balanced([], 5).starts == ()


@given(NAMES, NAMES, st.integers(1, 8))
def test_samples_of_parts_are_the_sample_of_the_whole(one, two, most):
    parts = [*sampled(one, most=most), *sampled(two, most=most)]
    assert sampled(parts, most=most) == sampled([*one, *two], most=most)


@given(st.lists(st.integers(0, 5), max_size=6), st.data())
def test_spans(counts, data):
    total = sum(counts)
    start = data.draw(st.integers(0, total))
    stop = data.draw(st.integers(start, total))
    rows = [(part, row) for part, count in enumerate(counts) for row in range(count)]
    found = [
        (part, row)
        for part, first, last in spans(counts, start, stop)
        for row in range(first, last)
    ]
    assert found == rows[start:stop]


@pytest.mark.parametrize("counts", [[], [0, 0]])
def test_spans_of_nothing(counts):
    assert spans(counts, 0, 0) == []
