"""Transfer beside fine-tuning: transferability scores, distances between domains."""
