import hashlib
import importlib.util

import pytest

from keras_sllmr.errors import ConfigError, DataError, EnvironmentProblem
from keras_sllmr.store.importers import movielens, read_movielens

RATINGS = [
    ("1", "10", "5", "300"),
    ("1", "2", "4", "100"),
    ("1", "3", "3", "200"),
    ("2", "2", "4", "50"),
]
ROWS = [("1", "2", 100), ("1", "10", 300), ("2", "2", 50)]
TOY = "Toy Story (1995) Animation Children's Comedy"
ITEMS = {
    "item": ["10", "2"],
    "text": [TOY, "Misérables, Les (1934) Drama"],
    "attributes": [
        ["genre=Animation", "genre=Children's", "genre=Comedy", "year=1990s"],
        ["genre=Drama", "year=1930s"],
    ],
}


def flags(*genres):
    return "|".join(str(int(genre in genres)) for genre in movielens._GENRES)


def save(folder, edition, ratings=RATINGS):
    folder.mkdir(exist_ok=True)
    if edition == "wheel":
        lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
        lines += ["\t".join(row) for row in ratings]
        movies = [
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq",
            "10\tToy Story\t1995\tAnimation Children's Comedy",
            "2\tMisérables, Les\t1934\tDrama",
            "3\tunkonwn\tunkonwn\tunknown",
        ]
        names, encoding = ("ml-100k.inter", "ml-100k.item"), "utf-8"
    elif edition == "100k":
        lines = ["\t".join(row) for row in ratings]
        movies = [
            "10|Toy Story (1995)|01-Jan-1995||http://x|"
            + flags("Animation", "Children's", "Comedy"),
            "2|Misérables, Les (1934)|01-Jan-1934||http://x|" + flags("Drama"),
            "3|unknown||||" + flags("unknown"),
        ]
        names, encoding = ("u.data", "u.item"), "latin-1"
    elif edition in ("1m", "10m"):
        lines = ["::".join(row) for row in ratings]
        movies = [
            "10::Toy Story (1995)::Animation|Children's|Comedy",
            "2::Misérables, Les (1934)::Drama",
            "3::unknown::(no genres listed)",
        ]
        names = ("ratings.dat", "movies.dat")
        encoding = "latin-1" if edition == "1m" else "utf-8"
    else:
        lines = ["userId,movieId,rating,timestamp"]
        lines += [",".join(row) for row in ratings]
        movies = [
            "movieId,title,genres",
            "10,Toy Story (1995),Animation|Children's|Comedy",
            '2,"Misérables, Les (1934)",Drama',
            "3,unknown,(no genres listed)",
        ]
        names, encoding = ("ratings.csv", "movies.csv"), "utf-8"
    for name, content in zip(names, (lines, movies), strict=True):
        (folder / name).write_text("\n".join(content) + "\n", encoding=encoding)
    return folder


def rows(data):
    return list(data.interactions.itertuples(index=False, name=None))


def histories(data):
    grouped = data.interactions.groupby("user")["item"]
    return {user: items.tolist() for user, items in grouped}


@pytest.mark.parametrize("edition", ["wheel", "100k", "1m", "10m", "20m"])
def test_every_edition(tmp_path, edition):
    data = read_movielens(save(tmp_path, edition), min_events=1)
    assert rows(data) == ROWS
    assert data.items.to_dict("list") == ITEMS
    assert data.notes == {
        "ratings_below_threshold": 1,
        "users_cut_short": 0,
        "items_without_interactions": 1,
        "items_without_text": 0,
    }
    assert set(data.dropped.values()) == {0}
    assert len(data.source["files"]) == 2
    everything = read_movielens(tmp_path, min_events=1, min_rating=None)
    assert len(everything.interactions) == 4
    assert everything.items["text"].tolist()[2] == ""
    assert everything.items["attributes"].tolist()[2] == []
    assert everything.notes["items_without_text"] == 1


USERS = {"1": ("F", "24", "writer"), "2": ("M", "53", ""), "9": ("M", "1", "none")}


def save_users(folder, edition):
    name, separator, by_age = {
        "wheel": ("ml-100k.user", "\t", True),
        "100k": ("u.user", "|", True),
        "1m": ("users.dat", "::", False),
    }[edition]
    lines = ["user_id:token\tage:token\tgender:token\toccupation:token\tzip:token"]
    lines = lines if edition == "wheel" else []
    for user, (gender, age, work) in USERS.items():
        first = (age, gender) if by_age else (gender, age)
        lines.append(separator.join([user, *first, work, "00000"]))
    (folder / name).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("edition", ["wheel", "100k", "1m"])
def test_columns_of_users_when_asked_for(tmp_path, edition):
    folder = save(tmp_path, edition)
    plain = read_movielens(folder, min_events=1)
    assert plain.users is None and plain.columns == ()
    save_users(folder, edition)
    data = read_movielens(folder, min_events=1, columns=True)
    assert data.users.to_dict("list") == {
        "user": ["1", "2"],
        "gender": ["F", "M"],
        "age": [24, 53],
        "occupation": ["writer", ""],
    }
    assert [(c.name, c.entity, c.kind) for c in data.columns] == [
        ("gender", "user", "categorical"),
        ("age", "user", "numeric"),
        ("occupation", "user", "categorical"),
    ]
    assert rows(data) == rows(plain) and data.items.equals(plain.items)
    assert len(data.source["files"]) == 3
    assert data.source["options"]["columns"] is True
    assert "columns" not in plain.source["options"]


