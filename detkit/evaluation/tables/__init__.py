"""Tables, plots and files of an evaluation."""
