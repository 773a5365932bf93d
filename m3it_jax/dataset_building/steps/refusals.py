"""Whether a text declines to answer. "Sorry" alone does not: books, films and signs begin with it, and people say it.

A refusal is somebody's, about himself and about the task. A text declines where it begins with one of these, or has the
last:

    I'm sorry, but I cannot see the image.     an apology, and in the same breath what cannot be done
    I am unable to view pictures.              what somebody cannot do with a picture, a question or a request
    As an AI language model, ...               what only a model says of itself

What is written as a title (`Sorry, I Can't Help You`) or in capitals was read off a picture.
"""

import re

# CHOICE: characters between an apology and its reason; a longer breath has more to say than no.
_BREATH = 60

# Language -> how an apology begins, and what is declined behind it. The languages are those in which people have put
# their sets together; the wording is that of chat models, English first (OpenGVLab/Ask-Anything, video_chat2/DATA.md).
_APOLOGIES: dict[str, tuple[str, str]] = {
    "en": (
        r"(?:(?:oh|well|hmm|unfortunately),? )?(?:(?:I'm|I am|we are|we're) (?:so |very |really |truly |deeply )?"
        r"(?:sorry|afraid)|sorry|apologies|my apologies|(?:I|we) (?:do )?apologi[sz]e|(?:I|we) (?:deeply )?regret"
        r"|unfortunately|regrettably|please accept)\b",
        r"\b(?:I|we)(?:'m| am| are|'re)? (?:also |currently |still |simply |really )?(?:cannot|can't|can not|could not"
        r"|couldn't|unable to|not able to|won't be able to|will not be able to|not capable of|not allowed to"
        r"|not permitted to)(?: be able to)?(?: directly| actually| really| accurately| currently)?"
        r" (?:(?:assist|comply|answer|provide|determin|identif|tell|describ|recogni[sz]|confirm|discern|verify|infer"
        r"|speculat|fulfil|discuss|generat|comment|continue with|engage)\w*|help(?: you)?(?: out)?(?: with| there"
        r"|[.,!;]|$)"
        r"|(?:see|seeing|view|access|open|read|process|analy[sz]e|interpret|look at|load|display"
        r"|examine)\w*\b[^.!?]{0,40}"
        r"\b(?:image|picture|photo|photograph|attachment|file|video|content|link|screenshot|chart|visual|anything"
        r"|what)s?)"
        r"|\b(?:I|we) (?:do not|don't|did not|didn't) (?:know|understand|have (?:the ability|access|enough"
        r"|any information"
        r"|sufficient|information|the necessary|the capability))"
        r"|\b(?:image|picture|photo|description|caption|context|question|information|video|text)s?(?: \w+){0,3}"
        r" (?:does|do|did|is|are|was|were)(?: not|n't)\b"
        r"|\bthere (?:is|are|was)(?: no|n't any| not enough|n't enough| insufficient) (?:\w+ )?(?:image|picture|photo"
        r"|information|context|video)|\bno (?:image|picture|photo|video) (?:was|is|has been|provided|attached|uploaded)"
        r"|\b(?:not possible|impossible) (?:for me )?to (?:determine|tell|identify|answer|say|know|provide|see)"
        r"|\b(?:I|we) need (?:more|additional|further) (?:information|context|detail)",
    ),
    "zh": (
        r"(?:我)?(?:感到)?(?:很|非常|十分|真的?|实在|實在|深表)?(?:抱歉|对不起|對不起|不好意思|遗憾|遺憾)",
        r"(?:无法|無法|不能|没有?办法|沒有?辦法|难以|難以)[^。!?！？]{0,12}(?:看|识别|識別|回答|提供|判断|判斷|确定"
        r"|確定|帮|幫|协助"
        r"|協助|分析|访问|訪問|打开|打開|处理|處理|理解|描述|满足|滿足|生成|得知|知道|辨)|不知道|不清楚|不确定"
        r"|不確定|看不[到见見清]"
        r"|(?:没有|沒有|未|缺乏)(?:足够|足夠|提供|看到|收到|相关|相關)|不支持|不具备|不具備|不了你",
    ),
    "de": (
        r"(?:(?:es|das) )?tut (?:es )?mir (?:sehr |wirklich )?leid|entschuldigung|verzeihung|entschuldigen sie"
        r"|leider|sorry",
        r"\b(?:ich (?:kann|könnte|bin|habe)|(?:kann|könnte|bin|habe) ich|ist es mir)\b[^.!?]{0,60}\b(?:nicht"
        r"|keine?\w*|unmöglich)\b"
        r"[^.!?]{0,50}(?:\b(?:sehen|beantworten|antworten|helfen|erkennen|bestimmen|beurteilen|sagen|ansehen|anzeigen"
        r"|unterstützen|geben|lesen|öffnen|verarbeiten|identifizieren|beschreiben|behilflich)\b|in der Lage"
        r"|Informationen|Zugriff)",
    ),
    "fr": (
        r"(?:je suis |nous sommes )?(?:vraiment |sincèrement |profondément )?désolée?s?|pardon|excusez-moi|je m'excuse"
        r"|toutes mes excuses|malheureusement|je regrette",
        r"\bje (?:n['’]|ne )(?:peux|puis|suis|sais|dispose|parviens|vois|ai)\b[^.!?]{0,60}(?:voir|répondre|aider"
        r"|identifier"
        r"|déterminer|dire|fournir|analyser|accéder|accès|décrire|lire|visualiser|assister|en mesure|capable|image"
        r"|informations)",
    ),
    "es": (
        r"lo (?:siento|lamento)|disculp\w+|perd[oó]n\w*|lamentablemente|desafortunadamente|me temo|mis disculpas",
        r"\bno (?:puedo|podemos|tengo|soy capaz|me es posible|es posible|logro|dispongo|sé)\b[^.!?]{0,60}(?:ver\b"
        r"|responder"
        r"|ayudar|identificar|determinar|proporcionar|acce[ds]|analizar|decir|describir|visualizar|informaci|capaz"
        r"|saber|imagen)",
    ),
    "pt": (
        r"desculp\w+|sinto muito|lamento|infelizmente|perdão|peço desculpas?|me desculpe",
        r"\bnão (?:posso|podemos|consigo|tenho|sou capaz|é possível|pude|sei)\b[^.!?]{0,60}(?:ver\b|responder|ajud"
        r"|identificar"
        r"|determinar|fornecer|acess|aced|analisar|dizer|descrever|visualizar|informaç|saber|capacidade|imagem)",
    ),
    "it": (
        r"mi (?:dis)?piace|mi spiace|mi scuso|scus\w+|(?:sono )?spiacente|purtroppo",
        r"\bnon (?:posso|riesco|sono|ho|è possibile|so)\b[^.!?]{0,60}(?:vedere|rispondere|aiutar|identificare"
        r"|determinare"
        r"|fornire|acce|analizzare|dire\b|descrivere|visualizzare|informazioni|in grado|assister|immagin)",
    ),
    "nl": (
        r"het spijt me|sorry|helaas|(?:mijn )?excuses|neem me niet kwalijk",
        r"\b(?:ik (?:kan|ben|heb|weet)|(?:kan|ben|heb|weet) ik)\b[^.!?]{0,60}\b(?:niet|geen)\b[^.!?]{0,50}(?:zien"
        r"|antwoord|helpen"
        r"|bepalen|identificeren|zeggen|bekijken|geven|staat|toegang|herkennen|informatie|beschrijven)",
    ),
    "sv da nb": (
        r"(?:jag är |jeg er )?(?:mycket |meget |veldig )?(?:ledsen|ked af det|lei (?:for det|meg))|tyvärr|desværre"
        r"|dessverre"
        r"|(?:jeg |jag )?beklag[ae]r|undskyld|unnskyld|förlåt",
        r"\b(?:ja?e?g kan|kan ja?e?g)\b[^.!?]{0,30}\b(?:inte|ikke)\b[^.!?]{0,40}\b(?:se|svar[ae]|besvar[ae]|hjälpa"
        r"|hj[eæ]lpe|avgöra"
        r"|afgøre|avgjøre|bestemme|bestämma|identifi\w+|säga|sige?|ge|gi|give|beskriv[ae]|vis[ae])\b",
    ),
    "pl": (
        r"(?:bardzo )?przepraszam|przykro mi|niestety|wybacz\w*",
        r"\bnie (?:mogę|jestem w stanie|potrafię|mam|można|da się|widzę|wiem)\b[^.!?]{0,60}(?:zobaczyć|odpowiedzieć"
        r"|pomóc"
        r"|określić|zidentyfikować|powiedzieć|podać|udzielić|opisać|obraz|zdjęci|informacji|dostępu|stwierdzić)",
    ),
    "cs sk": (
        r"(?:je mi (?:velmi |veľmi )?[lľ][ií]to|omlouvám se|ospravedlňujem sa|bohužel|bohužiaľ|promiňte|prepáčte"
        r"|ľutujem)",
        r"\b(?:nemohu|nemůžu|nemôžem|nejsem schop\w+|nie som schop\w+|nedokáž\w+|nemám|nelze"
        r"|nevid[ií]m)\b[^.!?]{0,60}(?:vid[eě]\w+"
        r"|zobrazi|odpov[eě]d\w+|pomoci|pomôcť|určit|identifikovat|říci|povedať|poskytnou|popsat|obr[aá]z|informac"
        r"|inform[aá]ci)",
    ),
    "ru uk bg": (
        r"извини(?:те)?|прости(?:те)?|прошу прощения|к сожалению|(?:мне (?:очень )?)?жаль|сожалею|приношу извинения"
        r"|вибачте"
        r"|пробачте|на жаль|перепрошую|(?:много )?съжалявам|за съжаление|извинявай(?:те)?",
        r"\b(?:не (?:могу|можу|мога|в состоянии|имею|маю|удаётся|удается|вдається|вижу|бачу|виждам)|невозможно"
        r"|неможливо)\b[^.!?]"
        r"{0,60}(?:вид|просмотр|посмотр|ответ|помо[гчщ]|определ|сказать|предостав|распозна|описать|откр|выполн"
        r"|проанализ"
        r"|изображ|картин|информац|бач|перегля|відпов|допомо|визнач|надати|зображ|інформац|отгов|помогн|изображен"
        r"|снимк)",
    ),
    "el": (
        r"λυπάμαι|συγγνώμη|ζητώ συγγνώμη|δυστυχώς",
        r"\bδεν (?:μπορώ|είμαι|έχω|είναι|γνωρίζω)\b[^.!;]{0,60}(?:δω|απαντ|βοηθ|προσδιορ|αναγνωρ|πληροφορ|εικόν"
        r"|πω\b|παρέχ|περιγρ)",
    ),
    "hu": (
        r"(?:nagyon )?sajnálom|elnézést|bocsánat|sajnos",
        r"\b(?:nem (?:tudom|tudok|látom|látok|lehet|áll|vagyok)|képtelen)\b[^.!?]{0,60}(?:kép|válasz|segíteni"
        r"|meghatároz|azonosít"
        r"|információ|megmond|megtekint|leír)",
    ),
    "ro": (
        r"îmi (?:pare rău|cer scuze)|scuze|din păcate|regret",
        r"\bnu (?:pot|sunt|am|este posibil|știu|reușesc|văd)\b[^.!?]{0,60}(?:vedea|vizualiza|răspund|ajut|identific"
        r"|determin|spune"
        r"|oferi|furniza|imagin|informaț|descri|capabil)",
    ),
    "fi": (
        r"olen pahoillani|valitettavasti|anteeksi|pahoittelen",
        r"\ben (?:voi|pysty|näe|osaa|tiedä|kykene)\b[^.!?]{0,60}(?:näh|näke|vasta|aut|määrit|tunnist|sano|kuva|anta"
        r"|tieto)",
    ),
    "tr": (
        r"(?:çok )?üzgünüm|özür dilerim|maalesef|ne yazık ki|kusura bakma\w*",
        r"(?:gör|yanıtla|cevapla|yardım|belirle|söyle|sağla|eriş|tanımla|bilgi|resim|resmi|görüntü|tespit)[^.!?]{0,50}"
        r"(?:[ae]m[ıi]yor\w*|[ae]m[ae]m\b|mümkün değil|yok)",
    ),
    "vi": (
        r"(?:tôi )?(?:rất |thành thật )?(?:xin lỗi|lấy làm tiếc|tiếc)|rất tiếc",
        r"(?:không (?:thể|có khả năng|đủ|biết|nhìn thấy)|chưa thể)[^.!?]{0,40}(?:nhìn|xem|trả lời|giúp|xác định"
        r"|nhận|cung cấp|thông tin"
        r"|hình|ảnh|mô tả|hỗ trợ|câu)",
    ),
    "id": (
        r"(?:saya )?(?:mohon |minta )?maaf\w*|sayangnya",
        r"(?:tidak|tak) (?:dapat|bisa|mampu|memiliki|tahu)\b[^.!?]{0,50}(?:lihat|jawab|bantu|tentukan|identifikasi"
        r"|beri|gambar|foto"
        r"|informasi|akses|jelaskan)",
    ),
    "ja": (
        r"(?:大変|誠に|まことに|本当に)?(?:申し訳(?:ありません|ございません|ない)|すみません|ごめんなさい"
        r"|残念ながら|恐れ入ります)",
        r"(?:画像|写真|質問|回答|答え|情報|判断|特定|確認|提供|識別|認識|見る|手伝"
        r"|対応)[^。!?！？]{0,30}(?:できません|出来ません|できない|ません|かねます)"
        r"|(?:わかり|分かり)(?:ません|かねます)",
    ),
    "ko": (
        r"(?:정말 |대단히 )?(?:죄송|미안|유감)\S*|안타깝게도",
        r"(?:이미지|사진|그림|질문|답변|정보|확인|판단|식별|제공|도움|도와|볼|알|설명)[^.!?]{0,30}(?:수 ?(?:가 )?없"
        r"|못합니다|못해요|모르겠|어렵|불가능)",
    ),
    "ar fa": (
        r"(?:أنا )?(?:آسف|اسف|عذر|أعتذر|اعتذر|للأسف|المعذرة|معذرة|متأسف|متاسف|ببخشید|پوزش)\S*",
        r"(?:لا (?:أستطيع|استطيع|يمكنني|أملك|أعرف|أتمكن|أرى)|غير قادر|ليس (?:لدي|بإمكاني)"
        r"|لن أتمكن)[^.!؟]{0,50}(?:رؤية|صور|إجاب|اجاب"
        r"|مساعد|تحديد|معلومات|توفير|تقديم|وصف|عرض|تعرف)|نمی.?(?:توان|بین|دان)\w*[^.!؟]{0,50}(?:تصویر|عکس|پاسخ|سؤال"
        r"|کمک|تشخیص|اطلاعات)",
    ),
    "he": (
        r"(?:אני )?(?:מצטער|מצטערת|סליחה|לצערי|מתנצל)\b",
        r"(?:לא (?:יכול|יכולה|מסוגל|ניתן|יודע|רואה)|אין (?:לי|באפשרותי)|אינני)[^.!?]{0,50}(?:לראות|תמונ|לענות|לעזור"
        r"|לזהות|לקבוע|מידע|לספק"
        r"|לתאר|לסייע)",
    ),
    "hi": (
        r"(?:मुझे |मैं )?(?:खेद|माफ|क्षमा)",
        r"(?:तस्वीर|छवि|चित्र|फोटो|उत्तर|जवाब|मदद|सहायता|जानकारी|पहचान|बता|देख)[^।!?]{0,50}(?:नहीं|असमर्थ)",
    ),
    "th": (
        r"(?:ขออภัย|ขอโทษ|เสียใจ)",
        r"ไม่(?:สามารถ|ทราบ|มี|เห็น)[^!?]{0,40}(?:ดู|เห็น|ตอบ|ช่วย|ระบุ|ข้อมูล|ภาพ|รูป|บอก|อธิบาย|วิเคราะห์)",
    ),
}  # fmt: skip

