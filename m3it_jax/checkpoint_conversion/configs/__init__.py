"""config.json and the JSON files beside it <-> a variant. No tensors."""
