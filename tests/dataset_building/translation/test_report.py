import pytest

from m3it_jax.dataset_building.translation import report

SEEN = {
    "de": {"source_weights": {"okvqa-de": 60.0, "vist-de": 20.0}},
    "wo": {"source_weights": {"okvqa-wo": 20.0}},
    "my": {"source_weights": {"okvqa-my": 0.0}},
}


def test_a_source_counts_by_the_weights_of_its_records():
    assert report.mixture(SEEN, 1.0) == {"okvqa-de": 0.6, "vist-de": 0.2, "okvqa-wo": 0.2}


def test_a_temperature_evens_out_the_languages_and_not_the_sources_in_them():
    found = report.mixture(SEEN, 2.0)
    assert found["okvqa-wo"] == pytest.approx(1 / 3, abs=1e-5) and found["okvqa-de"] == pytest.approx(0.5, abs=1e-5)
    even = report.mixture(SEEN, 1e9)
    assert even["okvqa-wo"] == pytest.approx(0.5, abs=1e-5) and even["okvqa-de"] / even["vist-de"] == pytest.approx(3)
    assert report.mixture({}, 1.0) == {}
