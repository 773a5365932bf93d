"""Pictures -> what the language model sees of them, each picture encoded once while it is remembered."""

import collections
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from m3it_jax.generation import batching, decoding
from m3it_jax.generation.pictures import Picture
from m3it_jax.models.vlm import VLM

# Pictures of one call of the encoder. A list is cut into the largest that fit, so that at most four shapes are ever
# compiled and no padding is computed. 64 was the fastest for each picture on two cores; 128 falls out of their cache.
_CHUNKS = (64, 16, 4, 1)

# CHOICE: 65,536 pictures of variant mini, 800 of ying_vlm_13b in bfloat16.
_MAX_BYTES = 256 << 20


class FeatureStore:
    """The encoded pictures of the last requests, by content, the least recently used forgotten first."""

    def __init__(
        self,
        model: VLM,
        params: decoding.Params,
        *,
        max_bytes: int = _MAX_BYTES,
        chunks: Sequence[int] = _CHUNKS,
    ):
        """Takes the model, its parameters, the memory that features may take on the host, and sizes of calls.

        `chunks` falls; pictures that are fewer than its last are filled up to it.
        """
        self._model, self._params, self._max_bytes, self._chunks = model, params, max_bytes, chunks
        self._features: collections.OrderedDict[str, np.ndarray] = collections.OrderedDict()
        self._num_bytes = 0
        self.num_encoded = 0  # pictures that went through the tower

    def table(self, pictures: Sequence[Picture], num_slots: int) -> np.ndarray:
        """Returns image_embeds [num_slots, Q, D]: those of `pictures` in order, then zeros.

        Raises:
          UserError: a picture cannot be read.
        """
        found = self._look_up(pictures)
        shape = (self._model.picture_len, self._model.decoder.config.embed_dim)
        table = np.zeros((num_slots, *shape), self._model.decoder.dtype)
        for number, picture in enumerate(pictures):
            table[number] = found[picture.key]
        return table

    def __contains__(self, picture: Picture) -> bool:
        """Returns whether the picture is remembered."""
        return picture.key in self._features

    def _look_up(self, pictures: Iterable[Picture]) -> dict[str, np.ndarray]:
        wanted = {picture.key: picture for picture in pictures}
        missing = [picture for key, picture in wanted.items() if key not in self._features]
        found = {key: self._features[key] for key in wanted if key in self._features}
        size = self._model.vit.config.image_size
        pixels = [picture.pixels(size, self._model.vit.config.image_fit) for picture in missing]
        # Bytes and normalised floats are different inputs of the tower, and texts of other buckets of the Q-Former.
        kinds: dict[tuple[np.dtype, int], list[tuple[Picture, np.ndarray]]] = {}
        for picture, array in zip(missing, pixels, strict=True):
            text_len = batching.length_bucket(len(picture.text_ids)) if picture.text_ids else 0
            kinds.setdefault((array.dtype, text_len), []).append((picture, array))
        for (_, text_len), pairs in kinds.items():
            found |= self._encode(pairs, text_len)
        for key in wanted:  # newest last
            self._remember(key, found[key])
        return found

    def _encode(self, pairs: Sequence[tuple[Picture, np.ndarray]], text_len: int) -> dict[str, np.ndarray]:
        encoded, start = [], 0
        while start < len(pairs):
            count = next((count for count in self._chunks if count <= len(pairs) - start), self._chunks[-1])
            chunk = list(pairs[start : start + count])
            chunk += chunk[-1:] * (count - len(chunk))
            images, texts = np.stack([array for _, array in chunk]), _texts([one for one, _ in chunk], text_len)
            encoded.append(decoding.encode_images(self._model, self._params, images, **texts))
            start += count
        self.num_encoded += len(pairs)
        embeds = [one for chunk in jax.device_get(encoded) for one in chunk]
        return {picture.key: embed for (picture, _), embed in zip(pairs, embeds, strict=False)}  # the rest is filling

    def _remember(self, key: str, embed: np.ndarray) -> None:
        if key not in self._features:
            self._features[key] = np.array(embed)  # not a view: it would keep its whole chunk
            self._num_bytes += embed.nbytes
        self._features.move_to_end(key)
        while self._num_bytes > self._max_bytes and len(self._features) > 1:
            self._num_bytes -= self._features.popitem(last=False)[1].nbytes


def _texts(pictures: Sequence[Picture], text_len: int) -> dict[str, np.ndarray]:
    """Returns `text_ids` and `text_mask` [I, text_len] of pictures beside texts; nothing without text."""
    if not text_len:
        return {}
    ids, mask = np.zeros((len(pictures), text_len), np.int32), np.zeros((len(pictures), text_len), bool)
    for number, picture in enumerate(pictures):
        ids[number, : len(picture.text_ids)] = picture.text_ids
        mask[number, : len(picture.text_ids)] = True
    return {"text_ids": ids, "text_mask": mask}
