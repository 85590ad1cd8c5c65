"""The one exception that is meant for a person."""


class InputError(ValueError):
    """A mistake in what the user gave: a file, an option, a folder.

    The message is one sentence that says what was found, what was expected and what to type; entry
    points print it without a traceback and exit with `status`.

    Attributes:
        status: Exit status of the command.
    """

    status = 2
