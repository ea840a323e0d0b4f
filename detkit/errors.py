"""`InputError`, the error for bad user input."""


class InputError(ValueError):
    """A file, key, id or value of the user is wrong. The message is one sentence that names it and says what to do.

    The command line prints only the message and exits with status 2; library code may catch it as a ValueError.
    """
