"""The pure middle: values in, values out. No clock, randomness, file, network or log; time and ids are arguments."""
