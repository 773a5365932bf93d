"""Answers to held-out records, written once, and scores beside their controls, computed from what was written."""
