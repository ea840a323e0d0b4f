"""What ``detkit eval`` does: its options, and the pass over a checkpoint's data or a file of detections."""
