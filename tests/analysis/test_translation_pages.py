from m3it_jax.analysis import translation_pages

SEEN = {
    "records": {"own-ar": 2},
    "quarantined": {"copied": 1},
    "marks": {"kept": 2},
    "identified": {"right": 2},
    "scores": {"script": 0.5, "weight": 0.75},
    "weights": [0] * 9 + [2],
    "source_weights": {"own-ar": 1.5},
    "examples": [{"old": "<b>a</b>", "new": "ما هذا؟", "weight": "0.75"}],
    "quarantined_examples": [{"place": "7", "reason": "copied", "text": "<script>"}],
}


def test_each_language_has_a_page_written_in_its_direction(tmp_path):
    translation_pages.write(tmp_path / "new", {"ar": SEEN, "de": {**SEEN, "scores": {}, "examples": []}})
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"index.html", "ar.html", "de.html"}
    page = (tmp_path / "new/ar.html").read_text(encoding="utf-8")
    assert '<td class="text" lang="ar" dir="rtl">ما هذا؟</td>' in page
    assert "&lt;b&gt;a&lt;/b&gt;" in page and "<script>" not in page and "&lt;script&gt;" in page
    index = (tmp_path / "new/index.html").read_text(encoding="utf-8")
    assert '<a href="ar.html">Modern Standard Arabic</a>' in index and "0.75" in index
