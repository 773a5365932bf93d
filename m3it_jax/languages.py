"""The 80 languages of M3IT-80, and a few others: under which code each system knows them, and how they are written.

    find("zho_Hans") is find("zh") is find("zh-Hans")     any of the three codes

The 80 and their NLLB codes: arXiv 2306.04387, Table 9, in the order of `_LAN_CODES` of the card of
MMInstruction/M3IT-80; the list is the definition, since the BLEU scores behind it are not published. An NLLB code is
that of FLORES-200 (github.com/facebookresearch/flores, flores200/README.md): ISO 639-3 and, behind the dash, the script
by ISO 15924. M3IT-80 codes are BCP-47 tags; where FLORES has a language in two scripts, the longer tag says which.
"""

import dataclasses
from collections.abc import Iterable, Mapping

from m3it_jax import errors


@dataclasses.dataclass(frozen=True)
class Language:
    """One language in one script.

    Attributes:
      code: Its code in M3IT-80, which is the `language` of a record.
      nllb: Its code in NLLB and FLORES-200.
      name: Its name in English.
      bcp47: Its BCP-47 tag, with the script where the code alone leaves it open.
    """

    code: str
    nllb: str
    name: str
    bcp47: str

    @property
    def script(self) -> str:
        """The ISO 15924 code of its script."""
        return self.nllb.partition("_")[2]

    @property
    def flores_101(self) -> str:
        """Its code in FLORES-101 (github.com/facebookresearch/flores, previous_releases/flores101)."""
        return _FLORES_101.get(self.nllb, self.nllb.partition("_")[0])

    @property
    def is_right_to_left(self) -> bool:
        """Whether it is written from right to left."""
        return self.script in ("Arab", "Hebr")

    @property
    def is_spaced(self) -> bool:
        """Whether words stand apart in it."""
        return self.script not in ("Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr")


_FLORES_101: Mapping[str, str] = {
    "arb_Arab": "ara", "fuv_Latn": "ful", "khk_Cyrl": "mon", "lvs_Latn": "lav", "pbt_Arab": "pus", "pes_Arab": "fas",
    "uzn_Latn": "uzb", "zho_Hans": "zho_simpl", "zho_Hant": "zho_trad", "zsm_Latn": "msa",
}  # fmt: skip

# Tags that say more than the code; sr, pa, kk, bs and others are written in the script below by default (Unicode CLDR,
# likelySubtags.xml).
_TAGS: Mapping[str, str] = {"zh": "zh-Hans", "zh-Hant": "zh-Hant"}

_M3IT_80 = """
af afr_Latn Afrikaans
am amh_Ethi Amharic
ar arb_Arab Modern Standard Arabic
as asm_Beng Assamese
ast ast_Latn Asturian
be bel_Cyrl Belarusian
bg bul_Cyrl Bulgarian
bn ben_Beng Bengali
bs bos_Latn Bosnian
ca cat_Latn Catalan
ceb ceb_Latn Cebuano
cs ces_Latn Czech
cy cym_Latn Welsh
da dan_Latn Danish
de deu_Latn German
el ell_Grek Greek
es spa_Latn Spanish
et est_Latn Estonian
fi fin_Latn Finnish
fr fra_Latn French
fuv fuv_Latn Nigerian Fulfulde
gl glg_Latn Galician
gu guj_Gujr Gujarati
ha hau_Latn Hausa
he heb_Hebr Hebrew
hi hin_Deva Hindi
hr hrv_Latn Croatian
hu hun_Latn Hungarian
hy hye_Armn Armenian
id ind_Latn Indonesian
ig ibo_Latn Igbo
is isl_Latn Icelandic
it ita_Latn Italian
ja jpn_Jpan Japanese
jv jav_Latn Javanese
ka kat_Geor Georgian
kk kaz_Cyrl Kazakh
km khm_Khmr Khmer
kn kan_Knda Kannada
ko kor_Hang Korean
ky kir_Cyrl Kyrgyz
lb ltz_Latn Luxembourgish
lg lug_Latn Ganda
lij lij_Latn Ligurian
li lim_Latn Limburgish
ln lin_Latn Lingala
lo lao_Laoo Lao
lt lit_Latn Lithuanian
lv lvs_Latn Standard Latvian
mi mri_Latn Maori
mk mkd_Cyrl Macedonian
ml mal_Mlym Malayalam
mr mar_Deva Marathi
mt mlt_Latn Maltese
my mya_Mymr Burmese
nl nld_Latn Dutch
ny nya_Latn Nyanja
oc oci_Latn Occitan
pa pan_Guru Eastern Panjabi
pl pol_Latn Polish
pt por_Latn Portuguese
ro ron_Latn Romanian
ru rus_Cyrl Russian
sd snd_Arab Sindhi
sk slk_Latn Slovak
sn sna_Latn Shona
so som_Latn Somali
sr srp_Cyrl Serbian
sv swe_Latn Swedish
ta tam_Taml Tamil
te tel_Telu Telugu
tg tgk_Cyrl Tajik
th tha_Thai Thai
tl tgl_Latn Tagalog
tr tur_Latn Turkish
uk ukr_Cyrl Ukrainian
ur urd_Arab Urdu
vi vie_Latn Vietnamese
wo wol_Latn Wolof
zh zho_Hans Chinese (Simplified)
"""

# English, which M3IT-80 is translated from, and languages outside of the 80 that a translator may know.
_OTHERS = """
en eng_Latn English
eo epo_Latn Esperanto
eu eus_Latn Basque
fa pes_Arab Western Persian
ga gle_Latn Irish
mn khk_Cyrl Halh Mongolian
ms zsm_Latn Standard Malay
nb nob_Latn Norwegian Bokmål
ne npi_Deva Nepali
ps pbt_Arab Southern Pashto
sl slv_Latn Slovenian
sw swh_Latn Swahili
uz uzn_Latn Northern Uzbek
yo yor_Latn Yoruba
zh-Hant zho_Hant Chinese (Traditional)
"""


def _table(text: str) -> tuple[Language, ...]:
    rows = (line.split(" ", 2) for line in text.strip().splitlines())
    return tuple(Language(code, nllb, name, _TAGS.get(code, code)) for code, nllb, name in rows)


M3IT_80 = _table(_M3IT_80)
OTHERS = _table(_OTHERS)
ENGLISH = OTHERS[0]

_BY_CODE: dict[str, Language] = {
    key.lower(): language for language in (*OTHERS, *M3IT_80) for key in (language.nllb, language.bcp47, language.code)
}


def find(code: str) -> Language:
    """Returns a language by its M3IT-80, BCP-47 or NLLB code, whatever its case.

    Raises:
      UserError: it is none of the table's.
    """
    found = _BY_CODE.get(code.lower())
    if found is None:
        raise errors.UserError(
            f"language {code!r}: is not in the table; give a code such as de or deu_Latn, see `m3it languages list`"
        )
    return found


def named(codes: Iterable[str]) -> list[Language]:
    """Returns the languages of codes in their order, each once; `all` stands for the 80 of M3IT-80.

    Raises:
      UserError: as `find`.
    """
    found: dict[Language, None] = {}
    for code in codes:
        found.update(dict.fromkeys(M3IT_80 if code == "all" else (find(code),)))
    return list(found)
