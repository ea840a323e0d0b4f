"""Lightning's `Trainer` in detkit: its options, the end of a run, and its failures as sentences."""
