"""A small part of the campaign; MPRD_PYG_CAMPAIGN_MINUTES makes it larger."""
import os
import time

import pytest

from tests.faults import campaign
from tests.faults import outcomes as outcomes_of
from tests.faults.formats import Format

MINUTES = float(os.environ.get("MPRD_PYG_CAMPAIGN_MINUTES", 0))
SLOW = ("network", "weights", "configuration", "cuhk", "graph mat")  # 0.05 to 0.4 s for each input
QUICK = [kind for kind in campaign.FORMATS if not kind.startswith(SLOW)]


@pytest.mark.parametrize(("kinds", "each"), [(QUICK, 6), ([*set(campaign.FORMATS) - set(QUICK)], 2)])
def test_damaged_and_forged_files_are_refused_or_read_as_they_were(kinds, each):
    table, failures = campaign.campaign(MINUTES or 20, seed=1000, kinds=sorted(kinds), each=40 if MINUTES else each,
                                        rounds=None if MINUTES else 1)
    assert not failures and table.loc["all", "inputs"] >= len(kinds)


def test_commands_that_are_disturbed_end_as_if_undisturbed():
    kinds = list(campaign.RUNS) if MINUTES else ["kills: mprd", "kills: extract", "full disk: mprd",
                                                 "two at once: mprd", "damaged run folders"]
    _, failures = campaign.campaign(MINUTES or 20, seed=1000, kinds=kinds, rounds=None if MINUTES else 1)
    assert not failures


def test_what_a_campaign_counts_is_what_happened(monkeypatch, tmp_path):
    """Readers that fail in each way are counted as that."""
    def write(folder):
        (folder / "x").write_bytes(b"abc")
        return folder / "x"

    def outcomes(read, verified=False):
        monkeypatch.setitem(campaign.FORMATS, "x", Format(write, read, verified))
        return {outcome.split(" ")[0] for outcome, where in campaign.damage("x", 3, 5)}
    monkeypatch.setattr(outcomes_of, "SECONDS", 0.3)

    def only_if_damaged(act):
        return lambda path: b"abc" if path.read_bytes() == b"abc" else act(path)

    def clear(path):
        raise ValueError("x is damaged")
    assert outcomes(only_if_damaged(clear)) <= {"clear", "unharmed"}
    assert "tracebacks" in outcomes(only_if_damaged(lambda path: {}["x"]))
    assert "hangs" in outcomes(only_if_damaged(lambda path: time.sleep(9)))
    assert "crashes" in outcomes(only_if_damaged(lambda path: os.kill(os.getpid(), 9)))
    assert "executed" in outcomes(only_if_damaged(lambda path: path.with_name("executed").write_text("")))
    assert "silently" in outcomes(lambda path: path.read_bytes(), verified=True)
    with pytest.raises(KeyError):
        campaign.campaign(0.01, 0, ["no such format"])
