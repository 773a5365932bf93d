"""Conversations over an assistant: their turns, and the terminal."""
