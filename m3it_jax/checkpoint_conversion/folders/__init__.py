"""Whole folders: an import planned from parts, imported, exported, with card and side files."""
