"""What stands in for the tokenizer of imported weights that came without one: their model takes ids alone."""

from collections.abc import Iterable
from pathlib import Path

from m3it_jax import errors
from m3it_jax.tokenizer.text_tokens import Place, Tokenizer
from m3it_jax.tokenizer.training import BOS_ID, EOS_ID, UNK_ID


class NoTokenizer(Tokenizer):
    """Has the ids that a model embeds and no text for any of them. Its special ids are LLaMA's and mean nothing."""

    def __init__(self, path: Path, vocab_size: int):
        """Takes where the tokenizer was looked for, and how many ids the model embeds."""
        self._path, self.vocab_size, self.fingerprint = path, vocab_size, ""
        self.bos_id, self.eos_id, self.pad_id = BOS_ID, EOS_ID, UNK_ID
        self.image_id = vocab_size

    def _refuse(self) -> errors.UserError:
        return errors.UserError(
            f"{self._path}: is missing, so the model of {self._path.parent} takes token ids and no text; put the "
            "tokenizer.model or tokenizer.json of the weights there"
        )

    def encode(self, text: str, place: Place = "start") -> list[int]:
        """Returns nothing for a text without words, such as the mark that a format does not have.

        Raises:
          UserError: there is something to encode.
        """
        if text.strip():
            raise self._refuse()
        return []

    def piece(self, token_id: int) -> str:
        """Returns the id itself."""
        return f"<{token_id}>"

    def token_bytes(self, token_id: int) -> bytes:
        """Returns nothing."""
        return b""

    def decode(self, ids: Iterable[int]) -> str:
        """Raises UserError.

        Raises:
          UserError: always.
        """
        raise self._refuse()
