"""A bad card says which key is wrong and what was meant; any good one survives the way through YAML."""
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mprd_pyg.data import CardError, Counts, DataCard, Evaluation, Repeats, Split


def test_unknown_card_name_lists_the_known_and_the_nearest(tmp_path):
    with pytest.raises(CardError, match="'market1051'; did you mean 'market1501'.*con_reid, cuhk01, "):
        DataCard.load("market1051")
    with pytest.raises(FileNotFoundError, match="no card file .*mine.yaml"):
        DataCard.load(str(tmp_path / "mine.yaml"))


CARD = "name: x\npattern: a\nsplits: {train: {}}\n"


@pytest.mark.parametrize("text, message", [
    ("name: x\npatern: a", "unknown key 'patern'; did you mean 'pattern'"),
    ("name: x\nsplits: {train: {}}", "the key 'pattern' is missing"),
    ("name: x\npattern: a\nsplits: {train: {foldr: a}}", "unknown key 'foldr'; did you mean 'folder'"),
    ("name: x\npattern: a\nsplits: {trian: {}}", "unknown split 'trian'; did you mean 'train'"),
    ("name: x\npattern: a\nsplits: {}", "at least one of train, query, gallery"),
    ("name: x\npattern: a\nsplits: {train: {folder: ../b}}", "'../b' must lie below the root"),
    ("name: x\npattern: a\nsplits: {train: {folder: []}}", "at least one folder"),
    (CARD + "layout: foldrs", "unknown layout 'foldrs'; did you mean 'folders'"),
    (CARD + "layout: repeatd", "unknown layout 'repeatd'; did you mean 'repeated'"),
    (CARD + "layout: repeated", "layout 'repeated': all"),
    ("name: x\npattern: a\nlayout: repeated\nsplits: {all: {}}", "'repeated' and the key 'repeats' need each other"),
    (CARD + "repeats: {count: 3}", "'repeated' and the key 'repeats' need each other; the layout is 'folders'"),
    (CARD + "repeats: {count: 0}", "count=0, train_fraction=0.5: expected at least 1"),
    (CARD + "repeats: {train_fraction: 1}", "train_fraction=1.0: expected"),
    (CARD + "repeats: {file: /etc/splits.json}", "must lie below the root"),
    (CARD + "split: 1", "split 1: the card 'x' has one fixed split"),
    (CARD + "archives: [../a.zip]", "'../a.zip' must lie below the root"),
    (CARD + "evaluation: {draws: 0}", "draws=0: expected at least 1"),
    (CARD + "evaluation: {ignore: itselv}", "ignore: 'itselv'; did you mean 'itself'"),
    (CARD + "evaluation: {ignore: itself, single_shot: true}", "single_shot .* does not go with ignore: itself"),
    (CARD + "layout: table", "the layout 'table' needs the key 'table'"),
    (CARD + "camera_names: {a: one}", "camera_names.*expected a whole number"),
    (CARD + "reference: {MPRD: {map: 3}}", "reference: MPRD: map: 3.0: expected mAP, rank1"),
    (CARD + "reference: {MPRD: {mAP: 151}}", "reference: MPRD: mAP: 151.0: expected .* in percent"),
    (CARD + "base: nothing", "base: no shipped card is called 'nothing'"),
    (CARD + "layout: listfile", "split 'train'.*needs the key 'lists'"),
    (CARD + "layout: by_identity", "unknown split 'train'"),
    (CARD + "swap: true", "swap needs the layout 'by_identity'"),
    (CARD + "swap: sometimes", "key 'swap': expected true or false, found 'sometimes'"),
    ("name: 12\npattern: a\nsplits: {train: {}}", "key 'name': expected text"),
    (CARD + "junk_ids: [true]", "key 'junk_ids': expected a whole number"),
    (CARD + "counts: {train: {images: many}}", "'images': expected a whole number"),
    (CARD + "counts: {tset: {images: 1}}", "counts: unknown split 'tset'"),
    (CARD + "evaluation: market", "expected keys and values, found 'market'"),
    ("name: x\npattern: '(?P<person>'\nsplits: {train: {}}", "not a regular expression"),
    ("- name: x", "expected keys and values"),
    ("", "expected keys and values"),
    ("name: [x", "not valid YAML"),
])
def test_bad_cards_say_what_is_wrong(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(CardError, match=f"(?s)mine.yaml.*{message}"):
        DataCard.from_yaml(tmp_path / "mine.yaml")


def test_replace_is_checked_like_a_new_card():
    card = DataCard.load("folder")
    assert card.replace(pattern="a").pattern == "a" and card.pattern != "a"
    assert card.replace(evaluation={"protocol": "p"}).evaluation == Evaluation("p")
    with pytest.raises(CardError, match="unknown key 'patern'; did you mean 'pattern'"):
        card.replace(patern="a")
    with pytest.raises(CardError, match="not a regular expression"):
        card.replace(pattern="(")
    with pytest.raises(AttributeError):
        card.pattern = "a"


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(string.ascii_letters + "é ", min_size=1, max_size=8)
numbers = st.integers(-10**6, 10**6)
patterns = st.sampled_from([r"(?P<person>\d+)/.*", r"'(?P<camera>\w)' #: \\", "", "é{2}"])
some_names = st.lists(names, min_size=1, max_size=2).map(tuple)
some_numbers = st.lists(numbers, max_size=2).map(tuple)
figures = st.dictionaries(st.sampled_from(["mAP", "rank1", "rank5", "rank10"]), st.floats(0, 100), max_size=2)
splits = st.builds(Split, folder=some_names, pattern=st.none() | patterns, lists=some_names,
                   optional=st.booleans(), person_offset=numbers)
by_split = st.sampled_from(["train", "query", "gallery"])
counts = st.builds(Counts, *[st.none() | numbers] * 4)
repeats = st.builds(Repeats, st.integers(1, 20), st.floats(0.01, 0.99), numbers, st.none() | names)
shape = st.one_of(
    st.fixed_dictionaries({"layout": st.sampled_from(["folders", "listfile"]),
                           "splits": st.dictionaries(by_split, splits, min_size=1)}),
    st.fixed_dictionaries({"layout": st.just("repeated"), "splits": st.fixed_dictionaries({"all": splits}),
                           "repeats": repeats, "split": st.just(0)}))
cards = shape.flatmap(lambda shape: st.builds(
    DataCard, name=words, pattern=patterns, **{key: st.just(value) for key, value in shape.items()},
    title=words, root_hint=words, junk_ids=some_numbers, distractor_ids=some_numbers,
    camera_offset=numbers, camera_names=st.dictionaries(words, numbers, max_size=2),
    gallery_includes_query=st.booleans(), counts=st.dictionaries(by_split, counts),
    counts_file=st.none() | words, archives=st.lists(names, max_size=2).map(tuple),
    evaluation=st.builds(Evaluation, words, st.booleans(), st.booleans(), st.integers(1, 9), numbers, some_numbers),
    obtaining=words, terms=words,
    traps=st.lists(words, max_size=2).map(tuple), citation=words,
    reference=st.dictionaries(words, figures, max_size=2)))


@settings(deadline=None, max_examples=60)
@given(cards)
@example(DataCard(name="x", pattern="", splits={"train": {}}, citation="\x85 é"))
def test_a_card_round_trips_through_yaml(card):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.yaml"
        assert card.to_yaml(path) == path.read_text(encoding="utf-8")
        assert DataCard.from_yaml(path) == card


def test_shipped_cards_round_trip(tmp_path):
    for name in DataCard.names():
        DataCard.load(name).to_yaml(tmp_path / "card.yaml")
        assert DataCard.from_yaml(tmp_path / "card.yaml") == DataCard.load(name)
