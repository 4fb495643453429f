"""How many images, identities and cameras a scanned table holds, against what its card promises."""
import json
import logging
from pathlib import Path

from mprd_pyg.data.cards.schema import SPLITS, Counts
from mprd_pyg.data.table import ImageTable

logger = logging.getLogger(__name__)

FIGURES = ("images", "identities", "cameras", "junk", "distractors")


def expected_counts(card, root: str | None) -> dict[str, Counts]:
    """The counts the card promises per split; for a card with a ``counts_file``, also those in that file.

    The file holds ``{"counts": {split: images or {"images": ..., "identities": ..., "cameras": ...}}}``;
    whatever else stands there is passed over.
    """
    counts = dict(card.counts)
    if card.counts_file and root and (Path(root) / card.counts_file).is_file():
        try:
            found = json.loads((Path(root) / card.counts_file).read_text(encoding="utf-8"))["counts"].items()
        except (ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s: %s holds no readable counts", card.name, Path(root) / card.counts_file)
            found = ()
        for split, values in found:
            values = values if isinstance(values, dict) else {"images": values}
            known = {key: value for key, value in values.items()
                     if key in Counts.__dataclass_fields__ and type(value) is int}
            counts.setdefault(split, Counts(**known))
    if card.swap:
        exchange = {"train": "query", "query": "train"}
        counts = {exchange.get(split, split): count for split, count in counts.items()}
    return counts


def compare_counts(card, frame: ImageTable) -> dict[str, dict[str, tuple[int, int | None]]]:
    """Per split that is there or promised: figure -> (found, promised or None); see :data:`FIGURES`."""
    promised, junk, table = expected_counts(card, frame.attrs.get("root")), frame.attrs.get("junk", {}), {}
    for split in dict.fromkeys((*SPLITS, *promised)):
        rows = frame[frame["split"] == split]
        if not len(rows) and split not in promised and split not in junk:
            continue
        nobody = rows["person_id"].isin(card.distractor_ids)
        found = (len(rows), rows["person_id"][(rows["person_id"] >= 0) & ~nobody].nunique(),
                 rows["camera_id"].nunique(), junk.get(split, 0), int(nobody.sum()))
        table[split] = {figure: (number, getattr(promised.get(split), figure, None))
                        for figure, number in zip(FIGURES, found, strict=True)}
    return table


def deviations(card, frame: ImageTable) -> list[str]:
    """What differs between the table and the card's counts, one sentence per figure."""
    return [f"split {split!r}: {found:,} {figure} found, {promised:,} expected "
            f"({abs(found - promised):,} {'more' if found > promised else 'fewer'})"
            for split, row in compare_counts(card, frame).items()
            for figure, (found, promised) in row.items() if promised not in (None, found)]


def shared_identities(card, frame: ImageTable) -> list[str]:
    """A sentence if identities occur both in the training split and among query and gallery."""
    known = frame[(frame["person_id"] >= 0) & ~frame["person_id"].isin(card.distractor_ids)]
    train = known["split"] == "train"
    shared = sorted(set(known["person_id"][train]) & set(known["person_id"][~train]))
    if not shared:
        return []
    return [f"{len(shared)} identities are both in train and in query or gallery, first: "
            f"{', '.join(map(str, shared[:5]))}; figures on them do not measure new people"]
