"""What a certificate shows to both sides: texts of every script that M3IT-80 has, and pictures of awkward kinds."""

import io

import numpy as np
from PIL import Image

# One line for each language of M3IT-80 whose script or letters no line before it has, then what tokenizers differ on.
TEXTS = (
    "What is shown in the picture?",
    "Wat is op die foto? 'n Kat, sê ek.",
    "¿Qué se ve en la imagen? ¡Un niño!",
    "Was zeigt das Bild? Ein großes Gemüse – „schön“.",
    "Que montre l’image ? Un cœur, des élèves, Noël.",
    "O que há na imagem? Um cão e três maçãs.",
    "Ce se vede în imagine? O fată și un câțel.",
    "Što je na slici? Žuti šešir i ćup.",
    "Co je na obrázku? Příliš žluťoučký kůň.",
    "Čo je na obrázku? Ľudia, kôň a vŕba.",
    "Mi látható a képen? Őszi tűz és hűvös szél.",
    "Co jest na zdjęciu? Żółta łódź, gęś.",
    "Mikä kuvassa on? Älykäs pöllö.",
    "Hvad ses på billedet? En blå ø.",
    "Hvað er á myndinni? Þetta er ær og köttur.",
    "Cad atá sa phictiúr? Bád mór agus éan.",
    "Resimde ne var? Küçük ışık, ağaç, İstanbul.",
    "Kas pavaizduota? Ąžuolas, šuo ir žvėris.",
    "Kas redzams attēlā? Ķirsis, ņieburs, ģitāra.",
    "X'hemm fl-istampa? Ħobż u ġobon, żiemel.",
    "Beth sydd yn y llun? Tŷ ac ŵyn.",
    "Trong ảnh có gì? Một con mèo đang ngồi trên ghế.",
    "Ano ang nasa larawan? Isang mag-aaral.",
    "Apa yang ada di gambar itu?",
    "Kuna nini kwenye picha? Ng'ombe wawili.",
    "Me ke hoton? Ƙaramin ɗaki da ɓera.",
    "Hol ko woni e natal ngal? Ɓingel e ŋata.",
    "Gịnị dị na foto? Ụlọ na ọkụkọ.",
    "Tí ni ó wà nínú àwòrán? Ọmọ kékeré.",
    "Maxaa sawirka ku jira?",
    "Lan am ci nataal bi? Xale ak ñey.",
    "Что изображено на картинке? Ёлка и щука.",
    "Що зображено? Їжак, ґава і євро.",
    "Што на малюнку? Ўласны дом.",
    "Какво има на снимката? Ъгъл.",
    "Шта је на слици? Ђак, њива и џеп.",
    "Што има на сликата? Ѓердан и ќебе.",
    "Суретте не бар? Әке, өзен, қыз, ұл, үй, һауа.",
    "Сүрөттө эмне бар? Ңоо.",
    "Зураг дээр юу байна? Өвөл, үүл.",
    "Τι δείχνει η εικόνα; Ένα άλογο, ΐ ΰ.",
    "Ի՞նչ է պատկերված նկարում։ Եվ ուրիշ։",
    "რა არის სურათზე? ძაღლი და ცხენი.",
    "מה רואים בתמונה? שָׁלוֹם.",
    "ماذا يوجد في الصورة؟ قِطَّةٌ جميلة.",
    "در تصویر چه می‌بینید؟ گربه‌ای کوچک.",
    "تصویر میں کیا ہے؟ ایک چھوٹا ڈبہ۔",
    "په انځور کې څه دي؟ ښځه، ډوډۍ.",
    "تصوير ۾ ڇا آهي؟ ٻار ۽ ڳئون.",
    "चित्र में क्या दिख रहा है? क्षत्रिय, ज़ेवर।",
    "चित्रात काय आहे? ऱ्हास, ळ.",
    "तस्बिरमा के छ? ज्ञान।",
    "ছবিতে কী আছে? ক্ষুদ্র ড়ংয়।",
    "ছবিখনত কি আছে? ৰং আৰু ৱাট।",
    "ਤਸਵੀਰ ਵਿੱਚ ਕੀ ਹੈ? ਗੁੱਡੀ।",
    "ચિત્રમાં શું છે? જ્ઞાન, ક્ષણ.",
    "ଛବିରେ କଣ ଅଛି? ଘୋଡ଼ା।",
    "படத்தில் என்ன உள்ளது? ஸ்ரீ.",
    "చిత్రంలో ఏముంది? క్ష, ఱ.",
    "ಚಿತ್ರದಲ್ಲಿ ಏನಿದೆ? ಕ್ಷಣ.",
    "ചിത്രത്തിൽ എന്താണ്? ൻ ർ ൽ.",
    "පින්තූරයේ ඇත්තේ කුමක්ද? ශ්‍රී.",
    "ในภาพมีอะไร? น้ำ เก้าอี้ ๙",
    "ໃນຮູບມີຫຍັງ? ເດັກນ້ອຍ",
    "ပုံထဲမှာ ဘာရှိသလဲ။ ကြောင်",
    "តើមានអ្វីនៅក្នុងរូបភាព? ឆ្មា",
    "በምስሉ ላይ ምን አለ? ድመት።",
    "사진에 무엇이 있나요? 값, 닭, 뷁.",
    "写真には何が写っていますか？「猫」とガラス、ﾊﾝｶｸ。",
    "图片里有什么？一只小猫，𠮷野家，〇。",
    "圖片裡有什麼？龜與鑰匙。",
    "👩🏽‍🚀 🏳️‍🌈 🇪🇺 ☺️ 🤷🏿‍♂️ 1️⃣",
    "a  b   c\td \n e\r\nf\n\n\ng",
    "  begins and ends with spaces  ",
    "\nbegins with a newline\n",
    "ends with a tab\t",
    "no\u00a0break, thin\u2009space, zero\u200bwidth, ideographic\u3000space, bom\ufeff",
    "<s>, </s>, <unk>, <pad>, <image>, <Img></Img>, <0x0A>, <|endoftext|>, [PAD], [CLS], <extra_id_0>",
    "<human>:\n[HYPO] ###Assistant: USER: a▁b ▁▁ Ġ Ċ ##ing",
    "don't can't I'm we'll they've 1234567890 3.14159 12,345 -7 1e-5 0x1F",
    "e\u0301 vs \u00e9, A\u030a vs \u00c5, ﬁ, ², ½, №, ™, Ǆ, ſ, İ",
    "\u0000\u0001\u001f\u007f\u0085\u2028\u2029\ufffd\U0010ffff",
    "x" * 200,
    "aaaa aaaa " * 20,
    'https://example.org/a_b-c?d=e&f=%20#g {"k": [1, 2]} \\frac{1}{2} C:\\temp *** ---',
    "",
    " ",
)


