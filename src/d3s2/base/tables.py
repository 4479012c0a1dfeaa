"""Tables of what can be chosen by name; a name that is not in one may be code of the user's, `package.module:object`.

A table says where each choice lies, as text, so that names are known, checked and listed without importing what stands
behind them.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from d3s2.base.errors import UsageError
from d3s2.base.names import choose, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True)
class Table(Generic[T]):
    """Choices by name.

    Args:
        what: one of them is called, for messages ('energy', 'selection method').
        places: name -> 'package.module:object'.
        needs: attributes that each has; a user's own object is refused where one is missing.
    """

    what: str
    places: Mapping[str, str]
    needs: tuple[str, ...] = ("__call__",)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __contains__(self, name: object) -> bool:
        return name in self.places

    def check(self, name: str) -> str:
        """The name as it is; raises UsageError where it is neither in the table nor of the form of an own object."""
        if not is_outside(name):
            self._require_known(name)
        return name

    def load(self, name: str) -> T:
        """What stands behind a name.

        Raises:
            UsageError: the name is unknown, or the user's own object cannot be imported or is no such thing.
        """
        if is_outside(name):
            return self._own(name)
        module, _, attribute = choose(self.places, name, self.what).partition(":")
        found: T = getattr(importlib.import_module(module), attribute)
        return found

    def _require_known(self, name: str) -> None:
        if ":" in name:  # meant as one's own, and written wrongly
            raise UsageError(
                f"Unknown {self.what} '{name}': known are {', '.join(sorted(self.places))}, or one of your own as "
                "package.module:object, in a mapping with a space after the colon that ends it "
                f"({{package.module:object: 0.2}}).{did_you_mean(name.partition(':')[0], self.places)}"
            )
        choose(self.places, name, self.what)

    def _own(self, name: str) -> T:
        found: T = _imported(name, self.what)
        missing = [need for need in self.needs if not hasattr(found, need)]
        if missing:
            expected = "a function" if self.needs == ("__call__",) else f"one with {', '.join(self.needs)}"
            raise UsageError(
                f"The {self.what} '{name}' is of type {type(found).__name__}, expected {expected}; "
                "docs/extending.md shows what is asked of it."
            )
        return found


def is_outside(name: str) -> bool:
    """Whether a name is of the form `package.module:object`: code that does not come with d3s2."""
    module, colon, attribute = name.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def _imported(name: str, what: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The {what} '{name}' cannot be imported: there is no module '{error.name}'; put the folder that holds it "
            "on PYTHONPATH, or install its package."
        ) from None
    except AttributeError:
        raise UsageError(
            f"The {what} '{name}' cannot be imported: module '{module}' has no '{attribute}'; name an object of it."
        ) from None
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"The {what} '{name}' cannot be imported ({reason}); correct that module first.") from None
    return found
