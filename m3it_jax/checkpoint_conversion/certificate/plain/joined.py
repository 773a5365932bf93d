"""How the parts are joined: picture -> tower -> Q-Former -> projection -> language model, as each `model_type` does.

Sources: transformers 5.24.0 models/{blip_2,instructblip,llava}/modeling_*.py.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from m3it_jax.checkpoint_conversion.certificate.plain import (
    arithmetic,
    folder,
    llama,
    opt,
    qformer,
    settings,
    t5,
    vision,
)

_TEXT_PREFIXES = {
    # bare, behind a picture in the hub's names, behind a picture in the names that transformers 5 has in memory
    "llama": ("language_model.model.", "model.language_model.", "model."),
    "opt": ("language_model.model.decoder.", "model.language_model.decoder.", "model.decoder.", "decoder."),
    "t5": ("language_model.", "model.language_model.", ""),
}
_HEADS = ("language_model.lm_head.weight", "lm_head.weight")
_EMBEDDING = {"llama": "embed_tokens.weight", "opt": "embed_tokens.weight", "t5": "shared.weight"}


class PlainModel:
    """A model in the Hugging Face layout. Each generator yields the states of one part, a layer at a time.

    Attributes:
      config: `config.json`, complete.
      text: Its `text_config`.
      sees: Whether it takes pictures.
      is_encoder_decoder: Whether the language model is a T5.
    """

    def __init__(self, path: Path):
        """Opens a folder; no tensor is read.

        Raises:
          UserError: there is no such model.
        """
        self.config = settings.read(path)
        self.text = self.config["text_config"]
        self.sees = "vision_config" in self.config
        self.is_encoder_decoder = self.text["model_type"] == "t5"
        self.tensors = folder.tensors(path)
        self._language = self.tensors.under(*_TEXT_PREFIXES[self.text["model_type"]])

    def vision_states(self, pixels: np.ndarray) -> Iterator[np.ndarray]:
        """Yields [P, D]: what each layer of the tower gives out for a normalised picture [3, h, w].

        The first is what goes into the first layer; EVA's last is its normed output, CLIP has none.
        """
        config = self.config["vision_config"]
        if self.config["model_type"] != "llava":
            yield from vision.eva_states(self.tensors.under("vision_model.", "model.vision_model."), config, pixels)
            return
        tower = self.tensors.under("vision_tower.vision_model.", "vision_tower.", "model.vision_tower.")
        chosen = self.config.get("vision_feature_layer", -2)
        num_layers = chosen if chosen >= 0 else config["num_hidden_layers"] + 1 + chosen
        yield from vision.clip_states(tower, config, pixels, num_layers=num_layers)

    def patches(self, last_state: np.ndarray) -> np.ndarray:
        """Returns what the next part reads of the tower's last state: LLaVA leaves out the class token."""
        leaves_out = self.config["model_type"] == "llava" and (
            self.config.get("vision_feature_select_strategy", "default") == "default"
        )
        return last_state[1:] if leaves_out else last_state

    @property
    def has_qformer(self) -> bool:
        """Whether a Q-Former stands between tower and projection."""
        return "qformer_config" in self.config

    @property
    def qformer_reads_text(self) -> bool:
        """Whether the Q-Former takes the instruction too."""
        return self.config["model_type"] == "instructblip"

    def qformer_states(self, patches: np.ndarray, text_ids: Sequence[int] = ()) -> Iterator[np.ndarray]:
        """Yields [Q + T, D]: what each layer of the Q-Former gives out; the queries stand first."""
        tensors = self.tensors.under("qformer.", "model.qformer.")
        name = "query_tokens" if self.tensors.has("query_tokens") else "model.query_tokens"
        config, queries = self.config["qformer_config"], self.tensors(name)[0]
        return qformer.states(tensors, config, queries, patches=patches, text_ids=text_ids)

    @property
    def num_picture_tokens(self) -> int:
        """Positions of one picture in the language model's row."""
        if self.has_qformer:
            return self.config.get("num_query_tokens", 32)
        config = self.config["vision_config"]
        is_whole = self.config.get("vision_feature_select_strategy", "default") == "full"
        return (config["image_size"] // config["patch_size"]) ** 2 + is_whole

    def projected(self, x: np.ndarray) -> np.ndarray:
        """Returns a picture [Q, D] in the width of the language model."""
        if self.has_qformer:
            return arithmetic.linear(self.tensors.under("language_", "model.language_"), "projection", x)
        mlp = self.tensors.under("multi_modal_projector.", "model.multi_modal_projector.")
        hidden = arithmetic.linear(mlp, "linear_1", x)
        activation = arithmetic.ACTIVATIONS[self.config.get("projector_hidden_act", "gelu")]
        return arithmetic.linear(mlp, "linear_2", activation(hidden))

    @property
    def image_id(self) -> int | None:
        """The id whose positions take a picture's vectors; None for a model that names none."""
        default = 32_000 if self.config["model_type"] == "llava" else None  # configuration_llava.py
        return self.config.get("image_token_index", self.config.get("image_token_id", default))

    def embedded(
        self, row: Sequence[int], pictures: np.ndarray | None = None, *, image_id: int | None = None
    ) -> np.ndarray:
        """Returns the embeddings [T, D] of a row of token ids, with pictures where the model looks for them.

        Args:
          row: The ids.
          pictures: Vectors [Q, D] that take the places of `image_id` one after another, as far as there are any.
          image_id: The placeholder; None: vectors stand where the row has -1.
        """
        embeds = self._language.rows(_EMBEDDING[self.text["model_type"]], [max(token, 0) for token in row])
        if pictures is not None:
            places = np.flatnonzero(np.asarray(row) == (-1 if image_id is None else image_id))[: len(pictures)]
            embeds[places] = pictures[: len(places)]
        return embeds

    def encoder_states(self, embeds: np.ndarray) -> Iterator[np.ndarray]:
        """Yields [S, D]: what each layer of T5's encoder gives out for a row, its normed output last."""
        return t5.encoder_states(self._language.under("encoder."), self.text, embeds)

    def decoder_states(self, embeds: np.ndarray, encoded: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Yields [T, D]: what each layer of the decoder gives out for a row, the normed hidden states last."""
        if self.is_encoder_decoder:
            assert encoded is not None
            return t5.decoder_states(self._language.under("decoder."), self.text, embeds, encoded=encoded)
        return {"llama": llama, "opt": opt}[self.text["model_type"]].states(self._language, self.text, embeds)

    def logits(self, hidden: np.ndarray) -> np.ndarray:
        """Returns the scores of the next token [T, V] of normed hidden states."""
        if self.text.get("scale_decoder_outputs"):
            hidden = hidden * self.text["d_model"] ** -0.5
        name = next((name for name in _HEADS if self.tensors.has(name)), None)
        if name is not None:
            return self.tensors.product(hidden, name)
        return self._language.product(hidden, _EMBEDDING[self.text["model_type"]])
