"""A small part of the campaign; MPRD_PYG_CAMPAIGN_MINUTES makes it larger."""
import os

import pytest

from tests.faults import campaign

MINUTES = float(os.environ.get("MPRD_PYG_CAMPAIGN_MINUTES", 0))


def test_damaged_files_are_refused_or_read_as_they_were():
    table, failures = campaign.campaign(MINUTES or 5, seed=1000, kinds=list(campaign.FORMATS),
                                        each=40 if MINUTES else 4, rounds=None if MINUTES else 1)
    assert not failures and table.loc["all", "inputs"] >= 4 * len(campaign.FORMATS)


def test_a_killed_run_and_a_full_disk_end_as_if_undisturbed():
    _, failures = campaign.campaign(MINUTES or 5, seed=1000, kinds=["kills", "full disk"],
                                    rounds=None if MINUTES else 1)
    assert not failures


def test_what_a_campaign_counts_is_what_happened(monkeypatch, tmp_path):
    """Readers that fail in each way are counted as that."""
    def write(folder):
        (folder / "x").write_bytes(b"abc")
        return folder / "x"

    def outcomes(read, verified=False):
        monkeypatch.setitem(campaign.FORMATS, "x", campaign.Format(write, read, verified))
        return {outcome.split(" ")[0] for outcome, where in campaign.damage("x", 3, 5)}
    monkeypatch.setattr(campaign, "SECONDS", 0.3)
    def only_if_damaged(act):
        return lambda path: b"abc" if path.read_bytes() == b"abc" else act(path)

    def clear(path):
        raise ValueError("x is damaged")
    assert outcomes(only_if_damaged(clear)) <= {"clear", "unharmed"}
    assert "tracebacks" in outcomes(only_if_damaged(lambda path: {}["x"]))
    assert "hangs" in outcomes(only_if_damaged(lambda path: campaign.time.sleep(9)))
    assert "crashes" in outcomes(only_if_damaged(lambda path: os.kill(os.getpid(), 9)))
    assert "executed" in outcomes(only_if_damaged(lambda path: path.with_name("executed").write_text("")))
    assert "silently" in outcomes(lambda path: path.read_bytes(), verified=True)
    with pytest.raises(KeyError):
        campaign.campaign(0.01, 0, ["no such format"])
