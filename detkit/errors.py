"""The error that a person can act on."""


class InputError(ValueError):
    """The user's file, key, id or value is wrong; the message is one sentence that names it and says what to do.

    The command line prints the message alone and exits with status 2; a library caller catches it as a ValueError.
    """
