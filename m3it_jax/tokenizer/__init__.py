"""Text to token ids and back: one surface over SentencePiece models and the `tokenizer.json` of Hugging Face.

Text given to `encode` is always ordinary text: the spellings `<s>`, `</s>`, `<image>`, `<Img>` or `<0x0A>` in it give
the pieces of those characters, never a control id. Special ids are put into rows by who knows what they mean.
"""

from m3it_jax.tokenizer.no_tokenizer import NoTokenizer
from m3it_jax.tokenizer.surface import pieces
from m3it_jax.tokenizer.text_tokens import IMAGE, Place, Tokenizer, files, find, find_qformer
from m3it_jax.tokenizer.training import BOS_ID, EOS_ID, PAD_ID, UNK_ID, train

__all__ = [
    "BOS_ID",
    "EOS_ID",
    "IMAGE",
    "PAD_ID",
    "UNK_ID",
    "NoTokenizer",
    "Place",
    "Tokenizer",
    "files",
    "find",
    "find_qformer",
    "pieces",
    "train",
]
