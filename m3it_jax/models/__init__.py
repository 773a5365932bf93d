"""Flax Linen modules: vision tower, Q-Former, language model and what joins them. The only package that imports flax."""
