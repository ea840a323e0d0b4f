"""The verbs that check before a training."""
