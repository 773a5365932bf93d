"""Flax Linen modules: vision tower, Q-Former, language model and what joins them. Nothing else imports flax."""
