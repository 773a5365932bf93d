"""Building data folders: source -> drafts -> checked records -> TFRecord shards. No JAX."""
