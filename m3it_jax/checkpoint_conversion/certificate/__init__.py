"""The proof that two folders compute the same: plain models, layers side by side, whole answers. Nothing is written."""