# What somebody says of a picture or a task without an apology, at the begin of a text.
_UNABLE = (
    r"(?:I|we)(?:'m| am| are|'re)? (?:cannot|can't|can not|unable to|not able to|do(?: not|n't) have the ability to)"
    r"(?: directly| actually)? (?:(?:see|view|access|open|process|analy[sz]e|interpret|display) (?:the |this |that "
    r"|any |an? "
    r"|your |or \w+ )*(?:attached |provided |uploaded )?(?:image|picture|photo|photograph|attachment|video|file"
    r"|screenshot)s?\b"
    r"(?! (?:on|in|of|at|behind|above|hanging|with)\b)|(?:answer|determine|identify|provide|assist|comply)\b)",
    r"(?:unfortunately,? )?it (?:is|'s) (?:not possible|impossible) (?:for me )?to (?:determine|tell|identify"
    r"|answer|say)\b"
    r"[^.!?]{0,60}\b(?:from|based on|without|given|because)\b",
    r"我(?:无法|無法|不能|没有办法|看不[到见見])(?:直接)?(?:查看|看到|看见|識別|识别|回答|提供|判断|确定|访问|处理"
    r"|分析|帮助)?(?:这张|该|此|任何|您的?|你的?)?"
    r"(?:图|圖|照片|问题|問題)",
)

