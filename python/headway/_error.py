"""The library's only exception."""


class Error(ValueError):
    """Every failure of the library: "operation: argument is this; want that", in the words of the C++ library.

    Attributes:
        code: what kind of thing went wrong: "shape", "dtype", "value", "unsupported", "io", "format", "memory" or
            "internal". Programs branch on this; people read the message.
        operation: what was asked for, such as "attention".
    """

    code: str
    operation: str

    def __init__(self, message: str, code: str = "value", operation: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.operation = operation


Error.__module__ = "headway"
