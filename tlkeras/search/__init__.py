"""Many runs: sweeps over settings and seeds, rankings of backbones."""