# What only a model says of itself, wherever it stands.
_MODEL = (
    r"\bas an? (?:(?:AI|artificial intelligence)(?: (?:language |text |chat |vision )?(?:model|assistant|system"
    r"|program|chatbot"
    r"|language)\b|,| I\b)|(?:large |text-based )?language model\b|text-based (?:AI|model|assistant))",
    r"\b(?:I am|I'm|being) (?:just |only |merely |simply )?an? (?:AI|artificial intelligence"
    r"|(?:large )?language model)\b",
    r"\b(?:als|en tant qu['’]?e?|como|come|jako|som|sebagai|bir) ?(?:une?|eine?|um[a]?|un'|en"
    r"|et)? ?(?:modèle de langage"
    r"|modelo de (?:lenguaje|linguagem)|modello linguistico|(?:KI-)?Sprachmodell|taalmodel|model językowy|språkmodell?"
    r"|jazykový model|model bahasa|IA,|KI,|AI-taalmodel|AI-model)|\bdil modeli olarak\b",
    r"\bкак (?:языковая модель|искусственный интеллект)|作为一?[个個名款]?(?:人工智能|大?[语語]言模型|AI)"
    r"|作為一?[個名]?(?:人工智慧|語言模型|AI)"
    r"|(?:AI|大規模)?言語モデルとして|AIとして|언어 모델로서|AI(?: 모델)?로서|كنموذج لغوي|كنموذج ذكاء",
)

