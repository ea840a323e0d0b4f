"""Prediction for a user: images of any kind in, answers on the CPU out, whole or as a stream."""

from detkit.models.predicting.inference import Given, Images, Score, predict
from detkit.models.predicting.streaming import StreamInput, stream

__all__ = ["Given", "Images", "Score", "StreamInput", "predict", "stream"]