def pictures() -> dict[str, bytes]:
    """Returns encoded pictures by name; every run gets the same bytes."""
    draw = np.random.default_rng(0)
    shapes = {
        "odd size": (213, 317, 3),
        "tall": (901, 40, 3),
        "wide": (33, 640, 3),
        "tiny": (3, 5, 3),
        "one pixel": (1, 1, 3),
        "noise": (480, 640, 3),
    }
    images = {name: Image.fromarray(_smooth(draw, shape)) for name, shape in shapes.items()}
    images["noise"] = Image.fromarray(draw.integers(0, 256, shapes["noise"], np.uint8))
    images["grey"] = Image.fromarray(_smooth(draw, (131, 97, 1))[..., 0])
    images["palette"] = Image.fromarray(_smooth(draw, (120, 91, 3))).quantize(37)
    images["opaque RGBA"] = Image.fromarray(_smooth(draw, (77, 150, 3))).convert("RGBA")
    images["black and white"] = Image.fromarray(_smooth(draw, (64, 90, 1))[..., 0]).convert("1")
    encoded = {}
    for name, image in images.items():
        stream = io.BytesIO()
        image.save(stream, "PNG")
        encoded[name] = stream.getvalue()
    stream = io.BytesIO()
    images["odd size"].save(stream, "JPEG", quality=90)
    return {**encoded, "JPEG": stream.getvalue()}


def _smooth(draw: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns a picture of waves with a little noise, uint8 [height, width, channels]."""
    height, width, channels = shape
    rows, columns = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(rows / (9 + 5 * band) + columns / (14 - 3 * band) + band) for band in range(channels)]
    noisy = np.stack(waves, axis=-1) + draw.normal(scale=8, size=shape)
    return noisy.clip(0, 255).astype(np.uint8)
