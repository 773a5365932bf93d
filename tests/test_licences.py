import pytest

from m3it_jax import licences
from m3it_jax.dataset_building import mini


@pytest.mark.parametrize(
    ("licence", "terms"),
    [
        ("CC BY 4.0", "commercial"),
        ("CC-BY 4.0", "commercial"),
        ("CC BY 3.0", "commercial"),
        ("CC BY-NC-SA", "research"),
        ("Non-commercial", "research"),
        ("Custom", "unknown"),
        ("Custom (pictures: Flickr terms; annotations: CC BY 4.0)", "unknown"),
        ("Unknown", "unknown"),
        ("", "unknown"),
        ("CC BY-ND 4.0", "unknown"),
        ("ask me", "unknown"),
        ("MIT", "commercial"),
    ],
)
def test_each_licence_of_the_paper_has_its_terms(licence, terms):
    assert licences.terms(licence) == terms


def test_research_takes_commercial_in_and_unknown_only_by_name():
    assert licences.allowed("MIT", ["research"]) and licences.allowed("Non-commercial", ["research"])
    assert not licences.allowed("Non-commercial", ["commercial"])
    assert not licences.allowed("Unknown", ["research"]) and not licences.allowed("Unknown", ["commercial"])
    assert licences.allowed("Unknown", ["research", "unknown"])
    assert licences.allowed("Unknown", [])


def test_every_source_of_the_small_edition_may_be_used_for_anything():
    assert {licences.terms(spec.licence) for spec in mini.EDITIONS["full"]} == {"commercial"}
