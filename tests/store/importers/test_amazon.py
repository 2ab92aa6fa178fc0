import gzip
import json

import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.store.importers import read_amazon


def review_2014(user, item, time, stars=5.0):
    return {
        "reviewerID": user,
        "asin": item,
        "unixReviewTime": time,
        "overall": stars,
        "reviewText": "It's fine",
    }


def review_2023(user, item, time, stars=5.0):
    return {
        "user_id": user,
        "asin": f"{item}-red",
        "parent_asin": item,
        "timestamp": time,
        "rating": stars,
    }


REVIEWS = [("u", "B2", 20), ("u", "B1", 10), ("v", "B1", 30)]
ROWS = [("u", "B1", 10), ("u", "B2", 20), ("v", "B1", 30)]
META_2014 = [
    {
        "asin": "B1",
        "title": "Nail &amp; Skin",
        "brand": "It's",
        "categories": [["Beauty", "Nails"], ["Beauty", "Skin"]],
        "description": 'a "quoted" one',
    },
    {"asin": "B2", "title": "OPI gel", "brand": "OPI", "categories": [["Beauty"]]},
    {"asin": "B3", "title": "never reviewed"},
]


def write(path, records, dump):
    text = "".join(dump(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def save_2014(folder, reviews=None, meta=META_2014):
    made = [review_2014(*review) for review in REVIEWS] if reviews is None else reviews
    write(folder / "reviews_Beauty_5.json.gz", made, json.dumps)
    write(folder / "meta_Beauty.json.gz", meta, repr)
    return folder


def rows(data):
    return list(data.interactions.itertuples(index=False, name=None))


def test_edition_of_2014(tmp_path):
    calls = []
    data = read_amazon(
        save_2014(tmp_path), min_events=1, progress=lambda *c: calls.append(c)
    )
    assert rows(data) == ROWS
    assert data.items.to_dict("list") == {
        "item": ["B1", "B2"],
        "text": ["Nail & Skin It's", "OPI gel"],
        "attributes": [
            ["category=Beauty", "category=Nails", "category=Skin", "brand=It's"],
            ["category=Beauty", "brand=OPI"],
        ],
    }
    assert data.source["kind"] == "amazon"
    assert [file["name"] for file in data.source["files"]] == [
        "reviews_Beauty_5.json.gz",
        "meta_Beauty.json.gz",
    ]
    assert data.notes["items_without_interactions"] == 1
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert calls[-1] == (size, size)


def test_edition_of_2018(tmp_path):
    reviews = write(
        tmp_path / "Beauty_5.json", [review_2014(*r) for r in REVIEWS], json.dumps
    )
    meta = [
        {"asin": "B1", "title": "Gel", "category": ["Beauty", "Nails"], "brand": "OPI"},
        {"asin": "B2", "title": "", "category": [], "brand": ""},
    ]
    write(tmp_path / "meta_Beauty.json", meta, json.dumps)
    data = read_amazon(reviews, tmp_path / "meta_Beauty.json", min_events=1)
    assert rows(data) == ROWS
    assert data.items["text"].tolist() == ["Gel OPI", ""]
    assert data.items["attributes"].tolist() == [
        ["category=Beauty", "category=Nails", "brand=OPI"],
        [],
    ]
    assert data.notes["items_without_text"] == 1


def test_edition_of_2023_keeps_milliseconds(tmp_path):
    times = {10: 1_588_687_728_923, 20: 1_588_687_728_924, 30: 5}
    reviews = [review_2023(user, item, times[time]) for user, item, time in REVIEWS]
    write(tmp_path / "All_Beauty.jsonl", reviews, json.dumps)
    meta = [
        {"parent_asin": "B1", "title": "Gel", "store": "OPI", "categories": ["Nails"]},
        {"parent_asin": "B2", "title": None, "store": None, "categories": []},
    ]
    write(tmp_path / "meta_All_Beauty.jsonl", meta, json.dumps)
    data = read_amazon(tmp_path, min_events=1)
    assert rows(data) == [
        ("u", "B1", 1_588_687_728_923),
        ("u", "B2", 1_588_687_728_924),
        ("v", "B1", 5),
    ]
    assert data.items["text"].tolist() == ["Gel OPI", ""]
    assert data.items["attributes"].tolist() == [["category=Nails", "brand=OPI"], []]


def test_min_rating(tmp_path):
    reviews = [
        review_2014(*r, stars) for r, stars in zip(REVIEWS, (3.0, 4.0, 5), strict=True)
    ]
    save_2014(tmp_path, reviews)
    data = read_amazon(tmp_path, min_events=1, min_rating=4.0)
    assert rows(data) == [("u", "B1", 10), ("v", "B1", 30)]
    assert data.notes["ratings_below_threshold"] == 1
    assert data.source["options"]["min_rating"] == 4.0
    assert read_amazon(tmp_path, min_events=1).notes["ratings_below_threshold"] == 0


def test_a_missing_rating_only_matters_with_a_threshold(tmp_path):
    reviews = [review_2014(*r) for r in REVIEWS]
    reviews[1]["overall"] = None
    save_2014(tmp_path, reviews)
    assert len(rows(read_amazon(tmp_path, min_events=1))) == 3
    with pytest.raises(DataError, match="a number `overall`. Received: None in line 2"):
        read_amazon(tmp_path, min_events=1, min_rating=4)
    data = read_amazon(tmp_path, min_events=1, min_rating=4, on_bad="drop")
    assert data.dropped["malformed_lines"] == 1


def test_rows_that_break_a_rule_name_key_and_line(tmp_path):
    reviews = [review_2014(*r) for r in REVIEWS]
    del reviews[2]["unixReviewTime"]
    save_2014(tmp_path, reviews)
    with pytest.raises(DataError, match="in `unixReviewTime` .line 3: 'v', 'B1', nan"):
        read_amazon(tmp_path, min_events=1)


def test_repeated_products_and_unlisted_ones(tmp_path):
    reviews = [review_2014(*r) for r in [*REVIEWS, ("v", "B9", 40)]]
    save_2014(tmp_path, reviews, [*META_2014, META_2014[0]])
    with pytest.raises(DataError, match="`asin` may come once"):
        read_amazon(tmp_path, min_events=1)
    data = read_amazon(tmp_path, min_events=1, on_bad="drop")
    assert rows(data) == ROWS
    assert data.dropped["duplicate_items"] == 1
    assert data.dropped["rows_of_unknown_items"] == 1


def test_malformed_lines(tmp_path):
    save_2014(tmp_path)
    with gzip.open(tmp_path / "meta_Beauty.json.gz", "ab") as file:
        file.write(b"{'asin': 'B4', 'title': \n{'asin': 'B\xff'}\n")
    with pytest.raises(DataError, match="in line 4"):
        read_amazon(tmp_path, min_events=1)
    data = read_amazon(tmp_path, min_events=1, on_bad="drop")
    assert data.dropped["malformed_lines"] == 1
    assert data.dropped["undecodable_lines"] == 1


def test_files_of_another_kind(tmp_path):
    save_2014(tmp_path)
    meta = tmp_path / "meta_Beauty.json.gz"
    with pytest.raises(DataError, match="Reviews need the keys.*'asin', 'brand'"):
        read_amazon(meta, meta)
    with pytest.raises(DataError, match="without a meta file"):
        read_amazon(tmp_path / "reviews_Beauty_5.json.gz")
    nothing = write(tmp_path / "blank.json", [], json.dumps)
    nothing.write_text("\n\n")
    with pytest.raises(DataError, match="not one that can be read"):
        read_amazon(nothing, meta)
    with pytest.raises(DataError, match="must hold one file"):
        read_amazon(tmp_path)


def test_truncated_download(tmp_path):
    reviews = save_2014(tmp_path) / "reviews_Beauty_5.json.gz"
    reviews.write_bytes(reviews.read_bytes()[:-12])
    with pytest.raises(DataError, match="Download it again"):
        read_amazon(tmp_path, min_events=1, on_bad="drop")
