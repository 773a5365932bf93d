"""A model of CTranslate2 in NLLB's form, made here: random weights, a tokenizer that is trained on a few real texts."""

import pathlib

import numpy as np

from m3it_jax import tokenizer

WIDTH, INNER, HEADS = 32, 64, 2
TEXTS = (
    "A man stands in front of the house.",
    "What colour is the dog in the picture?",
    "Answer the question in one sentence.",
    "Two children play with a red ball on the beach.",
    "El perro corre por la playa con una pelota.",
    "¿De qué color es la casa de la imagen?",
    "Der Hund läuft am Strand und spielt mit dem Ball.",
    "这只狗是什么颜色的？",
)


def write(folder: pathlib.Path, codes: tuple[str, ...] = ("eng_Latn", "spa_Latn", "deu_Latn"), seed: int = 0):
    """Writes model.bin, shared_vocabulary.json and sentencepiece.bpe.model; returns the folder."""
    from ctranslate2.specs import TransformerSpec

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = tokenizer.train(TEXTS * 4, folder / "sentencepiece.bpe.model", 400)
    pieces = [vocabulary.piece(index) for index in range(vocabulary.vocab_size)]
    rng = np.random.default_rng(seed)
    spec = TransformerSpec.from_config((1, 1), HEADS)
    for name in ("<s>", "</s>", "<unk>"):
        if name not in pieces:
            pieces.append(name)
    pieces += [code for code in codes if code not in pieces]

    def shape(name: str) -> tuple[int, ...]:
        size = {"gamma": (WIDTH,), "beta": (WIDTH,)}.get(name.rpartition("/")[2])
        if size is not None:
            return size
        part, layer = name.split("/")[-3:-1]
        if "embeddings" in name or "projection" in name:
            return len(pieces), WIDTH
        if part == "ffn":
            return (INNER, WIDTH) if layer == "linear_0" else (WIDTH, INNER)
        rows = {"self_attention/linear_0": 3, "attention/linear_1": 2}.get(f"{part}/{layer}", 1)
        return rows * WIDTH, WIDTH

    for name, value in spec.variables().items():
        if value is None:
            weight = rng.normal(0, 0.3, shape(name)).astype(np.float32)
            weight = np.ones_like(weight) if name.endswith("gamma") else weight
            if name == "decoder/projection/weight":  # words rather than bytes, and an end now and then
                weight[[piece.startswith("<") for piece in pieces]] = 0
                weight[pieces.index("</s>")] = 2 * rng.normal(0, 0.3, WIDTH)
            _set(spec, name, weight)
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "<s>", "</s>", "<unk>"
    spec.config.decoder_start_token = "</s>"
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    return folder


def _set(spec, name: str, value: np.ndarray) -> None:
    *scopes, last = name.split("/")
    for scope in scopes:
        spec = (
            getattr(spec, scope)
            if hasattr(spec, scope)
            else getattr(spec, scope[: scope.rindex("_")])[int(scope[scope.rindex("_") + 1 :])]
        )
    setattr(spec, last, value)
