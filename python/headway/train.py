"""What training needs: a trainer and what it trains, optimizers, schedules, averages."""

from __future__ import annotations

from typing import Any

from headway._core import (
    Adam,
    Decay,
    Ending,
    ExponentialAverage,
    Generator,
    GroupRule,
    NativeModule,
    Schedule,
    StepGradients,
    StepReport,
    StepResult,
    Tensor,
    Trainer,
    TrainSummary,
    paper_rate,
)

__all__ = [
    "Adam",
    "Decay",
    "Ending",
    "ExponentialAverage",
    "GroupRule",
    "Schedule",
    "StepGradients",
    "StepReport",
    "StepResult",
    "Task",
    "TrainSummary",
    "Trainer",
    "paper_rate",
]


class Task:
    """What a Trainer trains, and on what. `batch` and `loss` are to be written; the rest may be."""

    #: A module, or a dict of name to Tensor: what is saved. In training mode.
    model: NativeModule | dict[str, Tensor]
    #: Where losses draw random numbers from (dropout); None: nowhere.
    generator: Generator | None = None

    def batch(self, number: int) -> Any:
        """Batch number 0, 1, … of an endless stream: a function of the number, so that any place is found again."""
        raise NotImplementedError

    def loss(self, batch: Any) -> Tensor:
        """The mean loss of a batch, one element, on the tape."""
        raise NotImplementedError

    def weight(self, batch: Any) -> float:
        """What `loss` is a mean over: tokens, texts. 0: nothing counts, and the batch is passed over."""
        return 1.0

    def tokens(self, batch: Any) -> int:
        """For the speed that is shown."""
        return int(self.weight(batch))

    def evaluate(self, step: int) -> dict[str, float] | None:
        """Metrics by name, in evaluation mode. "score" says which weights are the best, higher being better; without
        it minus "validation_loss" does."""
        return None

    def identity(self) -> dict[str, str]:
        """What must be the same when a run is resumed, by name."""
        return {}
