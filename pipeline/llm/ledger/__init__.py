"""What was answered, what it cost, and what may still be spent."""
