import pytest

from m3it_jax import licences
from m3it_jax.dataset_building import mini, sources


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
        ("cc-by-sa-4.0", "commercial"),
        ("Creative Commons Attribution 4.0 International", "commercial"),
        ("CC BY 4.0 (annotations; pictures: OpenImages, CC BY 2.0)", "commercial"),
        ("BSD-3-Clause (scikit-learn); data: CC BY 4.0", "commercial"),
        # The strictest part decides.
        ("CC BY 4.0 (annotations; pictures: Flickr terms)", "unknown"),
        ("CC BY 4.0, pictures: Flickr terms", "unknown"),
        ("CC BY 4.0; its pictures are the press's", "unknown"),
        ("MIT (pictures: ask me)", "unknown"),
        ("Apache-2.0; videos belong to their makers", "unknown"),
        ("apache-2.0; images under CC BY-NC", "research"),
        ("CC BY 4.0 (texts; photos for academic use only)", "research"),
        ("MIT and CC BY-NC-SA 4.0", "research"),
        ("cc-by-nc-nd-4.0", "unknown"),
        ("Non-commercial (pictures: Flickr terms)", "unknown"),
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


def test_what_may_be_sold_of_the_40_sources_has_free_pictures_and_texts():
    """Every other one has pictures under the terms of a site or of their owners, or forbids it."""
    found = {name: licences.terms(sources.load(name).licence) for name in sources.NAMES}
    assert {name for name, allows in found.items() if allows == "commercial"} == {"clevr", "text-vqa"}
    assert {name for name, allows in found.items() if allows == "research"} == {"imagenet", "science-qa"}
    assert {found[name] for name in ("vqa-v2", "gqa", "mocheg", "coco", "visual-dialog", "flickr8k-cn")} == {"unknown"}
