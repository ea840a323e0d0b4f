"""The evaluation of label maps: mean IoU, accuracies, Dice and boundary IoU from integer confusion matrices."""
