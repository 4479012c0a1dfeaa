"""The exceptions of d3s2.

    D3S2Error
    ├── UsageError (ValueError)        the call is wrong            exit status 2
    │   └── ConfigError                a key or value in a config
    └── WorkError                      the call is right, the work failed   exit status 1
        ├── DataError (ValueError)     images, masks, label spaces
        ├── ModelError (RuntimeError)  weights missing, refused or not fitting
        ├── StoreError (OSError)       a folder or file that d3s2 writes
        └── NumericError (ArithmeticError)  numbers that are not finite

Every message is a sentence that says where, what was found, what was expected and what to do.
"""


class D3S2Error(Exception):
    """Anything that d3s2 itself refuses."""

    exit_status = 1

    def __str__(self) -> str:
        # OSError would print a tuple for two arguments; ours always carry one sentence.
        return str(self.args[0]) if self.args else type(self).__name__


class UsageError(D3S2Error, ValueError):
    """The call is wrong: an argument, a name or a combination of them."""

    exit_status = 2


class ConfigError(UsageError):
    """A config holds an unknown key or a value outside its range."""


class WorkError(D3S2Error):
    """The call is right and the work could not be done."""


class DataError(WorkError, ValueError):
    """An image, a mask or a label space is not what it should be."""


class ModelError(WorkError, RuntimeError):
    """Weights are missing, refused, or do not fit the data."""


class StoreError(WorkError, OSError):
    """A folder or file that d3s2 writes is locked, full, damaged or foreign."""


class NumericError(WorkError, ArithmeticError):
    """A computation gave numbers that are not finite more often than is allowed."""
