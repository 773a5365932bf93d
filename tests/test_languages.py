import pytest

from m3it_jax import errors, languages, metrics
from m3it_jax.dataset_building.interchange import m3it_80
from m3it_jax.dataset_building.translation import quality

# arXiv 2306.04387, Table 9, typed a second time: the first is the table that ships.
TABLE_9 = """afr_Latn amh_Ethi arb_Arab asm_Beng ast_Latn bel_Cyrl bul_Cyrl ben_Beng bos_Latn cat_Latn ceb_Latn ces_Latn
cym_Latn dan_Latn deu_Latn ell_Grek spa_Latn est_Latn fin_Latn fra_Latn fuv_Latn glg_Latn guj_Gujr hau_Latn heb_Hebr
hin_Deva hrv_Latn hun_Latn hye_Armn ind_Latn ibo_Latn isl_Latn ita_Latn jpn_Jpan jav_Latn kat_Geor kaz_Cyrl khm_Khmr
kan_Knda kor_Hang kir_Cyrl ltz_Latn lug_Latn lij_Latn lim_Latn lin_Latn lao_Laoo lit_Latn lvs_Latn mri_Latn mkd_Cyrl
mal_Mlym mar_Deva mlt_Latn mya_Mymr nld_Latn nya_Latn oci_Latn pan_Guru pol_Latn por_Latn ron_Latn rus_Cyrl snd_Arab
slk_Latn sna_Latn som_Latn srp_Cyrl swe_Latn tam_Taml tel_Telu tgk_Cyrl tha_Thai tgl_Latn tur_Latn ukr_Cyrl urd_Arab
vie_Latn wol_Latn zho_Hans""".split()


def test_the_shipped_list_is_the_papers():
    assert [each.nllb for each in languages.M3IT_80] == TABLE_9 and len(TABLE_9) == 80
    assert [each.code for each in languages.M3IT_80] == list(m3it_80.LANGUAGES)
    every = (*languages.M3IT_80, *languages.OTHERS)
    for column in ("code", "nllb", "bcp47", "name", "flores_101"):
        assert len({getattr(each, column) for each in every}) == len(every), column


def test_each_code_finds_its_language():
    for each in (*languages.M3IT_80, *languages.OTHERS):
        assert languages.find(each.code) is languages.find(each.nllb) is languages.find(each.bcp47.lower()) is each
    chinese = languages.find("zh-Hans")
    assert (chinese.code, chinese.nllb, chinese.flores_101) == ("zh", "zho_Hans", "zho_simpl")
    assert languages.find("lvs_Latn").flores_101 == "lav" and languages.find("de").flores_101 == "deu"
    with pytest.raises(errors.UserError, match="'xx'.*de or deu_Latn"):
        languages.find("xx")


def test_all_stands_for_the_80():
    assert languages.named(["eo", "all", "de"]) == [languages.find("eo"), *languages.M3IT_80]


def test_how_a_language_is_written():
    right_to_left = [each.code for each in languages.M3IT_80 if each.is_right_to_left]
    assert right_to_left == ["ar", "he", "sd", "ur"]
    assert [each.code for each in languages.M3IT_80 if not each.is_spaced] == ["ja", "km", "lo", "my", "th", "zh"]
    for each in (*languages.M3IT_80, *languages.OTHERS):
        assert each.script in quality._NAMES, each


def test_the_identifier_does_not_know_them_all():
    known = metrics.identified_languages()
    unknown = [each.code for each in languages.M3IT_80 if each.code not in known]
    assert unknown == ["ast", "ceb", "li", "mi", "ny", "sd", "wo"]
