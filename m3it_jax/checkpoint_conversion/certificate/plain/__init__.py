"""The public models written down once more, in plain NumPy: what a certificate compares the Flax models with.

It reads a folder in the Hugging Face layout by that layout's own names and its `config.json`, one tensor at a time, in
float64. It shares no code with `models` or with the name maps (docs/adr/0015): a mistake there cannot hide here.
"""
