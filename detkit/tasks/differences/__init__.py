"""How two answers to the same images differ, such as those of a checkpoint and of its exported file."""

from detkit.tasks.differences.answer_differences import AnswerDifferences, DifferenceCollector, Largest

__all__ = ["AnswerDifferences", "DifferenceCollector", "Largest"]
