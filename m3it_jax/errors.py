"""The two ways a run is refused, each told to the user in one line and without a traceback."""


class UserError(Exception):
    """Something the user can mend: the message names the file or field, the value and the next action. Exit code 1."""


class ConfigError(UserError):
    """A wrong configuration or command line; found before any work has begun. Exit code 2."""