@pytest.mark.parametrize("edition", ["10m", "20m"])
def test_editions_without_users(tmp_path, edition):
    folder = save(tmp_path, edition)
    with pytest.raises(ConfigError, match="edition with a file of users.*columns=True"):
        read_movielens(folder, min_events=1, columns=True)


def test_unseen_movies_stay_when_asked_for(tmp_path):
    folder = save(tmp_path, "20m")
    data = read_movielens(folder, min_events=1, keep_unseen_items=True)
    assert data.items["item"].tolist() == ["10", "2", "3"]


def many(users=200, events=6):
    return [
        (f"{user}", f"{item}", "5", f"{events - n}")
        for user in range(users)
        for n, item in enumerate([10, 2, 3, 4, 5, 6][:events])
    ]


def save_many(folder, ratings):
    save(folder, "20m", ratings)
    with (folder / "movies.csv").open("a") as file:
        file.write("4,Four (2001),War\n5,Five,War\n6,Six,War\n")
    return folder


def test_cut_users_keep_their_first_events(tmp_path):
    folder = save_many(tmp_path, many())
    options = {"cut_users": 0.3, "cut_to": 2, "min_events": 2, "seed": 7}
    data = read_movielens(folder, **options)

    def drawn(user):
        digest = hashlib.sha256(f"7:{user}".encode()).hexdigest()
        return int(digest[:16], 16) / 2**64 < 0.3

    cut = {str(user) for user in range(200) if drawn(user)}
    assert 40 < len(cut) < 80
    for user, items in histories(data).items():
        whole = ["6", "5", "4", "3", "2", "10"]
        assert items == (whole[:2] if user in cut else whole)
    assert data.notes["users_cut_short"] == len(cut)
    assert {name: data.source["options"][name] for name in options} == options

    folder = save_many(tmp_path, many()[::-1])
    assert rows(read_movielens(folder, **options)) == rows(data)
    other = read_movielens(folder, **{**options, "seed": 8})
    assert rows(other) != rows(data)


def test_only_users_with_longer_histories_are_cut(tmp_path):
    folder = save_many(tmp_path, many(users=20, events=5))
    data = read_movielens(folder, cut_users=1.0)
    assert data.notes["users_cut_short"] == 0
    assert len(data.interactions) == 100


def test_movies_that_only_cut_events_held_are_unseen(tmp_path):
    folder = save_many(tmp_path, many(users=3))
    data = read_movielens(folder, cut_users=1.0)
    assert data.notes["users_cut_short"] == 3
    assert data.items["item"].tolist() == ["2", "3", "4", "5", "6"]
    assert data.notes["items_without_interactions"] == 1


def test_options_are_checked(tmp_path):
    with pytest.raises(ConfigError, match="Received: cut_users=1.5"):
        read_movielens(tmp_path, cut_users=1.5)
    with pytest.raises(ConfigError, match="Received: cut_to=3, min_events=5"):
        read_movielens(tmp_path, cut_users=0.5, cut_to=3)


def test_a_rating_that_is_no_number(tmp_path):
    folder = save(tmp_path, "1m", [*RATINGS, ("2", "10", "good", "60")])
    with pytest.raises(DataError, match="Received: 'good' in line 5"):
        read_movielens(folder, min_events=1)
    data = read_movielens(folder, min_events=1, on_bad="drop")
    assert data.dropped["malformed_lines"] == 1


def test_bad_rows_are_counted_once_though_cleaned_twice(tmp_path):
    bad = [
        RATINGS[0],
        ("2", "10", "5", ""),
        ("2", "99", "5", "1"),
        ("2", "2", "5", "9"),
    ]
    folder = save(tmp_path, "20m", [*RATINGS, *bad])
    data = read_movielens(folder, min_events=1, on_bad="drop", cut_users=0.5, cut_to=1)
    assert data.dropped["duplicate_rows"] == 1
    assert data.dropped["rows_without_order"] == 1
    assert data.dropped["rows_of_unknown_items"] == 1
    assert data.dropped["repeated_items"] == 1


def test_a_missing_header_is_not_taken_for_one(tmp_path):
    folder = save(tmp_path, "20m")
    path = folder / "ratings.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(DataError, match="must be its header, userId"):
        read_movielens(folder, min_events=1)


def test_folders_without_movielens(tmp_path):
    with pytest.raises(DataError, match="`u.data` and `u.item`.*holds"):
        read_movielens(tmp_path)
    with pytest.raises(DataError, match="which is no folder"):
        read_movielens(tmp_path / "none")
    (save(tmp_path, "100k") / "u.item").unlink()
    with pytest.raises(DataError, match=r"u\.item \(No such file"):
        read_movielens(tmp_path)


def test_a_missing_wheel_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="requirements/embedded.txt"):
        read_movielens()


def test_the_wheel():
    if importlib.util.find_spec("recbole") is None:
        pytest.skip("the recbole wheel, which holds MovieLens-100K, is not installed")
    data = read_movielens(cut_users=0.3)
    lengths = data.interactions["user"].value_counts()
    assert len(lengths) == 938
    assert data.notes["ratings_below_threshold"] == 44_625
    assert data.dropped["users_with_too_few_events"] == 4
    assert 230 < data.notes["users_cut_short"] < 330
    assert (lengths == 5).sum() >= data.notes["users_cut_short"]
    texts = dict(zip(data.items["item"], data.items["text"], strict=True))
    assert texts["1"] == TOY
    whole = read_movielens(min_rating=None)
    assert len(whole.interactions) == 100_000
    assert len(whole.items) == 1_682
