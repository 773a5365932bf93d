"""What every kind of vocabulary file offers."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from m3it_jax.tokenizer.settings import Added

# Where a text stands: at the start of all text, behind a special token or a picture, or behind other text.
Place = Literal["start", "after_mark", "inside"]

# How SentencePiece and its likes write a space.
SPACE_MARK = "\u2581"


class Vocabulary(Protocol):
    """Pieces and their ids. What is special is told here, what it means is `Tokenizer`'s."""

    size: int  # number of ids, from 0 on, without those of `added` behind them
    has_own_marks: bool  # the settings change what text behind a special token gives
    special_ids: frozenset[int]  # ids that no text gives

    @property
    def own_ids(self) -> Mapping[str, int]:
        """Role of `settings.ROLES` -> its id as the file itself says, -1 where it has none."""
        ...

    @property
    def added(self) -> Mapping[int, Added]:
        """Id -> token that was added to the vocabulary, special or not."""
        ...

    def token_id(self, content: str) -> int | None:
        """Returns the id of a piece or an added token that is spelled so, or None."""
        ...

    def encode(self, text: str, place: Place) -> list[int]:
        """Returns the ids of ordinary text, none of them special; tokens added as ordinary ones are cut out of it."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids that are not special; broken UTF-8 from byte pieces becomes U+FFFD."""
        ...

    def piece(self, index: int) -> str:
        """Returns the spelling of one id as the vocabulary has it."""
        ...

    def piece_bytes(self, index: int) -> bytes:
        """Returns the UTF-8 that one id adds to a text: a part of a character for byte pieces."""
        ...


def byte_of(piece: str) -> bytes:
    """Returns the byte that a byte piece such as `<0x0A>` stands for."""
    return bytes([int(piece[3:5], 16)])
