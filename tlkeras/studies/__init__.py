"""Many runs, one answer: twins and verdict, folds, two tasks, sweeps, rankings, searches, repetitions."""
