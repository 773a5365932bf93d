"""A record -> a row of tokens, and several rows -> a packed one."""
