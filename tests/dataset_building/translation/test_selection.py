import json

import pytest
from nllb_model import TEXTS
from toy_translator import Toy, backwards

from m3it_jax import errors, languages, metrics, tokenizer
from m3it_jax.dataset_building.translation import engines, selection
from m3it_jax.dataset_building.translation.store import Store

sacrebleu = pytest.importorskip("sacrebleu", reason="sacreBLEU is not installed (extra translate)")

SOURCE = ["A man stands in front of the house.", "Two dogs. They play with 3 red balls on the beach."]
WANTED = ["nam A sdnats ni tnorf fo eht esuoh.", "owT sgod. They play with 3 der sllab on the beach."]


@pytest.fixture
def flores(tmp_path):
    folder = tmp_path / "flores"
    (folder / "devtest").mkdir(parents=True)
    for name, lines in (("eng_Latn", SOURCE), ("deu", WANTED), ("zho_simpl", ["一个男人站在房子前面。", "两只狗。"])):
        (folder / "devtest" / f"{name}.devtest").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def scored(engine, tmp_path, *, code="de", given=SOURCE, wanted=WANTED, pieces=None):
    each = selection.plain_step(languages.ENGLISH, languages.find(code), engine=engine, cache=tmp_path)
    store = Store(tmp_path / "said", writes=True)
    try:
        return selection.scored(each, engine, given=given, wanted=wanted, store=store, pieces=pieces)
    finally:
        store.close()


def test_files_of_both_editions_are_found(flores):
    assert selection.sentences(flores, languages.ENGLISH, "devtest") == SOURCE
    assert selection.sentences(flores, languages.find("de"), "devtest") == WANTED
    assert len(selection.sentences(flores, languages.find("zh"), "devtest")) == 2
    with pytest.raises(errors.UserError, match=r"has no devtest/spa_Latn.devtest or spa.devtest"):
        selection.sentences(flores, languages.find("es"), "devtest")


def test_plain_bleu_is_that_of_our_own_scorer(tmp_path):
    row = scored(Toy(), tmp_path)
    said = [backwards(text) for text in SOURCE]
    assert row.bleu == pytest.approx(metrics.bleu([[text] for text in WANTED], said)["bleu"], abs=0.01)
    assert 10 < row.bleu < 90 and "tok:13a" in row.signature and row.spbleu is None and row.score == row.bleu
    assert (row.sentences, row.unanswered) == (2, 0)


def test_spbleu_counts_pieces_of_the_given_model(tmp_path):
    path = tmp_path / "flores.model"
    tokenizer.train([*TEXTS, *SOURCE] * 4, path, 400)
    pieces = tokenizer.pieces(path)
    row = scored(Toy(), tmp_path, pieces=pieces)
    cut = [[" ".join(pieces(text)) for text in texts] for texts in ([backwards(text) for text in SOURCE], WANTED)]
    wanted = sacrebleu.corpus_bleu(cut[0], [cut[1]], tokenize="none", force=True).score
    assert row.spbleu == pytest.approx(wanted, abs=0.01) and row.score == row.spbleu != row.bleu
    with pytest.raises(errors.UserError, match="cannot be read"):
        selection.pieces_of(tmp_path / "none")


def test_scripts_without_spaces_are_scored_by_character(tmp_path):
    assert "tok:zh" in scored(Toy(), tmp_path, code="zh").signature
    assert "tok:char" in scored(Toy(), tmp_path, code="ja").signature


def test_what_has_no_translation_counts_as_empty(tmp_path):
    row = scored(Toy(lambda text: engines.Failure("x") if "man" in text else backwards(text)), tmp_path)
    assert row.unanswered == 1 and row.bleu < scored(Toy(name="b"), tmp_path).bleu
    with pytest.raises(errors.UserError, match="has 1 sentences, en has 2"):
        scored(Toy(), tmp_path, wanted=WANTED[:1])


def test_the_table_keeps_what_exceeds_the_threshold(tmp_path):
    rows = [
        selection.Row("de", 9, 0, 20.0, ""),
        selection.Row("es", 9, 0, 1.0, "", 20.01),
        selection.Row("wo", 9, 0, 3, ""),
    ]
    path = tmp_path / "bleu.json"
    path.write_text(json.dumps(selection.written(rows, {"from": "en"})))
    assert selection.kept(selection.read(path), 20.0) == ["es"]
    assert selection.table(rows, 20.0).splitlines()[1].split() == ["Spanish", "es", "1.0", "20.0", "yes"]
    for wrong in ("", "[]", '{"languages": {"de": 3}}', '{"languages": {"xx": {"score": 1}}}'):
        path.write_text(wrong)
        with pytest.raises(errors.UserError):
            selection.read(path)


def test_the_papers_rule_on_its_list_gives_the_80(tmp_path):
    """The shipped list is the definition: a table in which they pass, and no other, selects it."""
    every = (*languages.M3IT_80, *languages.OTHERS)
    rows = [selection.Row(each.code, 9, 0, 20.1 if each in languages.M3IT_80 else 20.0, "") for each in every]
    path = tmp_path / "bleu.json"
    path.write_text(json.dumps(selection.written(rows, {})))
    assert selection.kept(selection.read(path), 20.0) == [each.code for each in languages.M3IT_80]
