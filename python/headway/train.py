"""What a training loop needs: optimizers, schedules, averages."""

from headway._core import (
    Adam,
    Decay,
    ExponentialAverage,
    Schedule,
    StepResult,
    paper_rate,
)

__all__ = [
    "Adam",
    "Decay",
    "ExponentialAverage",
    "Schedule",
    "StepResult",
    "paper_rate",
]
