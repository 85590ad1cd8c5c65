"""The exception for mistakes of the user."""


class InputError(ValueError):
    """A mistake in the user's input: a file, an option or a folder.

    The message is one sentence: what was found, what was expected, and what to type. Commands print
    it without a traceback and exit with `status`.

    Attributes:
        status: Exit status of the command.
    """

    status = 2
