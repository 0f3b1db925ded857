"""Under replicas a picture's negatives are the other pictures of its replica."""

from pathlib import Path

HERE = Path(__file__).parent


def test_each_replica_compares_its_own_pictures(last_json):
    apart = last_json(HERE / "two_replicas_contrastive.py")
    assert apart["halves"] < 1e-6 and apart["whole"] > 1e-4, apart
