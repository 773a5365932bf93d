"""The rows of a step -> arrays."""
