"""Weights in the Hugging Face layout, in and out: names and axes, files, parts, and the check that both agree."""
