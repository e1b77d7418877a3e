"""Types that the stubs name."""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

ArrayT = TypeVar("ArrayT")  # the kind of array that comes in goes out
AnyArray = npt.NDArray[Any]
BoolArray = npt.NDArray[np.bool_]
