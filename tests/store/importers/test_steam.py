import gzip

import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.store.importers import read_steam

DAY = 24 * 3600
REVIEWS = """\
{u'username': u"Chaos's", u'product_id': u'20', u'date': u'1970-01-03', u'page': 1}
{u'username': u"Chaos's", u'product_id': u'10', u'date': u'1970-01-02', u'page': 1}
{u'username': u'v\\xe9', u'product_id': u'10', u'date': u'1970-01-11', u'hours': 0.1}
"""
GAMES = """\
{u'id': u'10', u'app_name': u'Half-Life', u'title': u'HL', u'developer': u'Valve', \
u'genres': [u'Action'], u'tags': [u'FPS', u'Action']}
{u'id': u'20', u'title': u'Portal', u'specs': [u'Single-player']}
"""


def save(folder, reviews=REVIEWS, games=GAMES):
    for name, text in (("reviews", reviews), ("games", games)):
        path = folder / f"steam_{name}.json.gz"
        path.write_bytes(gzip.compress(text.encode()))
    return folder


def rows(data):
    return list(data.interactions.itertuples(index=False, name=None))


def test_reviews_and_games(tmp_path):
    data = read_steam(save(tmp_path), min_events=1)
    assert rows(data) == [
        ("Chaos's", "10", DAY),
        ("Chaos's", "20", 2 * DAY),
        ("vé", "10", 10 * DAY),
    ]
    assert data.items.to_dict("list") == {
        "item": ["10", "20"],
        "text": ["Half-Life Valve Action", "Portal"],
        "attributes": [
            ["genre=Action", "tag=FPS", "tag=Action", "developer=Valve"],
            [],
        ],
    }
    assert data.source["kind"] == "steam"
    assert len(data.source["files"]) == 2


def test_unpacked_files_by_name(tmp_path):
    (tmp_path / "r.json").write_text(REVIEWS)
    (tmp_path / "g.json").write_text(GAMES)
    data = read_steam(tmp_path / "r.json", tmp_path / "g.json", min_events=1)
    assert len(rows(data)) == 3
    with pytest.raises(DataError, match="without one"):
        read_steam(tmp_path / "r.json")


@pytest.mark.parametrize("date", ["'soon'", "None", "'2018-02-30'"])
def test_dates_that_are_none(tmp_path, date):
    bad = f"{{'username': 'v', 'product_id': '20', 'date': {date}}}\n"
    save(tmp_path, REVIEWS + bad)
    with pytest.raises(DataError, match="no number in `date` .line 4: 'v', '20', nan"):
        read_steam(tmp_path, min_events=1)
    data = read_steam(tmp_path, min_events=1, on_bad="drop")
    assert data.dropped["rows_without_order"] == 1


def test_what_the_published_files_hold(tmp_path):
    again = "{'username': 'v\\xe9', 'product_id': '10', 'date': '1970-01-11'}\n"
    unlisted = "{'username': 'w', 'product_id': '99', 'date': '1970-01-11'}\n"
    save(tmp_path, REVIEWS + again + unlisted, GAMES + "{'title': 'no id'}\n")
    with pytest.raises(DataError, match="--on-bad drop"):
        read_steam(tmp_path, min_events=1)
    data = read_steam(tmp_path, min_events=1, on_bad="drop")
    assert data.dropped["duplicate_rows"] == 1
    assert data.dropped["rows_of_unknown_items"] == 1
    assert data.dropped["items_without_id"] == 1
    assert len(rows(data)) == 3


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match=r"\*reviews\*"):
        read_steam(tmp_path)
