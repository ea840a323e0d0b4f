"""An evaluator of label maps: the share of the pixels with the right class."""

from detkit.evaluation import Evaluation, Evaluator


class PixelAccuracy(Evaluator):
    name, reads, headline = "pixels", "label_map", "accuracy"

    def keep(self, target, answer):
        known = target.label_map != 255
        return float((answer.label_map == target.label_map)[known].float().mean())

    def evaluate(self):
        return Evaluation({"accuracy": sum(self.kept.values()) / len(self.kept)})
