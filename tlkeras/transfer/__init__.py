"""Transfer beside plain fine-tuning: scores, distances, probes, feature maps, regularizers, sharing."""