_BEGIN = r"[\s*.\-–—]*"
_PAUSE = rf"[^.!?。！？]{{0,{_BREATH}}}?(?:[.!?。！？]\s*)?[^.!?。！？]{{0,{_BREATH}}}?"
_SPOKEN = tuple(
    re.compile(f"{_BEGIN}(?:{pattern})", re.IGNORECASE)
    for pattern in (
        *(f"(?:{apology}){_PAUSE}(?:{declined})" for apology, declined in _APOLOGIES.values()),
        *_UNABLE,
    )
)
_SELF = re.compile("|".join(_MODEL), re.IGNORECASE)
# One of these stands in whatever a model says of itself; most texts have none, and looking for them is quick.
_SELF_HINTS = (
    *(" an ai", "artificial", "model", "modèle", "ia,", "ki,", "иску", "языков", "作为", "作為", "言語", "모델"),
    *("aiと", "ai로", "نموذج"),
)
# How any of `_SPOKEN` begins: most texts are done with here.
_OPENINGS = (*(apology for apology, _ in _APOLOGIES.values()), "I", "we", "it", "unfortunately", "我")
_OPENING = re.compile(f"{_BEGIN}(?:{'|'.join(_OPENINGS)})", re.IGNORECASE)
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")


def is_refusal(text: str) -> bool:
    """Returns whether a text declines to answer instead of answering."""
    plain = text.replace("’", "'")
    said = _OPENING.match(plain) is not None and any(pattern.match(plain) for pattern in _SPOKEN)
    if not said:
        low = plain.casefold()
        said = any(hint in low for hint in _SELF_HINTS) and _SELF.search(plain) is not None
    return said and not _is_title(text)


def _is_title(text: str) -> bool:
    """Returns whether every longer word begins with a capital, as in titles and on signs."""
    words = _LONG_WORD.findall(text)
    return len(words) > 1 and all(word[0].isupper() for word in words)
